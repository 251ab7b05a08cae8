/** Handshakes and data of TLS with something changed on the way: no crash, no exception, nothing left, nobody else hurt. */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import type { Stream, StreamHandler } from "../../src/net/stream.ts";
import { startTls } from "../../src/net/tls/client.ts";
import type { TlsContext } from "../../src/net/tls/context.ts";
import { bind, registerCallback } from "../../src/sys/ffi.ts";
import { logFaultsTo } from "../../src/sys/guard.ts";
import { acceptEarlyData } from "../../src/sys/openssl/early_data.ts";
import { livingConnections, SSL_ERROR_WANT_READ, SslConnection } from "../../src/sys/openssl/ssl.ts";
import { armedDeadlines } from "../../src/sys/timers.ts";
import { certificateDirectory, createCertificate, noOpenssl, selfSigned } from "../support/certificates.ts";
import { Chance, mutated, pieces } from "../support/mutations.ts";
import { mappingsOf, openBy } from "../support/processes.ts";
import {
  AcceptedTls,
  decrypted,
  encrypted,
  MemoryStream,
  outputOf,
  serverContext,
  tlsContext,
} from "../support/tls_memory.ts";

const MUTATIONS = Number(process.env.HOLDFAST_CHAOS_MUTATIONS ?? 3000);
const SEED = Number(process.env.HOLDFAST_CHAOS_SEED ?? 1);
const HEAP_PAGE = 256 * 1024;
/** The C library's heap grows by mappings too. */
const SLACK = 30;

const c = bind(null, {
  SSL_CTX_set_verify: { return: "void", arguments: ["handle", "int32", "handle"] },
  SSL_CTX_set_session_id_context: { return: "int32", arguments: ["handle", "buffer", "uint32"] },
  SSL_get1_session: { return: "handle", arguments: ["handle"] },
  SSL_SESSION_dup: { return: "handle", arguments: ["handle"] },
  SSL_SESSION_free: { return: "void", arguments: ["handle"] },
  SSL_set_session: { return: "int32", arguments: ["handle", "handle"] },
  SSL_write_early_data: { return: "int32", arguments: ["handle", "buffer", "uint64", "buffer"], sizes: { 1: 2 } },
  SSL_session_reused: { return: "int32", arguments: ["handle"] },
});
const SSL_OP_NO_TICKET = 1n << 14n;
const SSL_CTRL_SET_SESS_CACHE_SIZE = 42;
/** How many the servers keep: they are no leak. */
const SESSIONS = 100n;

/** A kind of handshake. */
interface Kind {
  readonly name: string;
  readonly server: TlsContext;
  readonly client: TlsContext;
  /** To be resumed; 0 for a full handshake. */
  readonly session: bigint;
  /** The first message goes before the handshake is complete. */
  readonly early: boolean;
}

const ECHO: StreamHandler = {
  onData: (stream, bytes) => void stream.write(bytes),
  onDrain() {},
  onEnd: (stream) => stream.end(),
  onClose() {},
};

/** What the client sends once both have agreed. */
const MESSAGES = ["ping", "x".repeat(20_000)];
const ECHOED = MESSAGES.join("").length;

/** What becomes of a flight of the client's, by its number. */
type Change = (flight: Buffer, number: number) => readonly Buffer[];

interface Outcome {
  readonly accepted: AcceptedTls;
  readonly echoed: number;
  readonly resumed: boolean;
}

/** A connection of that kind from its first byte to its end. */
function connection(
  { server, client: { ssl }, session, early }: Kind,
  change: Change,
  atEnd: (client: SslConnection) => void = () => {},
): Outcome {
  const accepted = new AcceptedTls(server, ECHO);
  const { inner } = accepted;
  const client = new SslConnection(ssl, "client");
  if (session !== 0n) {
    // A connection that fails makes its session one that cannot be resumed.
    const copy = c.SSL_SESSION_dup(session);
    c.SSL_set_session(client.pointer, copy);
    c.SSL_SESSION_free(copy);
  }
  let agreed = false;
  let echoed = 0;
  let sent = 0;
  if (early) {
    const message = Buffer.from(MESSAGES[sent++]);
    assert.equal(c.SSL_write_early_data(client.pointer, message, BigInt(message.length), Buffer.alloc(8)), 1);
  }
  for (let number = 0; !inner.closed && sent <= MESSAGES.length; number++) {
    const answer = inner.take();
    if (number > 0 && answer.length === 0) break;
    if (agreed) {
      echoed += decrypted(client, answer).length;
    } else {
      if (answer.length > 0) client.receive(answer);
      const error = client.handshake();
      if (error !== 0 && error !== SSL_ERROR_WANT_READ) break;
      agreed = error === 0;
    }
    if (agreed) {
      if (sent === MESSAGES.length) client.shutdown();
      else client.write(MESSAGES[sent], 0, MESSAGES[sent].length);
      sent++;
    }
    deliver(inner, change(outputOf(client), number));
  }
  const outcome = {
    accepted,
    echoed,
    resumed: agreed && c.SSL_session_reused(client.pointer) === 1,
  };
  atEnd(client);
  outputOf(client);
  client.free();
  inner.close();
  return outcome;
}

