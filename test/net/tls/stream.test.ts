/** What peers can do to a TlsStream, and what one must not do to another: all use the same memory. */
import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import type { StreamError, StreamHandler } from "../../../src/net/stream.ts";
import { TlsStream } from "../../../src/net/tls/stream.ts";
import { bind, registerCallback } from "../../../src/sys/ffi.ts";
import { logFaultsTo } from "../../../src/sys/guard.ts";
import { livingConnections, SSL_ERROR_ZERO_RETURN, SslConnection } from "../../../src/sys/openssl/ssl.ts";
import { armedDeadlines } from "../../../src/sys/timers.ts";
import { noOpenssl, selfSigned } from "../../support/certificates.ts";
import {
  AcceptedTls,
  decrypted,
  encrypted,
  MemoryStream,
  outputOf,
  serverContext,
  tlsContext,
} from "../../support/tls_memory.ts";

const skip = noOpenssl;
const server = skip === false ? serverContext(selfSigned("one.example")) : tlsContext("server");
const client = tlsContext("client");

const c = bind(null, {
  SSL_key_update: { return: "int32", arguments: ["handle", "int32"] },
  SSL_CTX_set_verify: { return: "void", arguments: ["handle", "int32", "handle"] },
  SSL_CTX_set_cipher_list: { return: "int32", arguments: ["handle", "string"] },
});
const SSL_CTRL_SET_MAX_SEND_FRAGMENT = 52;
const SSL_VERIFY_PEER = 1;

/** An accepted stream that has agreed on TLS with a client, and what its handler heard. */
interface Pair {
  readonly inner: MemoryStream;
  readonly stream: TlsStream;
  readonly peer: SslConnection;
  /** What has come, and the names of the other events. */
  readonly heard: string[];
  readonly error: () => StreamError | undefined;
}

/** All that were made in a test. */
const lives: { readonly inner: MemoryStream; readonly peer: SslConnection }[] = [];

afterEach(() => {
  for (const { inner, peer } of lives.splice(0)) {
    inner.close();
    peer.free();
  }
  assert.equal(livingConnections(), 0);
});

function recorder(own: Partial<StreamHandler>): { handler: StreamHandler } & Pick<Pair, "heard" | "error"> {
  const heard: string[] = [];
  let failure: StreamError | undefined;
  const handler: StreamHandler = {
    onData(stream, bytes) {
      heard.push(bytes.latin1Slice());
      own.onData?.(stream, bytes);
    },
    onDrain: () => void heard.push("<drain>"),
    onSent: () => void heard.push("<sent>"),
    onEnd: () => void heard.push("<end>"),
    onClose(stream, error) {
      heard.push("<close>");
      failure = error;
      own.onClose?.(stream, error);
    },
  };
  return { handler, heard, error: () => failure };
}

/** `first`: sent by the client together with the end of its handshake. */
function pair(own: Partial<StreamHandler> = {}, first = ""): Pair {
  const { handler, heard, error } = recorder(own);
  const accepted = new AcceptedTls(server, handler);
  const { inner } = accepted;
  const peer = new SslConnection(client.ssl, "client");
  lives.push({ inner, peer });
  for (let rounds = 0; accepted.stream === undefined; rounds++) {
    assert.ok(rounds < 5);
    const answer = inner.take();
    if (answer.length > 0) peer.receive(answer);
    const done = peer.handshake() === 0;
    const flight = outputOf(peer);
    accepted.deliver(done && first !== "" ? Buffer.concat([flight, encrypted(peer, first)]) : flight);
  }
  assert.equal(decrypted(peer, inner.take()), "");
  return { inner, stream: accepted.stream, peer, heard, error };
}

/** Bytes from the client. */
function deliver({ inner }: Pair, bytes: Buffer): void {
  inner.handler.onData(inner, bytes);
}

/** A record of data is longer than a client may make it, so that nothing is left of what it is in. */
const LARGE = "x".repeat(50_000);

test("what comes with the end of the handshake is read, however much", { skip }, () => {
  const made = pair({}, LARGE);
  assert.equal(made.heard.join(""), LARGE);
});

test("what one stream has not used is not another's", { skip }, async () => {
  const other = pair();
  const ways: Readonly<Record<string, (made: Pair) => void>> = {
    "destroyed in onData": () => {},
    "a client that goes on after close_notify"(made) {
      made.peer.shutdown();
      deliver(made, Buffer.concat([outputOf(made.peer), Buffer.alloc(60_000, 0x17)]));
      deliver(made, Buffer.alloc(60_000, 0x16));
      assert.equal(made.heard.at(-1), "<end>");
    },
    "a record that nobody can decrypt"(made) {
      const record = encrypted(made.peer, "x");
      record[record.length - 1] ^= 1;
      deliver(made, Buffer.concat([record, Buffer.alloc(60_000, 0x17)]));
      assert.ok(made.stream.closed);
      assert.match(decrypted(made.peer, made.inner.take()), /\[error 1\]/, "the client gets the alert");
    },
  };
  for (const [name, way] of Object.entries(ways)) {
    const made = pair(name.startsWith("destroyed") ? { onData: (stream) => stream.destroy() } : {});
    if (name.startsWith("destroyed")) deliver(made, encrypted(made.peer, LARGE));
    way(made);
    deliver(other, encrypted(other.peer, name));
    assert.equal(other.heard.pop(), name);
    made.inner.close();
    assert.equal(made.heard.at(-1), "<close>");
  }
});

