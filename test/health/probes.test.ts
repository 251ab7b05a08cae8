import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, readFileSync as read, rmSync, writeFileSync as write } from "node:fs";
import type { IncomingHttpHeaders } from "node:http2";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import tls from "node:tls";
import { CheckConnection } from "../../src/health/check_connection.ts";
import type { CheckDefinition } from "../../src/health/definition.ts";
import { probeOf } from "../../src/health/probes/registry.ts";
import type { Address } from "../../src/net/address.ts";
import { engine } from "../../src/net/engines.ts";
import * as h2 from "../../src/wire/h2/frames.ts";
import { encodeField } from "../../src/wire/h2/hpack_encoder.ts";
import { h2Backend, unary } from "../support/h2_backend.ts";
import { have } from "../support/have.ts";
import { freePort } from "../support/ports.ts";
import { startUwsgi } from "../support/uwsgi.ts";
import { PATIENCE_MS, waitFor } from "../support/wait.ts";
import { record } from "../wire/fastcgi_record.ts";
import { DEFINITION, ipv4, peer, planText, serve } from "./support.ts";

const OPENSSL = "openssl";

/** Runs one check to its end: the verdict, or "no verdict" where there is none. */
function verdictOf(target: Address, definition: CheckDefinition, server = ""): Promise<string> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => {
      connection.close();
      resolve("no verdict");
    }, PATIENCE_MS);
    const probe = probeOf(definition, server);
    const connection = new CheckConnection(
      target,
      probe,
      definition.keep,
      { connect: engine().connect, tls: undefined },
      (verdict) => {
        clearTimeout(timer);
        connection.close();
        resolve(verdict === "" ? "pass" : verdict);
      },
    );
    connection.start();
  });
}

/** A peer that answers with these bytes, in pieces, when it has read something (or at once), and then ends or stays. */
async function answering(pieces: readonly string[], after: "end" | "stay" = "end", speaksFirst = false) {
  return serve((socket) => {
    let begun = false;
    const answer = async () => {
      if (begun) return;
      begun = true;
      for (const piece of pieces) {
        socket.write(Buffer.from(piece, "latin1"));
        if (pieces.length > 1) await new Promise((resolve) => setImmediate(resolve));
      }
      if (after === "end") socket.end();
    };
    if (speaksFirst) void answer();
    else socket.on("data", answer);
  });
}