function deliver(inner: MemoryStream, pieces: readonly Buffer[]): void {
  for (const piece of pieces) if (!inner.closed) inner.handler.onData(inner, piece);
}

/** The same to a server: it is the server's flights that change. Returns how it ended. */
function connectionToServer(
  { server, client }: Kind,
  change: Change,
): { readonly echoed: number; readonly error: string } {
  const inner = new MemoryStream();
  let echoed = 0;
  let sent = 0;
  let error = "";
  const next = (stream: Stream): void => {
    if (sent === MESSAGES.length) stream.end();
    else stream.write(MESSAGES[sent++]);
  };
  const started = startTls(
    inner,
    { context: client, serverName: "one.example" },
    {
      onConnect: next,
      onData(stream, bytes) {
        echoed += bytes.length;
        if (echoed === MESSAGES.slice(0, sent).join("").length) next(stream);
      },
      onDrain() {},
      onEnd: (stream) => stream.end(),
      onClose(_stream, failure) {
        error = failure?.sentence ?? failure?.message ?? "";
      },
    },
  );
  assert.ok(typeof started !== "string");
  const peer = new SslConnection(server.ssl, "server");
  let agreed = false;
  for (let number = 0; !inner.closed; number++) {
    const question = inner.take();
    if (question.length === 0) break;
    const wasAgreed = agreed;
    if (!agreed) {
      peer.receive(question);
      agreed = peer.handshake() === 0;
    }
    const text = agreed ? decrypted(peer, wasAgreed ? question : Buffer.alloc(0)).replace(/\[error \d+\]$/, "") : "";
    if (text !== "") peer.write(text, 0, text.length);
    deliver(inner, change(outputOf(peer), number));
  }
  peer.free();
  inner.close();
  return { echoed, error };
}

const WHOLE: Change = (flight) => [flight];

function kinds(t: TestContext): Kind[] {
  const certificate = selfSigned("one.example");
  const accept = registerCallback({ return: "int32", arguments: ["int32", "handle"] }, () => 1);
  const proving = { server: serverContext(certificate), client: serverContext(selfSigned("client.example")) };
  c.SSL_CTX_set_verify(proving.server.ssl.pointer, 1, accept);
  c.SSL_CTX_set_session_id_context(proving.server.ssl.pointer, Buffer.from("test"), 4);
  const server = serverContext(certificate);
  const rsa = createCertificate(certificateDirectory(t), "one.example", { algorithm: "RSA" });
  const only = (version: "TLSv1.2" | "TLSv1.3"): TlsContext =>
    tlsContext("client", { protocols: new Set([version] as const) });
  const withIds = only("TLSv1.2");
  withIds.ssl.setOptions(SSL_OP_NO_TICKET);
  const eager = serverContext(certificate);
  acceptEarlyData(eager.ssl, { allowsEarlyData: () => true });
  const full = [
    { name: "TLS 1.3", server, client: only("TLSv1.3") },
    { name: "TLS 1.2", server, client: only("TLSv1.2") },
    { name: "TLS 1.2 without tickets", server, client: withIds },
    { name: "a client's certificate", ...proving },
    { name: "RSA", server: serverContext(rsa), client: only("TLSv1.2") },
    { name: "early data", server: eager, client: only("TLSv1.3") },
  ].map((kind) => ({ ...kind, session: 0n, early: false }));
  const resumed = full.map((kind) => {
    let session = 0n;
    connection(kind, WHOLE, ({ pointer }) => {
      session = c.SSL_get1_session(pointer);
    });
    return { ...kind, name: `${kind.name}, resumed`, session, early: kind.server === eager };
  });
  for (const { server } of full) server.ssl.control(SSL_CTRL_SET_SESS_CACHE_SIZE, SESSIONS);
  return [...full, ...resumed];
}

/** A connection that goes on all the time, whatever happens on others. */
class Other {
  readonly #accepted: AcceptedTls;
  readonly #peer: SslConnection;

  constructor({ server, client }: Kind) {
    const accepted = new AcceptedTls(server, ECHO);
    const peer = new SslConnection(client.ssl, "client");
    while (accepted.stream === undefined) {
      peer.handshake();
      accepted.deliver(outputOf(peer));
      peer.receive(accepted.inner.take());
    }
    peer.handshake();
    this.#accepted = accepted;
    this.#peer = peer;
  }

