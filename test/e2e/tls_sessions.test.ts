import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { copyFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { certificateDirectory, createCertificate, noOpenssl, selfSigned } from "../support/certificates.ts";
import { type Running, startHoldfast } from "../support/holdfast.ts";
import { askWithSession } from "../support/s_client.ts";

/** Resuming sessions of TLS, by OpenSSL's own client. Each answer is `PID REUSED`, with $ssl_session_reused. */

const ANSWER = `return 200 "$pid $ssl_session_reused";`;
const certificate = noOpenssl ? { certificate: "", key: "" } : selfSigned("localhost");
const files = { "conf/cert.pem": certificate.certificate, "conf/key.pem": certificate.key };
const CERTIFICATE = "ssl_certificate cert.pem; ssl_certificate_key key.pem;";
const VERSIONS = ["-tls1_2", "-tls1_3"];

/** Servers on the ports, each with its directives. */
function servers(workers: number, http: string, ...each: string[]): (ports: readonly number[]) => string {
  return (ports) => {
    const blocks = each.map((text, i) => `server { listen 127.0.0.1:${ports[i]} ssl; ${text} ${ANSWER} }`);
    return `worker_processes ${workers}; http { access_log off; ${CERTIFICATE} ${http} ${blocks.join("\n")} }`;
  };
}

/** A file for a session that is not there yet. */
let number = 0;
function newSession({ prefix }: Running): string {
  return join(prefix, `session${number++}.pem`);
}

/** Asks until the session was resumed by another worker than the one that made it; each must resume it. */
async function resumeEverywhere(port: number, session: string, ...options: string[]): Promise<void> {
  const [pid, first] = (await askWithSession(port, session, ...options)).split(" ");
  assert.equal(first, ".");
  for (let tries = 0; tries < 100; tries++) {
    const [other, reused] = (await askWithSession(port, session, ...options)).split(" ");
    assert.equal(reused, "r");
    if (other !== pid) return;
  }
  assert.fail("every connection came to one worker");
}

async function resumes(port: number, session: string, ...options: string[]): Promise<boolean> {
  const [, reused] = (await askWithSession(port, session, ...options)).split(" ");
  return reused === "r";
}

test("every worker resumes a session of a shared cache, also after a reload", { skip: noOpenssl }, async (t) => {
  const cache = "ssl_session_cache shared:SSL:1m;";
  const config = servers(2, `${cache} ssl_session_tickets off;`, "", "ssl_session_cache builtin;");
  const holdfast = await startHoldfast(t, { files, config });
  const [port, both] = holdfast.ports;
  const sessions = VERSIONS.map((version) => ({ version, session: newSession(holdfast) }));
  for (const { version, session } of sessions) await resumeEverywhere(port, session, version);
  await resumeEverywhere(both, newSession(holdfast), "-tls1_3");
  assert.ok(await holdfast.reload());
  for (const { version, session } of sessions) assert.ok(await resumes(port, session, version));
  // The zone is another one then.
  assert.ok(await holdfast.reload(config(holdfast.ports).replaceAll(":1m", ":2m")));
  for (const { version, session } of sessions) assert.ok(!(await resumes(port, session, version)));
});

test("workers with a shared cache have ticket keys in common, also after a reload", { skip: noOpenssl }, async (t) => {
  const holdfast = await startHoldfast(t, { files, config: servers(2, "", "ssl_session_cache shared:SSL:1m;") });
  const sessions = VERSIONS.map((version) => ({ version, session: newSession(holdfast) }));
  for (const { version, session } of sessions) {
    await resumeEverywhere(holdfast.port, session, version);
    assert.match(ticketKeyName(session), /^[0-9a-f]{32}$/);
  }
  assert.ok(await holdfast.reload());
  for (const { version, session } of sessions) assert.ok(await resumes(holdfast.port, session, version));
});

test("without tickets only a cache lets a session be resumed", { skip: noOpenssl }, async (t) => {
  const caches = ["", "ssl_session_cache none;", "ssl_session_cache off;", "ssl_session_cache builtin;"];
  const bounded = "ssl_session_cache builtin:1;";
  const holdfast = await startHoldfast(t, {
    files,
    config: servers(1, "ssl_session_tickets off;", ...caches, bounded),
  });
  const { ports } = holdfast;
  for (const version of VERSIONS) {
    for (const [i, reused] of [false, false, false, true, true].entries()) {
      const session = newSession(holdfast);
      assert.ok(!(await resumes(ports[i], session, version)));
      assert.equal(await resumes(ports[i], session, version), reused, `${caches[i]} with ${version}`);
    }
  }
  const old = newSession(holdfast);
  await resumes(ports[4], old, "-tls1_2");
  await resumes(ports[4], newSession(holdfast), "-tls1_2");
  assert.ok(!(await resumes(ports[4], old, "-tls1_2")));
});

test("a session is resumed until ssl_session_timeout", { skip: noOpenssl }, async (t) => {
  const config = servers(1, "", "ssl_session_cache shared:SSL:1m; ssl_session_tickets off; ssl_session_timeout 1s;");
  const holdfast = await startHoldfast(t, { files, config });
  const session = newSession(holdfast);
  const kept = newSession(holdfast);
  await askWithSession(holdfast.port, kept, "-tls1_2");
  // s_client does not ask how old its session is.
  for (let tries = 0; ; tries++) {
    copyFileSync(kept, session);
    if (!(await resumes(holdfast.port, session, "-tls1_2"))) break;
    assert.ok(tries < 1000, "it never expires");
  }
});

/** Which key the ticket in a session file is for: its first 16 bytes. */
function ticketKeyName(session: string): string {
  const text = execFileSync("openssl", ["sess_id", "-in", session, "-noout", "-text"], { encoding: "latin1" });
  const [, digits] = /0000 - ((?:[0-9a-f]{2}[ -]){16})/.exec(text) ?? [];
  return (digits ?? "").replaceAll(/[ -]/g, "");
}

test("the first of several ticket keys encrypts, and all decrypt", { skip: noOpenssl }, async (t) => {
  const keys = { "conf/old.key": Buffer.alloc(48, "old key "), "conf/new.key": Buffer.alloc(80, "new key ") };
  const withKeys = (...names: string[]) =>
    servers(2, names.map((name) => `ssl_session_ticket_key ${name}.key;`).join(" "), "");
  const holdfast = await startHoldfast(t, { files: { ...files, ...keys }, config: withKeys("old") });
  const { port, ports } = holdfast;
  const [session, old, older] = [newSession(holdfast), newSession(holdfast), newSession(holdfast)];
  await resumeEverywhere(port, session, "-tls1_3");
  await resumeEverywhere(port, older, "-tls1_2");
  assert.equal(ticketKeyName(session), Buffer.alloc(16, "old key ").toString("hex"));
  copyFileSync(session, old);
  assert.ok(await holdfast.reload(withKeys("new", "old")(ports)));
  // The client gets another ticket, of the new key; s_client does not keep that of TLS 1.2.
  assert.ok(await resumes(port, session, "-tls1_3"));
  assert.equal(ticketKeyName(session), Buffer.alloc(16, "new key ").toString("hex"));
  assert.ok(await resumes(port, older, "-tls1_2"));
  assert.ok(await holdfast.reload(withKeys("new")(ports)));
  assert.ok(await resumes(port, session, "-tls1_3"));
  assert.ok(!(await resumes(port, old, "-tls1_3")));
  assert.ok(!(await resumes(port, older, "-tls1_2")));
});

test("a session is not resumed with a server that has another certificate", { skip: noOpenssl }, async (t) => {
  const other = selfSigned("other");
  const otherFiles = { "conf/other.crt": other.certificate, "conf/other.key": other.key };
  const config = servers(
    1,
    "ssl_session_cache shared:SSL:1m; ssl_session_ticket_key ticket.key;",
    "",
    "ssl_certificate other.crt; ssl_certificate_key other.key;",
    "ssl_session_timeout 10m;",
  );
  const ticket = { "conf/ticket.key": Buffer.alloc(80, "ticket key ") };
  const holdfast = await startHoldfast(t, { files: { ...files, ...otherFiles, ...ticket }, config });
  const [one, unlike, like] = holdfast.ports;
  for (const version of VERSIONS) {
    const session = newSession(holdfast);
    await askWithSession(one, session, version);
    const kept = newSession(holdfast);
    copyFileSync(session, kept);
    assert.ok(!(await resumes(unlike, session, version)));
    assert.ok(await resumes(like, kept, version));
  }
});

test("with SNI the address's default server keeps and finds sessions", { skip: noOpenssl }, async (t) => {
  const keys = { "conf/1.key": Buffer.alloc(48, "1"), "conf/2.key": Buffer.alloc(48, "2") };
  const config = ([cached, ticketed]: readonly number[]) => `worker_processes 1; http { ${CERTIFICATE}
    server { listen 127.0.0.1:${cached} ssl; ssl_session_tickets off; ssl_session_cache shared:one:1m; ${ANSWER} }
    server { listen 127.0.0.1:${cached} ssl; server_name other; ssl_session_tickets off; ssl_session_cache shared:two:1m; ${ANSWER} }
    server { listen 127.0.0.1:${ticketed} ssl; ssl_session_ticket_key 1.key; ${ANSWER} }
    server { listen 127.0.0.1:${ticketed} ssl; server_name other; ssl_session_ticket_key 2.key; ${ANSWER} } }`;
  const holdfast = await startHoldfast(t, { files: { ...files, ...keys }, config });
  const [cached, ticketed] = holdfast.ports;
  for (const version of VERSIONS) {
    for (const port of [cached, ticketed]) {
      const session = newSession(holdfast);
      assert.ok(!(await resumes(port, session, version, "-servername", "other")));
      assert.ok(await resumes(port, session, version, "-servername", "other"));
    }
  }
});

test("a session has its client's certificate, and opens no other server's door", { skip: noOpenssl }, async (t) => {
  const directory = certificateDirectory(t);
  const ca = createCertificate(directory, "ca", { extensions: ["basicConstraints=critical,CA:TRUE"] });
  const other = createCertificate(directory, "other", { extensions: ["basicConstraints=critical,CA:TRUE"] });
  const client = createCertificate(directory, "client", { issuer: ca });
  const answer = `return 200 "$ssl_client_verify $ssl_client_s_dn $ssl_session_reused";`;
  const caches = ["ssl_session_tickets off;", "ssl_session_ticket_key ticket.key;"];
  const holdfast = await startHoldfast(t, {
    files: {
      ...files,
      "conf/ticket.key": Buffer.alloc(80, "ticket key "),
      "conf/ca.crt": ca.certificate,
      "conf/other.crt": other.certificate,
    },
    config: (ports) => `worker_processes 1; http { access_log off; ${CERTIFICATE} ssl_session_cache shared:SSL:1m;
      ${caches
        .map(
          (cache, i) => `server { listen 127.0.0.1:${ports[i]} ssl; ${cache} ${answer} }
      server { listen 127.0.0.1:${ports[i]} ssl; server_name members; ${cache} ${answer}
        ssl_client_certificate ca.crt; ssl_verify_client on; error_page 496 = /none; location = /none { ${answer} } }
      server { listen 127.0.0.1:${ports[i]} ssl; server_name others; ${cache} ${answer}
        ssl_client_certificate other.crt; ssl_verify_client optional; }`,
        )
        .join("\n")} }`,
  });
  const shown = ["-cert", client.certificateFile, "-key", client.keyFile];
  for (const [i, cache] of caches.entries()) {
    for (const version of VERSIONS) {
      const ask = (session: string, name: string, ...more: string[]) =>
        askWithSession(holdfast.ports[i], session, version, "-servername", name, ...more);
      const [member, none, guest] = [newSession(holdfast), newSession(holdfast), newSession(holdfast)];
      assert.equal(await ask(member, "members", ...shown), "SUCCESS CN=client .", cache);
      assert.equal(await ask(member, "members"), "SUCCESS CN=client r");
      // Where there is another CA, or none, nobody knows this certificate.
      assert.equal(await ask(member, "others"), "NONE  .");
      assert.equal(await ask(guest, "localhost"), "NONE  .");
      assert.equal(await ask(guest, "members"), "NONE  .");
      // A session that was refused is not resumed from the cache.
      assert.equal(await ask(none, "members"), "NONE  .");
      if (i === 0) assert.equal(await ask(none, "members"), "NONE  .");
    }
  }
});

test("a ticket key that cannot be used leaves the old configuration in force", { skip: noOpenssl }, async (t) => {
  const key = { "conf/ticket.key": Buffer.alloc(48, "ticket key ") };
  const config = servers(1, "ssl_session_ticket_key ticket.key;", "");
  const holdfast = await startHoldfast(t, { files: { ...files, ...key }, config });
  const session = newSession(holdfast);
  const path = join(holdfast.prefix, "conf/ticket.key");
  await askWithSession(holdfast.port, session, "-tls1_2");
  writeFileSync(path, Buffer.alloc(49));
  assert.ok(!(await holdfast.reload()));
  await holdfast.waitForLog(/\[emerg\] [^\n]*conf\/ticket\.key" must be 48 or 80 bytes in [^\n]*nginx\.conf:1\n/);
  rmSync(path);
  assert.ok(!(await holdfast.reload()));
  await holdfast.waitForLog(
    /\[emerg\] [^\n]*open\(\) "[^"]*conf\/ticket\.key" failed \(2: No such file or directory\) in [^\n]*nginx\.conf:1\n/,
  );
  assert.ok(await resumes(holdfast.port, session, "-tls1_2"));
});
