import { bindWhenUsed, stringAt } from "../ffi.ts";
import { mapped } from "./memory.ts";

/**
 * OpenSSL's queue of errors. It is the thread's, not a connection's: it is cleared before each call whose errors are read,
 * else one connection's error would be found by the next.
 */
const c = bindWhenUsed(null, {
  ERR_clear_error: { return: "void", arguments: [] },
  // Of the C type unsigned long.
  ERR_peek_error: { return: "uint64", arguments: [] },
  ERR_peek_last_error: { return: "uint64", arguments: [] },
  // The text that the second pointer is set to is the queue's, until the error is taken.
  ERR_peek_error_data: { return: "uint64", arguments: ["pointer", "pointer"] },
  ERR_get_error: { return: "uint64", arguments: [] },
  ERR_error_string_n: { return: "void", arguments: ["uint64", "pointer", "uint64"], sizes: { 1: 2 } },
});

const TEXT_BYTES = 512;
const ERR_TXT_STRING = 2;
/** <openssl/err.h>: the reason within an error, and the bit of one that came from the system. */
const REASON_MASK = 0x7f_ffffn;
const SYSTEM = 0x8000_0000n;

const text = mapped(TEXT_BYTES);
const out = mapped(16);
const outs = new DataView(out.buffer);

/** Forgets what earlier calls have left. To clear takes some 200 ns, to look whether there is anything 30. */
export function clearErrors(): void {
  if (hasErrors()) c.ERR_clear_error();
}

/** Whether a call has left an error. */
export function hasErrors(): boolean {
  return c.ERR_peek_error() !== 0n;
}

/** Whether the last error is this library's (ERR_LIB_…), for that reason. */
export function lastErrorIs(library: number, reason: number): boolean {
  const error = c.ERR_peek_last_error();
  return !(error & SYSTEM) && Number((error >> 23n) & 0xffn) === library && Number(error & REASON_MASK) === reason;
}

/** The reason of the last error, as SSL_R_… of <openssl/sslerr.h>; 0 for none. */
export function lastReason(): number {
  const error = c.ERR_peek_last_error();
  return error & SYSTEM ? 0 : Number(error & REASON_MASK);
}

/** Takes all errors, in nginx's words: ` (SSL: error:0A000126:SSL routines::…:data)`, or "" for none (ngx_ssl_error). */
export function takeErrors(): string {
  const found: string[] = [];
  for (;;) {
    const error = c.ERR_peek_error_data(out.address, out.address + 8n);
    if (error === 0n) break;
    c.ERR_error_string_n(error, text.address, BigInt(TEXT_BYTES));
    let sentence = stringAt(text.address) ?? "";
    const data = outs.getBigUint64(0, true);
    if (data !== 0n && outs.getInt32(8, true) & ERR_TXT_STRING) {
      const more = stringAt(data) ?? "";
      if (more !== "") sentence += `:${more}`;
    }
    found.push(sentence);
    c.ERR_get_error();
  }
  return found.length === 0 ? "" : ` (SSL: ${found.join(" ")})`;
}
