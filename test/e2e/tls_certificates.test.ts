import assert from "node:assert/strict";
import { chmodSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { type ConnectionOptions, connect } from "node:tls";
import {
  type CertificateFiles,
  certificateDirectory,
  createCertificate,
  encryptKey,
  noOpenssl,
} from "../support/certificates.ts";
import { runHoldfast, startHoldfast } from "../support/holdfast.ts";

/** The certificates and keys of `listen … ssl`: where they come from, and what is said of those that cannot be had. */

/** The subjects of the chain that a server shows. */
function shownBy(port: number, options: ConnectionOptions = {}): Promise<string[]> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: "127.0.0.1", rejectUnauthorized: false, ...options });
    socket.on("error", reject).on("secureConnect", () => {
      const subjects: string[] = [];
      for (let peer = socket.getPeerX509Certificate(); peer !== undefined; peer = peer.issuerCertificate) {
        subjects.push(peer.subject.replace(/^CN=/, ""));
      }
      socket.destroy();
      resolve(subjects);
    });
  });
}

const pem = ({ certificate, key }: CertificateFiles, name: string) => ({
  [`conf/${name}.crt`]: certificate,
  [`conf/${name}.key`]: key,
});

describe("certificates", { skip: noOpenssl }, () => {
  test("one for each kind of key, each with its chain", async (t) => {
    const directory = certificateDirectory(t);
    const root = createCertificate(directory, "root", { extensions: ["basicConstraints=critical,CA:TRUE"] });
    const middle = createCertificate(directory, "middle", {
      issuer: root,
      extensions: ["basicConstraints=critical,CA:TRUE"],
    });
    const ec = createCertificate(directory, "ec", { issuer: middle });
    const rsa = createCertificate(directory, "rsa", { algorithm: "RSA", issuer: middle });
    const ed = createCertificate(directory, "ed", { algorithm: "ED25519" });
    const again = createCertificate(directory, "again");
    const holdfast = await startHoldfast(t, {
      files: {
        ...pem({ ...ec, certificate: ec.certificate + middle.certificate }, "ec"),
        ...pem({ ...rsa, certificate: rsa.certificate + middle.certificate + root.certificate }, "rsa"),
        ...pem(ed, "ed"),
        ...pem(again, "again"),
      },
      config: (ports) => `worker_processes 1; http { access_log off;
        ssl_certificate rsa.crt; ssl_certificate_key rsa.key;
        server { listen 127.0.0.1:${ports[0]} ssl;
          ssl_certificate ec.crt; ssl_certificate_key ec.key;
          ssl_certificate rsa.crt; ssl_certificate_key rsa.key;
          ssl_certificate ed.crt; ssl_certificate_key ed.key;
          ssl_certificate rsa.crt; ssl_certificate_key rsa.key; }
        server { listen 127.0.0.1:${ports[1]} ssl; }
        server { listen 127.0.0.1:${ports[2]} ssl;
          ssl_certificate ec.crt; ssl_certificate_key ec.key; ssl_certificate again.crt; ssl_certificate_key again.key; } }`,
    });
    const [port, inherits, replaced] = holdfast.ports;
    const trusting: ConnectionOptions = {
      ca: root.certificate,
      rejectUnauthorized: true,
      checkServerIdentity: () => undefined,
    };
    assert.deepEqual(await shownBy(port, { sigalgs: "ECDSA+SHA256", ...trusting }), ["ec", "middle"]);
    assert.deepEqual(await shownBy(port, { sigalgs: "RSA-PSS+SHA256", ...trusting }), ["rsa", "middle", "root"]);
    assert.deepEqual(await shownBy(port, { sigalgs: "ed25519" }), ["ed"]);
    assert.deepEqual((await shownBy(inherits))[0], "rsa");
    assert.deepEqual(await shownBy(replaced), ["again"]);
  });

  test("encrypted keys, keys of a store, certificates and keys in the configuration itself", async (t) => {
    const directory = certificateDirectory(t);
    const one = createCertificate(directory, "one");
    const two = createCertificate(directory, "two");
    const three = createCertificate(directory, "three");
    const store = join(directory, "store.key");
    writeFileSync(store, encryptKey(three.keyFile, "three"));
    // Its directory is root's alone, as the files below are: workers get what the master has read.
    const holdfast = await startHoldfast(t, {
      files: {
        ...pem({ ...one, key: encryptKey(one.keyFile, "second password") }, "one"),
        ...pem(three, "three"),
        "conf/passwords": "wrong\r\n\n\r\nsecond password\r\nthird",
        "conf/three.password": "three",
      },
      config: (ports) => `worker_processes 1; http { access_log off;
        server { listen 127.0.0.1:${ports[0]} ssl;
          ssl_certificate one.crt; ssl_certificate_key one.key; ssl_password_file passwords; }
        server { listen 127.0.0.1:${ports[1]} ssl;
          ssl_certificate "data:${two.certificate}"; ssl_certificate_key "data:${two.key}"; }
        server { listen 127.0.0.1:${ports[2]} ssl; ssl_password_file three.password;
          ssl_certificate three.crt; ssl_certificate_key "store:file:${store}"; } }`,
    });
    const shown = await Promise.all(holdfast.ports.slice(0, 3).map((port) => shownBy(port)));
    assert.deepEqual(shown, [["one"], ["two"], ["three"]]);
  });

  test("what is said of those that cannot be had names the directive", async (t) => {
    const directory = certificateDirectory(t);
    const { certificate, key, keyFile } = createCertificate(directory, "good");
    const other = createCertificate(directory, "other");
    const files = {
      "conf/good.crt": certificate,
      "conf/good.key": key,
      "conf/other.key": other.key,
      "conf/cut.crt": certificate + certificate.slice(0, 200),
      "conf/encrypted.key": encryptKey(keyFile, "secret"),
      "conf/wrong.txt": "not it\n",
      "conf/long.txt": `${"x".repeat(512)}\n`,
    };
    const unsupported =
      "(SSL: error:1E08010C:DECODER routines::unsupported:No supported data to decode. Input type: PEM)";
    const no_file = (path: string) =>
      `(SSL: error:80000002:system library::No such file or directory:calling fopen(${path}, r) error:10000080:BIO routines::no such file)`;
    /** In a server, and what is said of it; PREFIX is where the configuration is. */
    const refused: readonly (readonly [certificate: string, key: string, more: string, sentence: string])[] = [
      [
        "none.crt",
        "good.key",
        "",
        `cannot load certificate "PREFIX/none.crt": BIO_new_file() failed ${no_file("PREFIX/none.crt")}`,
      ],
      [
        "good.crt",
        "none.key",
        "",
        `cannot load certificate key "PREFIX/none.key": BIO_new_file() failed ${no_file("PREFIX/none.key")}`,
      ],
      [
        "/",
        "good.key",
        "",
        'cannot load certificate "/": PEM_read_bio_X509_AUX() failed (SSL: error:0480006C:PEM routines::no start line:Expecting: TRUSTED CERTIFICATE)',
      ],
      [
        "cut.crt",
        "good.key",
        "",
        'cannot load certificate "PREFIX/cut.crt": PEM_read_bio_X509() failed (SSL: error:04800066:PEM routines::bad end line)',
      ],
      [
        "good.crt",
        "good.crt",
        "",
        `cannot load certificate key "PREFIX/good.crt": PEM_read_bio_PrivateKey() failed ${unsupported}`,
      ],
      [
        "good.crt",
        "other.key",
        "",
        'SSL_CTX_use_PrivateKey("PREFIX/other.key") failed (SSL: error:05800074:x509 certificate routines::key values mismatch)',
      ],
      // The key is not shown.
      [
        "good.crt",
        "data:secret",
        "",
        `cannot load certificate key "data:...": PEM_read_bio_PrivateKey() failed ${unsupported}`,
      ],
      ["good.crt", "engine:x", "", 'cannot load certificate key "engine:x": invalid syntax'],
      [
        "good.crt",
        "store:file:/dev/null",
        "",
        'cannot load certificate key "store:file:/dev/null": OSSL_STORE_load() failed',
      ],
      [
        "good.crt",
        "encrypted.key",
        "ssl_password_file wrong.txt;",
        'cannot load certificate key "PREFIX/encrypted.key": PEM_read_bio_PrivateKey() failed (SSL: error:1C800064:Provider routines::bad decrypt',
      ],
      [
        "good.crt",
        "good.key",
        "ssl_password_file none.txt;",
        'open() "PREFIX/none.txt" failed (2: No such file or directory)',
      ],
      ["good.crt", "good.key", "ssl_password_file long.txt;", 'too long line in "PREFIX/long.txt"'],
      [
        "good.crt",
        "good.key",
        "ssl_certificate other.crt;",
        'no "ssl_certificate_key" is defined for certificate "other.crt"',
      ],
    ];
    const servers = refused.map(
      ([certificate, key, more]) =>
        `server { listen 127.0.0.1:1 ssl; ssl_certificate ${certificate}; ssl_certificate_key ${key}; ${more} }`,
    );
    const { code, stderr, prefix } = await runHoldfast(t, {
      files,
      config: `http {\n${servers.join("\n")}\n}`,
      args: ["-t"],
    });
    assert.equal(code, 1, stderr);
    const said = stderr.split("\n").filter((line) => line.includes("[emerg]"));
    assert.equal(said.length, refused.length, stderr);
    for (const [i, [, , , sentence]] of refused.entries()) {
      const expected = sentence.replaceAll("PREFIX", `${prefix}/conf`);
      assert.ok(said[i].includes(expected), `${said[i]}\ndoes not have\n${expected}`);
      assert.ok(said[i].endsWith(` in ${prefix}/conf/nginx.conf:${i + 2}`), said[i]);
    }
  });

  test("a reload takes changed certificates, and keeps what is in force where one is broken", async (t) => {
    const directory = certificateDirectory(t);
    const [before, after, other] = ["before", "after", "other"].map((name) => createCertificate(directory, name));
    const holdfast = await startHoldfast(t, {
      files: { ...pem(before, "one"), ...pem(other, "two") },
      config: (ports) => `worker_processes 2; http { access_log off;
        server { listen 127.0.0.1:${ports[0]} ssl; ssl_certificate one.crt; ssl_certificate_key one.key; }
        server { listen 127.0.0.1:${ports[1]} ssl; ssl_certificate two.crt; ssl_certificate_key two.key; } }
events {}`,
    });
    const [one, two] = holdfast.ports;
    const write = (name: string, { certificate, key }: CertificateFiles) => {
      writeFileSync(join(holdfast.prefix, `conf/${name}.crt`), certificate);
      writeFileSync(join(holdfast.prefix, `conf/${name}.key`), key);
    };
    write("one", after);
    // Put back by a program that keeps inodes and times: not seen, as in nginx.
    const files = ["crt", "key"].map((end) => join(holdfast.prefix, `conf/two.${end}`));
    const times = files.map((file) => Math.floor(statSync(file).mtimeMs / 1000));
    write("two", after);
    for (const [i, file] of files.entries()) utimesSync(file, times[i], times[i]);
    assert.equal(await holdfast.reload(), true);
    assert.deepEqual(await shownBy(one), ["after"]);
    assert.deepEqual(await shownBy(two), ["other"]);

    write("one", { ...other, key: before.key });
    assert.equal(await holdfast.reload(), false);
    assert.match(
      holdfast.errorLog(),
      /\[emerg\].* SSL_CTX_use_PrivateKey\(".*one\.key"\) failed .* in .*nginx\.conf:2/,
    );
    assert.deepEqual(await shownBy(one), ["after"]);
    holdfast.configure(`ssl_object_cache_inheritable off; ${holdfast.read("conf/nginx.conf")}`);
    write("one", before);
    assert.equal(await holdfast.reload(), true);
    assert.deepEqual(await shownBy(one), ["before"]);
    assert.deepEqual(await shownBy(two), ["after"]);
  });

  test("names with variables, of each handshake", async (t) => {
    const directory = certificateDirectory(t);
    const [one, two, locked, written, stored] = ["one", "two", "locked", "written", "stored"].map((name) =>
      createCertificate(directory, name),
    );
    // A worker opens it.
    chmodSync(directory, 0o755);
    writeFileSync(join(directory, "encrypted.key"), encryptKey(stored.keyFile, "secret"));
    const holdfast = await startHoldfast(t, {
      files: {
        ...pem(one, "one.example"),
        ...pem(two, "two.example"),
        ...pem({ ...two, certificate: one.certificate }, "mixed.example"),
        ...pem({ ...locked, key: encryptKey(locked.keyFile, "secret") }, "locked.example"),
        "conf/stored.crt": stored.certificate,
        "conf/passwords": "wrong\nsecret\n",
        "conf/password": "secret",
      },
      config: (ports) => `worker_processes 1; http { access_log off;
        map $ssl_server_name $name { default $ssl_server_name; "" one.example; }
        map $name $written_certificate { default "data:${written.certificate}"; }
        map $name $written_key { default "data:${written.key}"; }
        map $remote_addr $here { 127.0.0.1 encrypted; }
        server { listen 127.0.0.1:${ports[0]} ssl; ssl_certificate $name.crt; ssl_certificate_key $name.key; }
        server { listen 127.0.0.1:${ports[0]} ssl; server_name locked.example; ssl_password_file passwords;
          ssl_certificate locked.example.crt; ssl_certificate_key $name.key; }
        server { listen 127.0.0.1:${ports[1]} ssl; ssl_certificate $written_certificate; ssl_certificate_key $written_key; }
        server { listen 127.0.0.1:${ports[2]} ssl; ssl_password_file password;
          ssl_certificate stored.crt; ssl_certificate_key "store:file:${directory}/$here.key"; }
        server { listen 127.0.0.1:${ports[3]} ssl; ssl_certificate $name.crt; ssl_certificate_key locked.example.key; } }`,
    });
    const [port, written_port, stored_port, without_password] = holdfast.ports;
    assert.deepEqual(await shownBy(port), ["one"]);
    assert.deepEqual(await shownBy(port, { servername: "two.example", maxVersion: "TLSv1.2" }), ["two"]);
    assert.deepEqual(await shownBy(port, { servername: "locked.example" }), ["locked"]);
    assert.deepEqual(await shownBy(written_port), ["written"]);
    assert.deepEqual(await shownBy(stored_port), ["stored"]);

    const conf = `${holdfast.prefix}/conf`;
    const refused: readonly (readonly [port: number, servername: string, sentence: string])[] = [
      [
        port,
        "nobody.example",
        `cannot load certificate "${conf}/nobody.example.crt": BIO_new_file() failed (SSL: error:80000002:system library::No such file or directory:calling fopen(${conf}/nobody.example.crt, r) error:10000080:BIO routines::no such file)`,
      ],
      [
        port,
        "mixed.example",
        `SSL_use_PrivateKey("${conf}/mixed.example.key") failed (SSL: error:05800074:x509 certificate routines::key values mismatch)`,
      ],
      // A worker does not ask for it at the terminal.
      [
        without_password,
        "locked.example",
        `cannot load certificate key "${conf}/locked.example.key": PEM_read_bio_PrivateKey() failed`,
      ],
    ];
    for (const [port, servername, sentence] of refused) {
      await assert.rejects(shownBy(port, { servername }), /internal.error/);
      const error = await holdfast.waitForLog(/\[error\] .*/);
      assert.ok(error[0].includes(sentence), error[0]);
      assert.ok(error[0].endsWith(` while SSL handshaking, client: 127.0.0.1, server: 127.0.0.1:${port}`), error[0]);
      await holdfast.waitForLog(
        /\[info\] .* SSL_do_handshake\(\) failed \(SSL: error:0A000179:SSL routines::cert cb error\) while SSL handshaking/,
      );
      writeFileSync(join(holdfast.prefix, "logs/error.log"), "");
    }
    assert.deepEqual(await shownBy(port), ["one"]);
  });

  test("certificates and keys that were loaded for a handshake are kept", async (t) => {
    const directory = certificateDirectory(t);
    const [before, after] = ["before", "after"].map((name) => createCertificate(directory, name));
    const holdfast = await startHoldfast(t, {
      files: { ...pem(before, "kept"), ...pem(before, "looked"), ...pem(before, "not") },
      config: (ports) => `worker_processes 1; http { access_log off; ssl_certificate_cache max=4 valid=1h;
        ssl_certificate $ssl_server_name.crt; ssl_certificate_key $ssl_server_name.key;
        server { listen 127.0.0.1:${ports[0]} ssl; }
        server { listen 127.0.0.1:${ports[0]} ssl; server_name looked; ssl_certificate_cache max=4 valid=0; }
        server { listen 127.0.0.1:${ports[0]} ssl; server_name not; ssl_certificate_cache off; } }`,
    });
    const shown = () =>
      Promise.all(
        ["kept", "looked", "not"].map(async (servername) => (await shownBy(holdfast.port, { servername }))[0]),
      );
    assert.deepEqual(await shown(), ["before", "before", "before"]);
    for (const name of ["kept", "looked", "not"]) {
      writeFileSync(join(holdfast.prefix, `conf/${name}.crt`), after.certificate);
      writeFileSync(join(holdfast.prefix, `conf/${name}.key`), after.key);
    }
    assert.deepEqual(await shown(), ["before", "after", "after"]);
  });

  test("ssl_certificate_cache is refused where nginx refuses it", async (t) => {
    const refused: readonly (readonly [args: string, sentence: string])[] = [
      ["on", 'invalid parameter "on"'],
      ["max=0", 'invalid parameter "max=0"'],
      ["max=2 inactive=x", 'invalid parameter "inactive=x"'],
      ["max=2 valid=", 'invalid parameter "valid="'],
      ["valid=1s", '"ssl_certificate_cache" must have the "max" parameter'],
    ];
    const servers = refused.map(([args]) => `server { ssl_certificate_cache ${args}; }`);
    const { stderr } = await runHoldfast(t, { config: `http {\n${servers.join("\n")}\n}`, args: ["-t"] });
    for (const [i, [, sentence]] of refused.entries()) {
      assert.ok(stderr.split("\n")[i].includes(`[emerg] ${sentence} in `), stderr);
    }
  });
});