  assertWell(said: string): void {
    this.#accepted.deliver(encrypted(this.#peer, "still here"));
    assert.equal(decrypted(this.#peer, this.#accepted.inner.take()), "still here", said);
  }

  close(): void {
    this.#accepted.inner.close();
    this.#peer.free();
  }
}

/** Does that so many times, and counts what is left: `attack` returns how it ended. */
function attackMany(
  t: TestContext,
  times: number,
  other: Other,
  attack: (said: (more: string) => void) => string,
): void {
  const faults: string[] = [];
  logFaultsTo({ write: (_level, message) => void faults.push(message) });
  const outcomes = new Map<string, number>();
  const shape = (): readonly number[] => [unnamedMappings(), openBy(process.pid).length];
  let before = shape();
  let memory = process.memoryUsage.rss();
  for (let i = 0; i < times; i++) {
    if (i === times >> 2) {
      before = shape();
      memory = process.memoryUsage.rss();
    }
    let said = `${i}`;
    const outcome = attack((more) => {
      said += `, ${more}`;
    });
    outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
    assert.deepEqual(faults, [], said);
    assert.equal(livingConnections(), 2, said);
    other.assertWell(said);
  }
  other.close();
  for (const [outcome, count] of [...outcomes].toSorted((a, b) => b[1] - a[1]).slice(0, 10))
    t.diagnostic(`${count} × ${outcome}`);
  const [mappings, descriptors] = shape();
  const grown = Math.round((process.memoryUsage.rss() - memory) / 1024);
  t.diagnostic(
    `${before[0]} mappings, then ${mappings}; ${before[1]} descriptors, then ${descriptors}; ${grown} KiB more`,
  );
  assert.ok(mappings <= before[0] + SLACK);
  assert.equal(descriptors, before[1]);
  assert.deepEqual([livingConnections(), armedDeadlines()], [0, 0]);
}

test(`${MUTATIONS} mutations of what clients send: no crash, no exception, nothing left, nobody else is hurt`, {
  skip: noOpenssl,
}, (t) => {
  const all = kinds(t);
  const recordings = all.map((kind) => {
    const flights: Buffer[] = [];
    const { resumed, echoed } = connection(kind, (flight) => {
      flights.push(flight);
      return [flight];
    });
    assert.deepEqual([echoed, resumed], [ECHOED, kind.session !== 0n], kind.name);
    return flights;
  });
  const chance = new Chance(SEED);
  attackMany(t, MUTATIONS, new Other(all[0]), (said) => {
    const which = chance.below(all.length);
    const kind = all[which];
    const recording = recordings[which];
    const change = changing(chance, recording.length, said);
    said(kind.name);
    if (chance.below(2) === 0) {
      const { accepted, echoed } = connection(kind, change);
      assert.ok(echoed <= ECHOED);
      return ended(accepted);
    }
    // As it was recorded, whatever the server answers now.
    const accepted = new AcceptedTls(kind.server, ECHO);
    const { inner } = accepted;
    for (const [number, flight] of recording.entries()) deliver(inner, change(flight, number));
    if (!inner.closed && chance.below(2) === 0) inner.handler.onEnd(inner);
    inner.close();
    return ended(accepted);
  });
});

test(`${MUTATIONS >> 2} mutations of what servers send`, { skip: noOpenssl }, (t) => {
  const all = kinds(t).filter(({ session }) => session === 0n);
  for (const kind of all) assert.deepEqual(connectionToServer(kind, WHOLE), { echoed: ECHOED, error: "" }, kind.name);
  const chance = new Chance(SEED);
  attackMany(t, MUTATIONS >> 2, new Other(all[0]), (said) => {
    const kind = all[chance.below(all.length)];
    said(kind.name);
    const { echoed, error } = connectionToServer(kind, changing(chance, 4, said));
    assert.ok(echoed <= ECHOED);
    return error;
  });
});

/** Changes one of so many flights. */
function changing(chance: Chance, flights: number, said: (what: string) => void): Change {
  const at = chance.below(flights);
  return (flight, number) => {
    if (number !== at) return [flight];
    const { name, bytes } = mutated(flight, chance);
    said(`flight ${at}: ${name}`);
    return pieces(bytes, chance);
  };
}

/** But for those of V8's heap, which come and go. */
function unnamedMappings(): number {
  return mappingsOf(process.pid).filter(({ name, bytes }) => name === "" && bytes % HEAP_PAGE !== 0).length;
}

/** How a connection ended, in words without their particulars. */
function ended({ refusal, stream, plaintext }: AcceptedTls): string {
  if (refusal !== undefined) return refusal.replace(/ while SSL handshaking$/, "");
  if (plaintext) return "no TLS";
  return stream === undefined ? "closed by the client in the handshake" : "agreed";
}