function has(program: string, flag = "-v"): boolean {
  try {
    execFileSync(program, [flag], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}

/** The probe alone, fed with the answer split at every place: each must give the same verdict. */
function everySplit(definition: CheckDefinition, answer: string, expected: string) {
  const probe = probeOf(definition, "");
  // What a probe has read it may write over, as with what a stream lends.
  let bytes = Buffer.from(answer, "latin1");
  for (let split = 0; split <= bytes.length; split++) {
    bytes = Buffer.from(answer, "latin1");
    probe.begin();
    const verdict =
      (split > 0 ? probe.data(bytes.subarray(0, split)) : undefined) ??
      (split < bytes.length ? probe.data(bytes.subarray(split)) : undefined) ??
      probe.end();
    assert.equal(verdict === "" ? "pass" : verdict, expected, `split at ${split}`);
  }
  probe.begin();
  bytes = Buffer.from(answer, "latin1");
  let verdict: string | undefined;
  for (let at = 0; at < bytes.length && verdict === undefined; at++) verdict = probe.data(bytes.subarray(at, at + 1));
  assert.equal((verdict ?? probe.end()) || "pass", expected, "byte by byte");
}

function of(text: string): CheckDefinition {
  return planText(`http { upstream u { ${text} } }`, { u: [peer(0, ipv4(1))] }).checks[0].definition;
}

const HTTP = of("check type=http;");

test("tcp: a listening server passes, a closed port and a missing socket do not", async () => {
  const { address, close } = await serve(() => {});
  assert.equal(await verdictOf(address, DEFINITION), "pass");
  close();
  assert.equal(await verdictOf(ipv4(await freePort()), DEFINITION), "connect: connection refused");
  assert.equal(
    await verdictOf({ family: "unix", path: "/nowhere/at/all.sock" }, DEFINITION),
    "connect: no such file or directory",
  );
});

test("tcp: unix sockets and IPv6", async (t) => {
  const directory = mkdtempSync(join(tmpdir(), "holdfast-"));
  t.after(() => rmSync(directory, { recursive: true }));
  const path = join(directory, "a.sock");
  const server = net.createServer((socket) => socket.destroy()).listen(path);
  t.after(() => server.close());
  await new Promise((resolve) => server.once("listening", resolve));
  assert.equal(await verdictOf({ family: "unix", path }, DEFINITION), "pass");
  const six = net.createServer((socket) => socket.destroy());
  t.after(() => six.close());
  const listening = await new Promise<boolean>((resolve) => {
    six.once("error", () => resolve(false));
    six.listen(0, "::1", () => resolve(true));
  });
  if (!listening) return t.diagnostic("no IPv6 here");
  const bound = six.address();
  const port = typeof bound === "object" && bound !== null ? bound.port : 0;
  assert.equal(await verdictOf({ family: "ipv6", host: "::1", port }, DEFINITION), "pass");
});

test("http: status classes, at every split of the answer", () => {
  everySplit(HTTP, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "pass");
  everySplit(HTTP, "HTTP/1.0 302 Found\r\n\r\n", "pass");
  everySplit(HTTP, "HTTP/1.1 204\n", "pass");
  everySplit(HTTP, "HTTP/1.1 403.1 Forbidden\r\n\r\n", "status 403");
  everySplit(HTTP, "HTTP/1.1 500 Oops\r\n\r\n", "status 500");
  everySplit(HTTP, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", "pass");
  const alive = of("check type=http; check_http_expect_alive http_4xx HTTP_5XX;");
  everySplit(alive, "HTTP/1.1 503 Busy\r\n\r\n", "pass");
  everySplit(alive, "HTTP/1.1 200 OK\r\n\r\n", "status 200");
});

test("http: garbage, nothing, half and forever have their reasons", async () => {
  everySplit(HTTP, "SSH-2.0-OpenSSH_9.2\r\n", "not an HTTP response");
  everySplit(HTTP, "HTTP/1.1 20 OK\r\n", "not an HTTP response");
  everySplit(HTTP, "", "closed by the server without a response");
  everySplit(HTTP, "HTTP/1.1 200 O", "closed by the server within the response head");
  const body = of("check type=http; check_http_expect_body ok;");
  everySplit(body, "HTTP/1.1 200 OK\r\nno header\r\n\r\n", 'invalid header: "no\\x20..."');
  // nginx takes a name alone for a field without a value.
  everySplit(body, "HTTP/1.1 200 OK\r\nname\r\n\r\nok", "pass");
  const probe = probeOf(HTTP, "");
  probe.begin();
  const line = Buffer.from(`HTTP/1.1 200 ${"x".repeat(1000)}`);
  let verdict = probe.data(line);
  for (let i = 0; i < 100 && verdict === undefined; i++) verdict = probe.data(Buffer.alloc(1000, "x"));
  assert.equal(verdict, "too big header");
});

test("http: the request is what check_http_send says, and the answer's body is judged", async () => {
  let asked = "";
  const { address, close } = await serve((socket) => {
    socket.on("data", (bytes) => {
      asked += bytes.toString("latin1");
      socket.end("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nall\r\n5;x=y\r\n good\r\n0\r\n\r\n");
    });
  });
  const text = 'check type=http; check_http_send "GET /health HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n"; ';
  assert.equal(await verdictOf(address, of(`${text} check_http_expect_body ~ "^all good$";`)), "pass");
  assert.equal(asked, "GET /health HTTP/1.1\r\nHost: a\r\n\r\n");
  assert.equal(
    await verdictOf(address, of(`${text} check_http_expect_body !~* "GOOD";`)),
    'response body does not pass "body !~* GOOD"',
  );
  close();
  const body = of('check type=http; check_http_expect_body "needle";');
  everySplit(body, "HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\na needle in", "pass");
  everySplit(body, "HTTP/1.0 200 OK\r\n\r\nall the hay with a needle", "pass");
  everySplit(
    body,
    "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\na needle",
    "closed by the server before the end of the body",
  );
  everySplit(body, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhay", 'response body does not pass "body needle"');
  const endless = await serve((socket) => {
    socket.on("data", () => {
      socket.write("HTTP/1.1 200 OK\r\n\r\n");
      const more = () => {
        while (!socket.destroyed && socket.write("hay".repeat(10_000)));
      };
      socket.on("drain", more);
      more();
    });
  });
  assert.equal(await verdictOf(endless.address, body), 'response body does not pass "body needle"');
  endless.close();
});

test("http: a response that nginx would not pass on is none", () => {
  const body = of("check type=http; check_http_expect_body ok;");
  const head = "HTTP/1.1 200 OK\r\n";
  const both = '"Content-Length" and "Transfer-Encoding" headers at the same time';
  const framings: [string, string][] = [
    ["Content-Length: 2\r\nTransfer-Encoding: chunked", both],
    [
      "Content-Length: 2\r\nContent-Length: 2",
      'duplicate header line: "Content-Length: 2", previous value: "Content-Length: 2"',
    ],
    ["Content-Length: +2", 'invalid "Content-Length" header: "Content-Length: +2"'],
    ["Transfer-Encoding: gzip", 'unknown "Transfer-Encoding": "gzip"'],
  ];
  for (const [fields, reason] of framings) everySplit(body, `${head}${fields}\r\n\r\nok`, reason);
  const chunked = `${head}Transfer-Encoding: chunked\r\n\r\n`;
  everySplit(body, `${chunked}1\r\no\r\n1;x=y\r\nk\r\n0\r\nX-Sum: 1\r\n\r\n`, "pass");
  everySplit(body, `${chunked}1\r\nok\r\n0\r\n\r\n`, "invalid chunked response");
  everySplit(body, `${chunked}2\r\nok\r\n`, "closed by the server before the end of the body");
  // Where the status alone is asked for, nothing behind it matters.
  everySplit(HTTP, `${head}Content-Length: +2\r\n\r\n`, "pass");
});

test("http: check_keepalive_requests checks share a connection; one the server closed is opened again", async () => {
  const { address, close, connections } = await serve((socket) => {
    socket.on("data", () => socket.write("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"));
  });
  const definition = of(
    'check type=http; check_keepalive_requests 3; check_http_send "GET / HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n";',
  );
  const run = async (target: Address, checks: number) => {
    const verdicts: string[] = [];
    await new Promise<void>((resolve) => {
      const probe = probeOf(definition, "");
      const connection = new CheckConnection(
        target,
        probe,
        definition.keep,
        { connect: engine().connect, tls: undefined },
        (verdict) => {
          verdicts.push(verdict === "" ? "pass" : verdict);
          if (verdicts.length < checks) setTimeout(() => connection.start(), 10);
          else {
            connection.close();
            resolve();
          }
        },
      );
      connection.start();
    });
    return verdicts;
  };
  assert.deepEqual(await run(address, 6), Array(6).fill("pass"));
  assert.equal(connections(), 2);
  close();
  const rude = await serve((socket) => {
    socket.once("data", () => {
      socket.write("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
      socket.once("data", () => socket.destroy());
    });
  });
  assert.deepEqual(await run(rude.address, 4), Array(4).fill("pass"));
  assert.equal(rude.connections(), 4);
  rude.close();
  const polluted = await serve((socket) => {
    socket.on("data", () => socket.write("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 500 Injected\r\n\r\n"));
  });
  assert.deepEqual(await run(polluted.address, 3), Array(3).fill("pass"), "left-over bytes are no answer");
  polluted.close();
});

test("ssl_hello: answered by OpenSSL under TLS 1.3 and 1.2, by an RSA and an ECDSA server", async (t) => {
  const directory = mkdtempSync(join(tmpdir(), "holdfast-"));
  t.after(() => rmSync(directory, { recursive: true }));
  const definition = of("check type=ssl_hello;");
  for (const kind of ["rsa:2048", "ec"]) {
    const [key, cert] = [join(directory, `${kind}.key`), join(directory, `${kind}.crt`)];
    const curve = kind === "ec" ? ["-pkeyopt", "ec_paramgen_curve:P-256"] : [];
    const self = [
      "req",
      "-x509",
      "-newkey",
      kind,
      ...curve,
      "-nodes",
      "-keyout",
      key,
      "-out",
      cert,
      "-days",
      "2",
      "-subj",
      "/CN=a",
    ];
    execFileSync(OPENSSL, self, { stdio: "ignore" });
    for (const version of ["TLSv1.2", "TLSv1.3"] as const) {
      const server = tls.createServer({ key: read(key), cert: read(cert), minVersion: version, maxVersion: version });
      server.on("tlsClientError", () => {});
      await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
      const bound = server.address();
      const address = ipv4(typeof bound === "object" && bound !== null ? bound.port : 0);
      assert.equal(await verdictOf(address, definition, "shop.example.com:443"), "pass", `${kind} ${version}`);
      assert.equal(await verdictOf(address, definition, "127.0.0.1:443"), "pass", `${kind} ${version} without a name`);
      server.close();
    }
  }
  const port = await freePort();
  const arguments_ = [
    "s_server",
    "-accept",
    `127.0.0.1:${port}`,
    "-key",
    join(directory, "ec.key"),
    "-cert",
    join(directory, "ec.crt"),
    "-quiet",
  ];
  const program = spawn(OPENSSL, arguments_, { stdio: ["pipe", "ignore", "ignore"] });
  t.after(() => program.kill());
  await waitFor(async () => (await verdictOf(ipv4(port), definition)) === "pass", "openssl s_server");
});

test("ssl_hello: alerts, plain HTTP, silence", async () => {
  const definition = of("check type=ssl_hello;");
  everySplit(definition, "\x15\x03\x01\x00\x02\x02\x28", "TLS alert handshake_failure 40");
  everySplit(definition, "HTTP/1.1 400 Bad Request\r\n\r\n", "not a TLS response");
  everySplit(definition, "\x16\x03\x03\x00\x7a\x02\x00\x00\x76\x03\x03", "pass");
  everySplit(definition, "\x16\x03\x03\x00\x7a\x0b\x00\x00\x76\x03\x03", "TLS handshake without a ServerHello");
  everySplit(definition, "\x16\x03", "closed by the server within the ServerHello");
  everySplit(definition, "", "closed by the server without a ServerHello");
});

/** Protocol::HandshakeV10 as MariaDB 10.11 sends it: version, thread id, salt, capabilities, plugin name. */
const GREETING = (() => {
  const body = `\x0a5.5.5-10.11.6-MariaDB\0\x2a\0\0\0saltsalt\0\xfe\xf7\x2d\x02\0\xff\x81\x15\0\0\0\0\0\0\x1d\0\0\0saltsaltsalt\0mysql_native_password\0`;
  return `${String.fromCharCode(body.length & 0xff, body.length >> 8, 0)}\0${body}`;
})();

test("mysql: a greeting passes; an error in its place, or anything else, does not", async () => {
  const definition = of("check type=mysql;");
  everySplit(definition, GREETING, "pass");
  const text = "Too many connections";
  const error = `\xff\x10\x04#08004${text}`;
  everySplit(definition, `${String.fromCharCode(error.length)}\0\0\0${error}`, `MySQL error 1040: ${text}`);
  everySplit(definition, "SSH-2.0-OpenSSH_9.2p1\r\n", "not a MySQL greeting");
  everySplit(definition, "", "closed by the server without a greeting");
  const { address, close } = await answering([...GREETING], "stay", true);
  assert.equal(await verdictOf(address, definition), "pass");
  close();
});

test("mysql: a real MariaDB or MySQL", async (t) => {
  const program = ["mariadbd", "mysqld", "/usr/sbin/mariadbd", "/usr/sbin/mysqld"].find((name) =>
    has(name, "--version"),
  );
  if (program === undefined) return t.skip("no MariaDB or MySQL server is installed");
  const directory = mkdtempSync(join(tmpdir(), "holdfast-"));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  const port = await freePort();
  const place = [`--datadir=${directory}`, `--socket=${directory}/s`, `--pid-file=${directory}/p`, `--port=${port}`];
  const quick = ["--bind-address=127.0.0.1", "--skip-grant-tables", "--skip-log-bin", "--innodb-buffer-pool-size=8M"];
  const child = spawn(program, ["--no-defaults", ...place, ...quick, "--user=root"], { stdio: "ignore" });
  const ended = new Promise((resolve) => child.once("exit", resolve));
  t.after(() => child.kill("SIGKILL") && ended);
  let verdict = "";
  await waitFor(
    async () => {
      verdict = await verdictOf(ipv4(port), of("check type=mysql;"));
      return verdict === "pass" || child.exitCode !== null;
    },
    "the server to answer",
    4 * PATIENCE_MS,
  );
  // --skip-grant-tables still wants the system tables of some versions; without them the server does not start.
  if (verdict !== "pass" && child.exitCode !== null)
    return t.skip("the server does not start without an installed database");
  assert.equal(verdict, "pass");
});

test("ajp: CPing is answered with CPong", async () => {
  const definition = of("check type=ajp;");
  let asked = "";
  const { address, close } = await serve((socket) => {
    socket.on("data", (bytes) => {
      asked += bytes.toString("hex");
      if (asked === "123400010a") socket.write(Buffer.from("4142000109", "hex"));
    });
  });
  assert.equal(await verdictOf(address, definition), "pass");
  close();
  everySplit(definition, "AB\0\x01\x09", "pass");
  everySplit(definition, "AB\0\x01\x05", "not an AJP CPong");
  everySplit(definition, "HTTP/1.1 400\r\n\r\n", "not an AJP CPong");
  everySplit(definition, "AB", "closed by the server within the CPong");
});

/** What a server of gRPC answers: the head, the message, the trailer. */
function grpcAnswer(message: string, status: string, http = "200"): string {
  const head = encodeField(":status", http) + encodeField("content-type", "application/grpc");
  const trailer = encodeField("grpc-status", status);
  return (
    h2.settingsFrame([]) +
    h2.headersFrames(1, head, false, h2.DEFAULT_FRAME_SIZE) +
    (message === "" ? "" : h2.frameHead(message.length, h2.DATA, 0, 1) + message) +
    h2.headersFrames(1, trailer, true, h2.DEFAULT_FRAME_SIZE)
  );
}

test("grpc: what a server of the health service answers, and what is none", () => {
  const check = of("check type=grpc;");
  const serving = (status: number) => `\0\0\0\0\x02\x08${String.fromCharCode(status)}`;
  everySplit(check, grpcAnswer(serving(1), "0"), "pass");
  everySplit(check, grpcAnswer(serving(2), "0"), "NOT_SERVING");
  everySplit(check, grpcAnswer("\0\0\0\0\0", "0"), "UNKNOWN");
  everySplit(check, grpcAnswer("\0\0\0\0\x03\x08\x01", "0"), "not an answer of grpc.health.v1.Health");
  everySplit(check, grpcAnswer("", "12"), "grpc-status 12 (UNIMPLEMENTED)");
  everySplit(of("check type=grpc grpc_status=12;"), grpcAnswer("", "12"), "pass");
  everySplit(check, grpcAnswer("", "0", "503"), "status 503");
  const refusal = (status: string, ...said: [string, string][]) => {
    const fields: [string, string][] = [[":status", "200"], ["grpc-status", status], ...said];
    const block = fields.map(([name, value]) => encodeField(name, value)).join("");
    return h2.headersFrames(1, block, true, h2.DEFAULT_FRAME_SIZE);
  };
  const only = refusal("5");
  everySplit(check, h2.settingsFrame([]) + only, "grpc-status 5 (NOT_FOUND)");
  const said = refusal("5", ["grpc-message", "no such service: 100%25"]);
  everySplit(check, h2.settingsFrame([]) + said, "grpc-status 5 (NOT_FOUND): no such service: 100%");
  const long = refusal("99", ["grpc-message", "x".repeat(1000)]);
  everySplit(check, h2.settingsFrame([]) + long, `grpc-status 99: ${"x".repeat(100)}`);
  everySplit(check, h2.settingsFrame([]) + h2.rstStream(1, 7), "the call was rejected with error 7");
  everySplit(check, h2.settingsFrame([]) + h2.goaway(0, 11), "the server goes away with error 11");
  everySplit(check, only, "not an HTTP/2 response");
  everySplit(check, "HTTP/1.1 400 Bad Request\r\n\r\n", "not an HTTP/2 response");
  everySplit(check, h2.settingsFrame([]), "closed by the server within the response");
  const probe = probeOf(check, "");
  probe.begin();
  assert.equal(probe.data(Buffer.from(h2.settingsFrame([]).repeat(1001), "latin1")), "too long an answer");
});

test("grpc: the call names the service, and a server of Node's understands it", async (t) => {
  let asked: Buffer = Buffer.alloc(0);
  let fields: IncomingHttpHeaders = {};
  const { port } = await h2Backend(t, (stream, headers) => {
    fields = headers;
    unary(stream, (body) => {
      asked = body;
      return Buffer.from([0, 0, 0, 0, 2, 8, 1]);
    });
  });
  const definition = of("check type=grpc grpc_service=shop.Cart;");
  const target: Address = { family: "ipv4", host: "127.0.0.1", port };
  assert.equal(await verdictOf(target, definition, "cart.test:50051"), "pass");
  assert.equal(asked.latin1Slice(), "\0\0\0\0\x0b\n\x09shop.Cart");
  assert.equal(fields[":path"], "/grpc.health.v1.Health/Check");
  assert.equal(fields[":authority"], "cart.test:50051");
});

test("fastcgi: status, error stream and broken answers", async () => {
  const any = of("check type=fastcgi;");
  const alive = of("check type=fastcgi; check_http_expect_alive http_2xx;");
  const head = "Content-Type: text/html\r\n\r\n";
  everySplit(alive, record(6, `${head}hello`, 3) + record(6, "") + record(3, "\0\0\0\0\0\0\0\0"), "pass");
  everySplit(alive, record(6, "Status: 404 Not Found\r\n", 1) + record(6, head), "status 404");
  everySplit(any, record(6, `Status: 404 Not Found\r\n${head}`), "pass");
  everySplit(alive, record(6, "Location: /login\r\n\r\n"), "status 302");
  everySplit(any, record(6, `Status: OK\r\n${head}`), 'invalid status "OK"');
  everySplit(any, record(7, "Primary script unknown\n", 1) + record(6, head), "FastCGI stderr: Primary script unknown");
  everySplit(any, record(3, "\0\0\0\0\x02\0\0\0"), "FastCGI server overloaded");
  everySplit(any, record(6, ""), "FastCGI response without headers");
  everySplit(any, record(6, "no header at all\n\n"), 'invalid header: "no\\x20..."');
  everySplit(any, "HTTP/1.1 200 OK\r\n\r\n", "not a FastCGI response");
  everySplit(any, record(6, head).slice(0, 12), "closed by the server within the response");
});

test("fastcgi: the request carries the parameters", async () => {
  let asked = Buffer.alloc(0);
  const { address, close } = await serve((socket) => {
    socket.on("data", (bytes: Buffer) => {
      asked = Buffer.concat([asked, bytes]);
      // The two empty records end the request.
      if (asked.subarray(-8).equals(Buffer.from([1, 5, 0, 1, 0, 0, 0, 0])))
        socket.end(Buffer.from(record(6, "Status: 200\r\n\r\n"), "latin1"));
    });
  });
  const long = "x".repeat(200);
  const definition = of(
    `check type=fastcgi; check_fastcgi_param REQUEST_METHOD GET; check_fastcgi_param LONG ${long};`,
  );
  assert.equal(await verdictOf(address, definition), "pass");
  assert.ok(asked.includes(`\x0e\x03REQUEST_METHODGET`));
  assert.ok(asked.includes(Buffer.concat([Buffer.from([4, 0x80, 0, 0, 200]), Buffer.from(`LONG${long}`)])));
  close();
});

test("fastcgi: a real php-fpm", async (t) => {
  const program = ["php-fpm", "php-fpm8.4", "php-fpm8.3", "php-fpm8.2", "php-fpm8.1", "php-fpm7.4"].find((name) =>
    has(name),
  );
  if (program === undefined) return t.skip("php-fpm is not installed");
  const directory = mkdtempSync(join(tmpdir(), "holdfast-"));
  t.after(() => rmSync(directory, { recursive: true }));
  const socket = join(directory, "fpm.sock");
  const config = join(directory, "fpm.conf");
  const script = join(directory, "health.php");
  write(script, "<?php header('Status: 200'); echo 'ok';");
  write(config, `[global]\nerror_log=/dev/null\ndaemonize=no\n[www]\nlisten=${socket}\npm=static\npm.max_children=1\n`);
  const child = spawn(program, ["-y", config, "-R", "-F"], { stdio: "ignore" });
  t.after(() => child.kill());
  const definition = (file: string) =>
    of(
      `check type=fastcgi; check_http_expect_alive http_2xx; check_fastcgi_param REQUEST_METHOD GET; check_fastcgi_param SCRIPT_FILENAME ${file};`,
    );
  const verdict = (file: string): Promise<string> => verdictOf({ family: "unix", path: socket }, definition(file));
  await waitFor(async () => (await verdict(script)) === "pass", "php-fpm");
  assert.match(await verdict("/no/such.php"), /stderr: .*script|status 404/i);
});

test("health_check with a match block: status, headers, body, require", () => {
  const match =
    "match m { status 200-299 404; header Content-Type ~ ^text/; header ! X-Bad; body ~ ok; require $upstream_http_x_state; }";
  const text = `http { ${match} upstream u { } server { location / { proxy_pass http://u; health_check match=m uri=/h; } } }`;
  const { definition } = planText(text, { u: [peer(0, ipv4(1))] }).checks[0];
  assert.match(definition.send, /^GET \/h HTTP\/1\.1\r\nHost: u\r\n.*Connection: close\r\n\r\n$/s);
  const good = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nX-State: 1\r\nContent-Length: 2\r\n\r\nok";
  everySplit(definition, good, "pass");
  everySplit(definition, good.replace("200", "301"), "status 301");
  everySplit(
    definition,
    good.replace("text/plain", "image/png"),
    'response does not pass "header Content-Type ~ ^text/"',
  );
  everySplit(definition, good.replace("X-State: 1", "X-State: 0"), 'variable $upstream_http_x_state is empty or "0"');
  everySplit(
    definition,
    good.replace("X-State: 1", "X-State: 1\r\nX-Bad: y"),
    'response does not pass "header ! X-Bad"',
  );
  everySplit(definition, good.replace(/ok$/, "ko"), 'response body does not pass "body ~ ok"');
});

test("health_check type=tcp with send and expect", async () => {
  const text =
    'http { match m { send "PING\\x0a"; expect ~ "^\\+PONG"; } upstream u { } server { location / { proxy_pass http://u; health_check type=tcp match=m; } } }';
  const { definition } = planText(text, { u: [peer(0, ipv4(1))] }).checks[0];
  const { address, close } = await answering([..."+PONG\r\n"], "stay");
  assert.equal(await verdictOf(address, definition), "pass");
  close();
  everySplit(definition, "-ERR", "what was received is not what is expected");
});

test("uwsgi and scgi: a status line or a CGI head, and broken answers", () => {
  for (const type of ["uwsgi", "scgi"]) {
    const any = of(`check type=${type};`);
    const alive = of(`check type=${type}; check_http_expect_alive http_2xx;`);
    everySplit(alive, "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\nhello", "pass");
    everySplit(alive, "Content-Type: text/html\r\n\r\nhello", "pass");
    everySplit(alive, "HTTP/1.1 503 Busy\r\n\r\n", "status 503");
    everySplit(alive, "Status: 404 Not Found\r\n\r\n", "status 404");
    everySplit(any, "Status: 404 Not Found\r\n\r\n", "pass");
    everySplit(any, "Status: OK\r\n\r\n", 'invalid status "OK"');
    everySplit(any, "no header at all\n\n", 'invalid header: "no\\x20..."');
    everySplit(any, "", "closed by the server without a response");
    everySplit(any, "HTTP/1.1 200 OK\r\nX: y", "closed by the server within the response");
  }
  assert.equal(
    probeOf(of("check type=uwsgi; check_uwsgi_param A bc;"), "").send?.toString("latin1"),
    "\x00\x07\x00\x00\x01\x00A\x02\x00bc",
  );
  const scgi = probeOf(of("check type=scgi; check_scgi_param A bc;"), "");
  assert.equal(scgi.send?.toString("latin1"), "22:CONTENT_LENGTH\x000\x00A\x00bc\x00,");
});

test("uwsgi: parameters that do not fit in a packet are refused", () => {
  const long = `check_uwsgi_param LONG ${"x".repeat(1000)};`.repeat(66);
  assert.throws(() => of(`check type=uwsgi; ${long}`), /the parameters of a uwsgi check are too big: 66528/);
});

test("uwsgi and scgi: a real uWSGI", { skip: have("uwsgi") }, async (t) => {
  const application = `
def application(env, start):
    good = env['PATH_INFO'] == '/' and env['SERVER_NAME'] == 'localhost' and env['REQUEST_METHOD'] == 'GET'
    start('200 OK' if good else '404 Not Found', [])
    return [b'ok']
`;
  for (const protocol of ["uwsgi", "scgi"] as const) {
    const { address } = await startUwsgi(t, application, { protocol });
    const target: Address = { family: "unix", path: address.slice("unix:".length) };
    const check = `check type=${protocol}; check_http_expect_alive http_2xx;`;
    assert.equal(await verdictOf(target, of(check)), "pass");
    const other = ["PATH_INFO /other", "REQUEST_METHOD GET", "SERVER_NAME a"].map(
      (p) => `check_${protocol}_param ${p};`,
    );
    assert.equal(await verdictOf(target, of(check + other.join(" "))), "status 404");
  }
});
