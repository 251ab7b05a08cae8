/** Edges of the bindings: callbacks that fail, hostile names, flights larger than the memory that all share. */
import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { bind, registerCallback } from "../../../src/sys/ffi.ts";
import { type FaultLog, logFaultsTo } from "../../../src/sys/guard.ts";
import { livingConnections, MOST_BYTES, SSL_ERROR_WANT_READ, SslConnection } from "../../../src/sys/openssl/ssl.ts";
import { noOpenssl, selfSigned } from "../../support/certificates.ts";
import { decrypted, encrypted, outputOf, serverContext, tlsContext } from "../../support/tls_memory.ts";

const skip = noOpenssl;
const certificate = skip === false ? selfSigned("one.example") : { certificate: "", key: "" };

const c = bind(null, {
  SSL_ctrl: { return: "int64", arguments: ["handle", "int32", "int64", "buffer"] },
  SSL_CTX_set_verify: { return: "void", arguments: ["handle", "int32", "handle"] },
});
const SSL_CTRL_SET_MAX_CERT_LIST = 51;
const SSL_CTRL_SET_TLSEXT_HOSTNAME = 55;

const made: SslConnection[] = [];
const faults: string[] = [];
const log: FaultLog = { write: (_level, message) => void faults.push(message) };
logFaultsTo(log);

afterEach(() => {
  for (const ssl of made.splice(0)) ssl.free();
  assert.equal(livingConnections(), 0);
  faults.length = 0;
});

function kept(ssl: SslConnection): SslConnection {
  made.push(ssl);
  return ssl;
}

/** A server's side that has the hellos that `asked` is told of. */
function server(asked: (name: string | undefined) => number, context = serverContext(certificate)): SslConnection {
  const ssl = kept(new SslConnection(context.ssl, "server"));
  ssl.helloHandler = { onClientHello: asked, onCertificate: () => true, onStatusRequest: () => undefined };
  return ssl;
}

function client(name?: string, context = tlsContext("client")): SslConnection {
  const ssl = kept(new SslConnection(context.ssl, "client"));
  if (name !== undefined) c.SSL_ctrl(ssl.pointer, SSL_CTRL_SET_TLSEXT_HOSTNAME, 0n, Buffer.from(`${name}\0`, "latin1"));
  return ssl;
}

function give(ssl: SslConnection, bytes: Buffer): number {
  let error = SSL_ERROR_WANT_READ;
  for (let at = 0; at < bytes.length && error === SSL_ERROR_WANT_READ; at += MOST_BYTES) {
    ssl.receive(bytes.subarray(at, at + MOST_BYTES));
    error = ssl.handshake();
  }
  return error;
}

/** Both go on as long as one has something to say. Returns how their handshakes ended. */
function agree(one: SslConnection, other: SslConnection): [number, number] {
  let first = one.handshake();
  let second = SSL_ERROR_WANT_READ;
  for (;;) {
    const question = outputOf(one);
    if (question.length > 0 && second === SSL_ERROR_WANT_READ) second = give(other, question);
    const answer = outputOf(other);
    if (answer.length === 0) return [first, second];
    if (first === SSL_ERROR_WANT_READ) first = give(one, answer);
    else decrypted(one, answer);
  }
}

test("an exception in a callback is logged, and refuses that handshake alone", { skip }, () => {
  const failing = server(() => {
    throw new Error("thrown in a callback");
  });
  assert.deepEqual(agree(client("a.example"), failing), [1, 1]);
  assert.match(faults.join("\n"), /^exception: Error: thrown in a callback at [^\n]*$/);
  assert.deepEqual(
    agree(
      client("a.example"),
      server(() => 0),
    ),
    [0, 0],
  );
});

test("a log that fails within a callback does not end the process", { skip }, () => {
  logFaultsTo({
    write() {
      throw new Error("no log");
    },
  });
  const failing = server(() => {
    throw new Error("thrown in a callback");
  });
  assert.deepEqual(agree(client("a.example"), failing), [1, 1]);
  logFaultsTo(log);
});

test("an alert that a callback answers with reaches the client", { skip }, () => {
  const refusing = server(() => 112);
  const one = client("a.example");
  one.handshake();
  assert.equal(give(refusing, outputOf(one)), 1);
  assert.deepEqual([...outputOf(refusing).subarray(-2)], [2, 112]);
});

test("names are byte strings, whatever bytes they have", { skip }, () => {
  for (const name of ["a.example", "\xc4\x8d\xc4\x8a.example", "\x01\r\n\xff", "n".repeat(255)]) {
    const asked: (string | undefined)[] = [];
    const accepted = server((told) => {
      asked.push(told);
      return 0;
    });
    assert.deepEqual(agree(client(name), accepted), [0, 0]);
    assert.deepEqual(asked, [name]);
    assert.equal(accepted.serverName, name);
  }
});

test("names that are none are refused, and nobody is asked", { skip }, () => {
  /** Of the server_name extension, whose data is `00 0c 00 00 09 "a.example"`; the alert. */
  const changes: readonly (readonly [change: (extension: Buffer) => void, alert: number])[] = [
    [(bytes) => bytes.writeUInt8(0, 8), 112],
    [(bytes) => bytes.writeUInt16BE(0, 0), 50],
    [(bytes) => bytes.writeUInt16BE(0xffff, 0), 50],
    [(bytes) => bytes.writeUInt8(1, 2), 50],
    [(bytes) => bytes.writeUInt16BE(0xffff, 3), 50],
    [(bytes) => bytes.writeUInt16BE(8, 3), 50],
  ];
  for (const [i, [change, alert]] of changes.entries()) {
    const one = client("a.example");
    one.handshake();
    const hello = outputOf(one);
    const at = hello.indexOf("a.example") - 5;
    change(hello.subarray(at, at + 14));
    const asked: unknown[] = [];
    const accepted = server((name) => asked.push(name));
    assert.equal(give(accepted, hello), 1, `${i}`);
    assert.deepEqual([[...outputOf(accepted).subarray(-2)], asked], [[2, alert], []], `${i}`);
  }
});

test("flights larger than the shared memory, in both directions", { skip }, () => {
  // 400 certificates: some 200 KiB.
  const long = { ...certificate, certificate: certificate.certificate.repeat(400) };
  const contexts = [serverContext(long), serverContext(long)];
  const accept = registerCallback({ return: "int32", arguments: ["int32", "handle"] }, () => 1);
  for (const { ssl } of contexts) {
    ssl.control(SSL_CTRL_SET_MAX_CERT_LIST, 10_000_000n);
    c.SSL_CTX_set_verify(ssl.pointer, 1, accept);
  }
  const one = client(undefined, contexts[0]);
  const other = server(() => 0, contexts[1]);
  assert.deepEqual(agree(one, other), [0, 0]);
  assert.equal(decrypted(other, encrypted(one, "question")), "question");
  assert.equal(decrypted(one, encrypted(other, "answer")), "answer");
});
