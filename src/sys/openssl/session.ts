import { bindWhenUsed, memoryAt } from "../ffi.ts";
import { makeCallback, running } from "./callbacks.ts";
import type { SslContext } from "./context.ts";
import { clearErrors } from "./errors.ts";
import { mapped } from "./memory.ts";
import type { SslConnection } from "./ssl.ts";

/** SSL_SESSION: what a client may resume later. A session is known here by its pointer. */
const c = bindWhenUsed(null, {
  // Without a second argument only says how many bytes there would be; else moves what that points to behind what it wrote.
  i2d_SSL_SESSION: { return: "int32", arguments: ["handle", "pointer"], nullable: [1] },
  // The caller's, until SSL_SESSION_free.
  d2i_SSL_SESSION: { return: "handle", arguments: ["handle", "pointer", "int64"], nullable: [0] },
  SSL_SESSION_up_ref: { return: "int32", arguments: ["handle"] },
  SSL_SESSION_free: { return: "void", arguments: ["handle"] },
  // The session's bytes.
  SSL_SESSION_get_id: { return: "handle", arguments: ["handle", "pointer"] },
  // The connection's, or null.
  SSL_get_session: { return: "handle", arguments: ["handle"] },
  // The connection takes a reference of its own.
  SSL_set_session: { return: "int32", arguments: ["handle", "handle"] },
  SSL_session_reused: { return: "int32", arguments: ["handle"] },
  SSL_version: { return: "int32", arguments: ["handle"] },
  SSL_get_options: { return: "uint64", arguments: ["handle"] },
  SSL_CTX_set_timeout: { return: "int64", arguments: ["handle", "int64"] },
  SSL_CTX_remove_session: { return: "int32", arguments: ["handle", "handle"] },
  SSL_CTX_sess_set_new_cb: { return: "void", arguments: ["handle", "handle"] },
  SSL_CTX_sess_set_get_cb: { return: "void", arguments: ["handle", "handle"] },
  SSL_CTX_sess_set_remove_cb: { return: "void", arguments: ["handle", "handle"] },
});

/** What is told of the sessions of its connections, within OpenSSL's calls. */
export interface SessionHandler {
  /** One was made, which the client may resume. It is lent for the call. */
  onNewSession(connection: SslConnection, session: bigint): void;
  /** A client wants to resume the session of that id, a byte string. A session that is OpenSSL's from now on, or 0. */
  findSession(id: string): bigint;
  /** It is not to be resumed any more. */
  removeSession(id: string): void;
}

/** <openssl/ssl.h> */
const SSL_CTRL_SET_SESS_CACHE_SIZE = 42;
const SSL_CTRL_SET_SESS_CACHE_MODE = 44;
const SSL_OP_NO_TICKET = 1n << 14n;
const TLS1_3_VERSION = 0x304;

export const SSL_SESS_CACHE = {
  OFF: 0,
  CLIENT: 1,
  SERVER: 2,
  NO_AUTO_CLEAR: 0x80,
  NO_INTERNAL_STORE: 0x200,
  /** NO_INTERNAL_LOOKUP too. */
  NO_INTERNAL: 0x300,
} as const;

/** `most`: how many sessions OpenSSL itself keeps, where it keeps any; by default its own limit. */
export function setSessionCache(context: SslContext, mode: number, most?: number): void {
  context.control(SSL_CTRL_SET_SESS_CACHE_MODE, BigInt(mode));
  if (most !== undefined) context.control(SSL_CTRL_SET_SESS_CACHE_SIZE, BigInt(most));
}

/** For how many seconds sessions may be resumed. */
export function setSessionTimeout({ pointer }: SslContext, seconds: number): void {
  c.SSL_CTX_set_timeout(pointer, BigInt(seconds));
}

/** Gives clients no tickets: sessions are in caches alone. */
export function refuseTickets(context: SslContext): void {
  context.setOptions(SSL_OP_NO_TICKET);
}

// ---- callbacks

let newCallback = 0n;
let getCallback = 0n;
let removeCallback = 0n;

/** Has connections' `sessions` told of new sessions: those of a context of that handler from the start. */
export function tellNewSessions(context: SslContext): void {
  if (newCallback === 0n) {
    newCallback = makeCallback({ return: "int32", arguments: ["handle", "handle"] }, 0, newSession);
  }
  c.SSL_CTX_sess_set_new_cb(context.pointer, newCallback);
}