test("paused with bytes left: others read and write meanwhile, and nothing is lost", { skip }, async () => {
  const other = pair();
  const made = pair({ onData: (stream) => stream.pause() });
  deliver(made, encrypted(made.peer, LARGE));
  for (let rounds = 0; made.heard.join("").length < LARGE.length; rounds++) {
    assert.equal(made.heard.length, rounds + 1);
    assert.ok(made.inner.paused);
    deliver(other, encrypted(other.peer, "question"));
    other.stream.write("answer");
    assert.equal(decrypted(other.peer, other.inner.take()), "answer");
    made.stream.resume();
    await turn();
  }
  assert.equal(made.heard.join(""), LARGE);
  assert.equal(other.heard[0], "question");
  made.stream.resume();
  await turn();
  assert.equal(made.inner.paused, false);
});

test("what comes is written to other streams as it comes, in records and pieces of any size", { skip }, () => {
  const targets = [pair(), pair(), pair()];
  const made = pair({
    onData(_stream, bytes) {
      for (const { stream } of targets) stream.cork();
      for (const { stream } of targets) {
        stream.write("head ");
        stream.write(bytes);
      }
      for (const { stream } of targets) stream.uncork();
    },
  });
  let sent = Buffer.alloc(0);
  for (let i = 1; i < 60; i++) sent = Buffer.concat([sent, encrypted(made.peer, "y".repeat(i * i * 5))]);
  for (let at = 0, size = 1; at < sent.length; at += size++ * 7) deliver(made, sent.subarray(at, at + size * 7));
  const plain = made.heard.join("");
  assert.equal(plain.length, 5 * Array.from({ length: 60 }, (_, i) => i * i).reduce((sum, n) => sum + n));
  for (const target of targets) {
    const got = decrypted(target.peer, target.inner.take());
    assert.equal(got.replaceAll("head ", ""), plain);
  }
});

test("an exception in onData ends its stream, and no other", { skip }, () => {
  const said: string[] = [];
  logFaultsTo({ write: (_level, message) => void said.push(message) });
  const other = pair();
  const made = pair({
    onData() {
      throw new Error("thrown");
    },
  });
  deliver(made, encrypted(made.peer, LARGE));
  assert.ok(made.stream.closed);
  assert.match(said.join("\n"), /^exception: Error: thrown at .*$/);
  deliver(other, encrypted(other.peer, "well"));
  assert.equal(other.heard.at(-1), "well");
});

test("an error that somebody has left in the queue is nobody's failure", { skip }, () => {
  const made = pair();
  const record = encrypted(made.peer, "data");
  c.SSL_CTX_set_cipher_list(client.ssl.pointer, "nonsense");
  deliver(made, record.subarray(0, 10));
  c.SSL_CTX_set_cipher_list(client.ssl.pointer, "nonsense");
  deliver(made, record.subarray(10));
  made.stream.write("answer");
  assert.equal(decrypted(made.peer, made.inner.take()), "answer");
  assert.deepEqual(made.heard, ["data"]);
});

test("KeyUpdates are answered, but not without end to a client that takes no answers", { skip }, () => {
  const made = pair();
  const ask = (): Buffer => {
    assert.equal(c.SSL_key_update(made.peer.pointer, 1), 1);
    return encrypted(made.peer, "x");
  };
  const other = pair();
  for (let i = 0; i < 100; i++) {
    deliver(made, i % 2 === 0 ? ask() : Buffer.concat([ask(), ask(), ask()]));
    assert.equal(decrypted(made.peer, made.inner.take()), "");
    deliver(other, encrypted(other.peer, "y"));
  }
  assert.deepEqual([made.heard.join(""), other.heard.join("")], ["x".repeat(200), "y".repeat(100)]);
  made.stream.write("still here");
  assert.equal(decrypted(made.peer, made.inner.take()), "still here");
  made.inner.full = true;
  let rounds = 0;
  while (!made.stream.closed && rounds++ < 10_000) deliver(made, ask());
  assert.ok(made.inner.queued < 70_000, `${made.inner.queued} bytes are queued`);
  made.inner.close();
  assert.equal(made.error()?.sentence, "peer asks for what it does not take");
});

