/** The key of a client's by which a secret was agreed on takes no memory once that is done; connections go on without it. */
import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { IGNORE } from "../../../src/net/stream.ts";
import type { TlsContext } from "../../../src/net/tls/context.ts";
import { bind } from "../../../src/sys/ffi.ts";
import { agreedCurve } from "../../../src/sys/openssl/agreed.ts";
import { livingConnections, SslConnection } from "../../../src/sys/openssl/ssl.ts";
import { noOpenssl, selfSigned } from "../../support/certificates.ts";
import { AcceptedTls, decrypted, encrypted, outputOf, serverContext, tlsContext } from "../../support/tls_memory.ts";

const skip = noOpenssl;
const certificate = skip === false ? selfSigned("one.example") : { certificate: "", key: "" };

const c = bind(null, {
  SSL_ctrl: { return: "int64", arguments: ["handle", "int32", "int64", "buffer"] },
  SSL_key_update: { return: "int32", arguments: ["handle", "int32"] },
  // The caller's, until SSL_SESSION_free.
  SSL_get1_session: { return: "handle", arguments: ["handle"] },
  SSL_set_session: { return: "int32", arguments: ["handle", "handle"] },
  SSL_SESSION_free: { return: "void", arguments: ["handle"] },
  SSL_session_reused: { return: "int32", arguments: ["handle"] },
  EVP_PKEY_get1_encoded_public_key: { return: "uint64", arguments: ["handle", "buffer"] },
  EVP_PKEY_free: { return: "void", arguments: ["handle"] },
});
const SSL_CTRL_GET_PEER_TMP_KEY = 109;
const SSL_KEY_UPDATE_REQUESTED = 1;

const lives: { readonly accepted: AcceptedTls; readonly peer: SslConnection }[] = [];

afterEach(() => {
  for (const { accepted, peer } of lives.splice(0)) {
    accepted.inner.close();
    peer.free();
  }
  assert.equal(livingConnections(), 0);
});

interface Pair {
  readonly accepted: AcceptedTls;
  readonly ssl: SslConnection;
  readonly peer: SslConnection;
  readonly heard: string[];
}

/** Agrees. `first`: sent by the client together with the end of its handshake; `session`: resumed. */
function pair(server: TlsContext, client: TlsContext, first: string, session = 0n): Pair {
  const heard: string[] = [];
  const accepted = new AcceptedTls(server, { ...IGNORE, onData: (_stream, bytes) => heard.push(bytes.latin1Slice()) });
  const peer = new SslConnection(client.ssl, "client");
  if (session !== 0n) c.SSL_set_session(peer.pointer, session);
  lives.push({ accepted, peer });
  for (let rounds = 0; accepted.stream === undefined; rounds++) {
    assert.ok(rounds < 5);
    const answer = accepted.inner.take();
    if (answer.length > 0) peer.receive(answer);
    const done = peer.handshake() === 0;
    const flight = outputOf(peer);
    // Not in one piece, as it may come.
    const rest = done ? Buffer.concat([flight, encrypted(peer, first)]) : flight;
    for (let at = 0; at < rest.length; at += 1000) accepted.deliver(rest.subarray(at, at + 1000));
  }
  assert.equal(decrypted(peer, accepted.inner.take()), "");
  return { accepted, ssl: accepted.stream.ssl, peer, heard };
}

function peerKey({ pointer }: SslConnection): "empty" | "whole" {
  const out = Buffer.alloc(8);
  assert.equal(c.SSL_ctrl(pointer, SSL_CTRL_GET_PEER_TMP_KEY, 0n, out), 1n);
  const key = out.readBigUInt64LE();
  const length = c.EVP_PKEY_get1_encoded_public_key(key, Buffer.alloc(8));
  c.EVP_PKEY_free(key);
  return length === 0n ? "empty" : "whole";
}

/** Keys of every kind, and of both sizes: what comes along makes a small one look like a large one. */
const KINDS = [
  { curves: "X25519MLKEM768", first: "question", key: "empty" },
  { curves: "X25519", first: "question", key: "whole" },
  { curves: "X25519", first: "q".repeat(1300), key: "empty" },
  { curves: "prime256v1", first: "q".repeat(1300), key: "empty" },
  { curves: "ffdhe2048", first: "q".repeat(1300), key: "empty" },
] as const;

for (const { curves, first, key } of KINDS) {
  test(`${curves}, ${first.length} bytes at once: the key is ${key}, all goes on`, { skip }, () => {
    const settings = { protocols: new Set(["TLSv1.3"] as const), curves };
    const server = serverContext(certificate, settings);
    const client = tlsContext("client", settings);
    const one = pair(server, client, first);
    assert.equal(peerKey(one.ssl), key);
    assert.equal(agreedCurve(one.ssl), curves);
    assert.equal(one.heard.join(""), first);

    for (const { pointer } of [one.ssl, one.peer]) c.SSL_key_update(pointer, SSL_KEY_UPDATE_REQUESTED);
    one.accepted.deliver(encrypted(one.peer, "more"));
    one.accepted.stream?.write("answer");
    assert.equal(one.heard.join(""), `${first}more`);
    assert.equal(decrypted(one.peer, one.accepted.inner.take()), "answer");
    one.accepted.deliver(outputOf(one.peer));

    const session = c.SSL_get1_session(one.peer.pointer);
    const two = pair(server, client, first, session);
    c.SSL_SESSION_free(session);
    assert.equal(c.SSL_session_reused(two.peer.pointer), 1);
    assert.deepEqual([peerKey(two.ssl), two.heard.join("")], [key, first]);
  });
}