/** Has them also asked for sessions of other processes. */
export function askForSessions(context: SslContext): void {
  if (getCallback === 0n) {
    const signature = { return: "handle", arguments: ["handle", "handle", "int32", "handle"] } as const;
    getCallback = makeCallback(signature, 0n, getSession);
    removeCallback = makeCallback({ return: "void", arguments: ["handle", "handle"] }, undefined, removeSession);
  }
  c.SSL_CTX_sess_set_get_cb(context.pointer, getCallback);
  c.SSL_CTX_sess_set_remove_cb(context.pointer, removeCallback);
}

/** Its result says that the callback has taken no reference to the session. */
function newSession(_ssl: bigint, session: bigint): number {
  const connection = running.connection;
  connection?.sessions?.onNewSession(connection, session);
  return 0;
}

function getSession(_ssl: bigint, id: bigint, length: number, copy: bigint): bigint {
  // OpenSSL is not to take a reference of its own to the result.
  new Int32Array(memoryAt(copy, 4))[0] = 0;
  return running.connection?.sessions?.findSession(bytesAt(id, length)) ?? 0n;
}

function removeSession(_context: bigint, session: bigint): undefined {
  running.connection?.sessions?.removeSession(sessionId(session));
}

// ---- one session

/** An int or pointer that OpenSSL writes, and what sessions are read from and written to. */
const ENCODED_BYTES = 16 * 1024;
const out = mapped(8 + ENCODED_BYTES);
const outPointer = new BigUint64Array(out.buffer, 0, 1);
const outInt = new Int32Array(out.buffer, 0, 1);
const encoded = Buffer.from(out.buffer, 8, ENCODED_BYTES);
const encodedAt = out.address + 8n;

/** A session as DER (i2d_SSL_SESSION), lent until the next call of this file; undefined where it has more bytes. */
export function encodeSession(session: bigint, most = ENCODED_BYTES): Buffer | undefined {
  const length = c.i2d_SSL_SESSION(session, 0n);
  if (length <= 0 || length > most || length > ENCODED_BYTES) return undefined;
  outPointer[0] = encodedAt;
  c.i2d_SSL_SESSION(session, out.address);
  return encoded.subarray(0, length);
}

/** Where `decodeEncoded` finds a session. */
export function encodedSpace(): Buffer {
  return encoded;
}

/** A session of the first bytes of `encodedSpace`, the caller's to free; 0 where they are none. */
export function decodeEncoded(length: number): bigint {
  outPointer[0] = encodedAt;
  clearErrors();
  const session = c.d2i_SSL_SESSION(0n, out.address, BigInt(length));
  clearErrors();
  return session;
}

/** Its id, a byte string: "" for one of TLS 1.3 that a client has, or that a ticket keeps. */
export function sessionId(session: bigint): string {
  const id = c.SSL_SESSION_get_id(session, out.address);
  const length = outInt[0];
  return length === 0 ? "" : bytesAt(id, length);
}

function bytesAt(address: bigint, length: number): string {
  return Buffer.from(memoryAt(address, length)).latin1Slice();
}

/** What a server has of a session of TLS 1.3 is in the client's ticket, unless there are to be none. */
export function isKeptInTicket({ pointer }: SslConnection): boolean {
  return c.SSL_version(pointer) === TLS1_3_VERSION && (c.SSL_get_options(pointer) & SSL_OP_NO_TICKET) === 0n;
}

/** Takes a reference to a session, which is the caller's to free. */
export function holdSession(session: bigint): void {
  c.SSL_SESSION_up_ref(session);
}

/** Gives a reference back. */
export function freeSession(session: bigint): void {
  c.SSL_SESSION_free(session);
}

// ---- a connection's session

/** As $ssl_session_id has it, in hexadecimal digits. */
export function sessionIdOf({ pointer }: SslConnection): string {
  const session = c.SSL_get_session(pointer);
  return session === 0n ? "" : Buffer.from(sessionId(session), "latin1").toString("hex");
}

/** ngx_ssl_remove_cached_session: nobody is to resume the connection's session. */
export function forgetSession({ pointer, context, sessions }: SslConnection): void {
  const session = c.SSL_get_session(pointer);
  if (session === 0n) return;
  c.SSL_CTX_remove_session(context.pointer, session);
  sessions?.removeSession(sessionId(session));
}

/** The connection goes on with an earlier one's session. */
export function isReused({ pointer }: SslConnection): boolean {
  return c.SSL_session_reused(pointer) === 1;
}

/** The client's side: offers a session to the server. It takes a reference of its own. */
export function offerSession({ pointer }: SslConnection, session: bigint): boolean {
  clearErrors();
  return c.SSL_set_session(pointer, session) === 1;
}
