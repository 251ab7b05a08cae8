import { bindWhenUsed } from "../ffi.ts";
import { makeCallback, running } from "./callbacks.ts";
import type { SslContext } from "./context.ts";
import { mapped } from "./memory.ts";

/** What clients send before the handshake is complete, when they resume a session of TLS 1.3 (RFC 8446, section 2.3). */
const c = bindWhenUsed(null, {
  SSL_CTX_set_max_early_data: { return: "int32", arguments: ["handle", "uint32"] },
  // The second argument is called with the SSL.
  SSL_CTX_set_allow_early_data_cb: { return: "void", arguments: ["handle", "handle", "handle"], nullable: [2] },
  SSL_get_client_random: { return: "uint64", arguments: ["handle", "buffer", "uint64"], sizes: { 1: 2 } },
  // Their last argument is set to how many bytes were read or written.
  SSL_read_early_data: { return: "int32", arguments: ["handle", "pointer", "uint64", "pointer"], sizes: { 1: 2 } },
  SSL_write_early_data: { return: "int32", arguments: ["handle", "pointer", "uint64", "pointer"], sizes: { 1: 2 } },
});

/** <openssl/ssl.h> */
const SSL_OP_NO_ANTI_REPLAY = 1n << 24n;
const SSL_READ_EARLY_DATA_SUCCESS = 1;
export const SSL_READ_EARLY_DATA_FINISH = 2;

/** The most bytes of it that are taken (NGX_SSL_BUFSIZE). */
const MOST_EARLY_DATA = 16_384;
const RANDOM_BYTES = 32;

/** Whether early data is taken. */
export interface EarlyDataGuard {
  /** `clientRandom`: of the ClientHello, a byte string. If not, the client sends it again when the handshake is complete. */
  allowsEarlyData(clientRandom: string): boolean;
}

let callback = 0n;

/**
 * Takes early data from clients. OpenSSL's own protection against replays is off, as in nginx: it knows of this process's
 * connections alone, and wants sessions in a cache.
 */
export function acceptEarlyData(context: SslContext, guard: EarlyDataGuard): void {
  if (callback === 0n) callback = makeCallback({ return: "int32", arguments: ["handle", "handle"] }, 0, allowEarlyData);
  context.earlyData = guard;
  context.setOptions(SSL_OP_NO_ANTI_REPLAY);
  c.SSL_CTX_set_max_early_data(context.pointer, MOST_EARLY_DATA);
  c.SSL_CTX_set_allow_early_data_cb(context.pointer, callback, 0n);
}

const random = Buffer.alloc(RANDOM_BYTES);

function allowEarlyData(ssl: bigint): number {
  c.SSL_get_client_random(ssl, random, BigInt(RANDOM_BYTES));
  const guard = running.connection?.context.earlyData;
  return guard?.allowsEarlyData(random.latin1Slice()) === true ? 1 : 0;
}

const out = mapped(16);
const count = new BigUint64Array(out.buffer, 0, 1);
const first = Buffer.from(out.buffer, 8, 1);
const firstAt = out.address + 8n;

/** A connection of a server whose handshake is not complete: early data may come, and be answered. */
export class EarlyData {
  readonly #pointer: bigint;
  /** What `accept` has read. */
  #first = -1;
  #finished = false;

  constructor(pointer: bigint) {
    this.#pointer = pointer;
  }

  /** As SSL_do_handshake: 1 when early data has come. SSL_READ_EARLY_DATA_FINISH: none will, and that goes on. */
  accept(): number {
    const result = c.SSL_read_early_data(this.#pointer, firstAt, 1n, out.address);
    if (result === SSL_READ_EARLY_DATA_SUCCESS) this.#first = first[0];
    return result;
  }

  /**
   * As SSL_read; `bytes` is the memory at that address. SSL_READ_EARLY_DATA_FINISH less than nothing: no more will come, and
   * SSL_read goes on.
   */
  read(address: bigint, bytes: Buffer): number {
    if (this.#finished) return -SSL_READ_EARLY_DATA_FINISH;
    let length = 0;
    if (this.#first !== -1) {
      bytes[0] = this.#first;
      this.#first = -1;
      length = 1;
    }
    const room = BigInt(bytes.length - length);
    const result = c.SSL_read_early_data(this.#pointer, address + BigInt(length), room, out.address);
    if (result === SSL_READ_EARLY_DATA_SUCCESS) return length + Number(count[0]);
    this.#finished = result === SSL_READ_EARLY_DATA_FINISH;
    if (length > 0) return length;
    return this.#finished ? -SSL_READ_EARLY_DATA_FINISH : 0;
  }

  /** As SSL_write. */
  write(address: bigint, length: number): number {
    const result = c.SSL_write_early_data(this.#pointer, address, BigInt(length), out.address);
    return result === 1 ? Number(count[0]) : result;
  }
}
