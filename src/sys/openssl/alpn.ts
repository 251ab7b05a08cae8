import { bindWhenUsed, memoryAt } from "../ffi.ts";
import { makeCallback } from "./callbacks.ts";
import { type SslContext, SslError } from "./context.ts";
import { mapped } from "./memory.ts";
import type { SslConnection } from "./ssl.ts";

/** The protocol to speak over TLS (ALPN, RFC 7301). */
const c = bindWhenUsed(null, {
  // The third pointer is passed on to the callback.
  SSL_CTX_set_alpn_select_cb: { return: "void", arguments: ["handle", "handle", "handle"] },
  // Copies the list.
  SSL_CTX_set_alpn_protos: { return: "int32", arguments: ["handle", "handle", "uint32"] },
  // Sets the first pointer into one of the lists; reads as many bytes of them as it is told.
  SSL_select_next_proto: { return: "int32", arguments: ["handle", "handle", "handle", "uint32", "handle", "uint32"] },
  // The second pointer is set to memory of the SSL's, valid within the callback.
  SSL_client_hello_get0_ext: { return: "int32", arguments: ["handle", "uint32", "pointer", "pointer"] },
});

/** <openssl/ssl.h>, <openssl/tls1.h> */
const OPENSSL_NPN_NEGOTIATED = 1;
const SSL_TLSEXT_ERR_OK = 0;
const SSL_TLSEXT_ERR_ALERT_FATAL = 2;
const TLSEXT_TYPE_ALPN = 16;

/** Lists as they are sent, behind their length; by the names in them. They last as long as the process. */
const lists = new Map<string, bigint>();

function listOf(protocols: readonly string[]): bigint {
  const key = protocols.join(" ");
  let address = lists.get(key);
  if (address === undefined) {
    const bytes = Buffer.concat(
      protocols.map((name) => Buffer.from(String.fromCharCode(name.length) + name, "latin1")),
    );
    const mapping = mapped(4 + bytes.length);
    const memory = Buffer.from(mapping.buffer);
    memory.writeUInt32LE(bytes.length);
    memory.set(bytes, 4);
    address = mapping.address;
    lists.set(key, address);
  }
  return address;
}

let selectCallback = 0n;

/** Has the connections of a context speak the first of these protocols that the client offers; it must offer one of them. */
export function setProtocolNames(context: SslContext, protocols: readonly string[]): void {
  if (selectCallback === 0n) {
    selectCallback = makeCallback(
      { return: "int32", arguments: ["handle", "handle", "handle", "handle", "uint32", "handle"] },
      SSL_TLSEXT_ERR_ALERT_FATAL,
      (_ssl, out, outLength, offered, length, list) => {
        const [ours] = new Uint32Array(memoryAt(list, 4));
        const result = c.SSL_select_next_proto(out, outLength, list + 4n, ours, offered, length);
        return result === OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
      },
    );
  }
  c.SSL_CTX_set_alpn_select_cb(context.pointer, selectCallback, listOf(protocols));
}

/** Has the connections of a client's context ask for one of these protocols. */
export function askForProtocols(context: SslContext, protocols: readonly string[]): void {
  const list = listOf(protocols);
  const [length] = new Uint32Array(memoryAt(list, 4));
  // Here 0 is success.
  if (c.SSL_CTX_set_alpn_protos(context.pointer, list + 4n, length) !== 0) {
    throw new SslError("SSL_CTX_set_alpn_protos() failed");
  }
}

const extension = mapped(16);
const extensions = new DataView(extension.buffer);

/** Whether a client offers a protocol. To be asked while its ClientHello is processed. */
export function offersProtocol({ pointer }: SslConnection, protocol: string): boolean {
  if (c.SSL_client_hello_get0_ext(pointer, TLSEXT_TYPE_ALPN, extension.address, extension.address + 8n) !== 1)
    return false;
  const length = Number(extensions.getBigUint64(8, true));
  const list = Buffer.from(memoryAt(extensions.getBigUint64(0, true), length));
  // The length of all names, then each behind its own; OpenSSL refuses what is malformed later.
  for (let at = 2; at < length; at += 1 + list[at]) {
    if (list[at] === protocol.length && list.latin1Slice(at + 1, at + 1 + list[at]) === protocol) return true;
  }
  return false;
}