test("written within a message to TLS itself: sent when that is complete", { skip }, () => {
  const fragmented = serverContext(selfSigned("one.example"));
  fragmented.ssl.control(SSL_CTRL_SET_MAX_SEND_FRAGMENT, 512n);
  const accept = registerCallback({ return: "int32", arguments: ["int32", "handle"] }, () => 1);
  c.SSL_CTX_set_verify(fragmented.ssl.pointer, SSL_VERIFY_PEER, accept);
  const peer = new SslConnection(fragmented.ssl, "server");
  // Its certificate is in the tickets: each goes into two records.
  const ssl = new SslConnection(serverContext(selfSigned("client.example")).ssl, "client");
  const inner = new MemoryStream();
  lives.push({ inner, peer });
  const { handler, heard } = recorder({});
  const stream = new TlsStream(inner, ssl, handler, 16_384);
  inner.handler = stream;
  for (let done = false; !done; ) {
    done = ssl.handshake() === 0;
    peer.receive(outputOf(ssl));
    if (peer.handshake() !== 0) ssl.receive(outputOf(peer));
  }
  const tickets = outputOf(peer);
  const first = tickets.readUInt16BE(3) + 5;
  assert.ok(first < tickets.length);
  stream.decrypt(tickets.subarray(0, first));
  assert.equal(stream.write("request"), false);
  assert.deepEqual([stream.sending, stream.unsent, inner.take().length], [true, 7, 0]);
  // Another's bytes are where this one would look for the rest of the message.
  const other = pair({ onData: () => void (stream.unsent === 7 && stream.write(" of two parts")) });
  deliver(other, encrypted(other.peer, LARGE));
  assert.equal(other.heard.join(""), LARGE);
  stream.end();
  assert.equal(stream.write("late"), true);
  stream.onData(inner, tickets.subarray(first));
  assert.equal(decrypted(peer, inner.take()), `request of two parts[error ${SSL_ERROR_ZERO_RETURN}]`);
  assert.ok(inner.ended);
  assert.deepEqual(heard, ["<drain>", "<sent>"]);
});

test("after its end a stream tells nothing, and nothing is asked of OpenSSL", { skip }, async () => {
  const made = pair({
    onClose(stream) {
      assert.equal(made.stream.ssl.freed, false);
      stream.resume();
    },
  });
  made.stream.pause();
  deliver(made, encrypted(made.peer, "held"));
  made.stream.resume();
  made.stream.pause();
  made.inner.close();
  made.stream.resume();
  await turn();
  assert.deepEqual([made.stream.ssl.freed, made.stream.ssl.pointer], [true, 0n]);
  made.stream.write("x");
  made.stream.end();
  made.stream.destroy(true);
  assert.deepEqual(made.heard, ["<close>"]);
});

test("bytes_sent: what is unsent is counted in plain bytes", { skip }, () => {
  const made = pair();
  made.inner.full = true;
  made.stream.write("a");
  assert.equal(made.stream.unsent, 1);
  made.stream.write("b".repeat(999));
  assert.equal(made.stream.unsent, 1000);
  made.stream.cork();
  made.stream.write("gathered");
  made.inner.close();
  assert.equal(made.stream.unsent, 1008);
});

test("destroy: close_notify leaves first, but not behind bytes that nobody takes, nor for ever", { skip }, () => {
  const free = pair();
  free.stream.destroy();
  assert.ok(free.inner.closed);
  assert.equal(decrypted(free.peer, free.inner.take()), `[error ${SSL_ERROR_ZERO_RETURN}]`);

  const slow = pair();
  slow.inner.full = true;
  slow.stream.destroy();
  assert.deepEqual([slow.stream.closed, slow.stream.sending, slow.inner.closed], [true, false, false]);
  assert.equal(armedDeadlines(), 1);
  // Nothing is heard any more, whatever comes.
  deliver(slow, encrypted(slow.peer, "late"));
  slow.stream.resume();
  slow.inner.handler.onDrain(slow.inner);
  assert.equal(slow.inner.handler.onPeerClosed, undefined);
  slow.inner.handler.onSent?.(slow.inner);
  assert.ok(slow.inner.closed);

  const full = pair();
  full.inner.full = true;
  full.stream.write("bytes");
  full.inner.take();
  full.stream.destroy();
  assert.deepEqual([full.inner.closed, full.inner.take().length], [true, 0]);

  const impatient = pair();
  impatient.inner.full = true;
  impatient.stream.destroy();
  impatient.stream.destroy(true);
  assert.ok(impatient.inner.closed);
  for (const { inner, heard } of [free, slow, full, impatient]) {
    inner.close();
    assert.deepEqual(heard, ["<close>"]);
  }
  assert.equal(armedDeadlines(), 0);
});
