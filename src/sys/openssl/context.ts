import { bindWhenUsed } from "../ffi.ts";
import type { EarlyDataGuard } from "./early_data.ts";
import { clearErrors, takeErrors } from "./errors.ts";
import type { SessionHandler } from "./session.ts";
import type { TicketKeyOwner } from "./ticket.ts";

/**
 * SSL_CTX: what connections of one configuration have in common. Most of its functions are macros in C, over SSL_CTX_ctrl.
 * Each SSL made of a context keeps it alive, whatever becomes of the object here.
 */
const c = bindWhenUsed(null, {
  TLS_method: { return: "handle", arguments: [] },
  // The caller's, until SSL_CTX_free.
  SSL_CTX_new: { return: "handle", arguments: ["handle"] },
  SSL_CTX_free: { return: "void", arguments: ["handle"] },
  SSL_CTX_ctrl: { return: "int64", arguments: ["handle", "int32", "int64", "handle"], nullable: [3] },
  SSL_CTX_set_options: { return: "uint64", arguments: ["handle", "uint64"] },
  SSL_CTX_clear_options: { return: "uint64", arguments: ["handle", "uint64"] },
});

/** <openssl/ssl.h> */
const SSL_OP = {
  IGNORE_UNEXPECTED_EOF: 1n << 7n,
  DONT_INSERT_EMPTY_FRAGMENTS: 1n << 11n,
  NO_COMPRESSION: 1n << 17n,
  NO_RENEGOTIATION: 1n << 30n,
  NO_TX_CERTIFICATE_COMPRESSION: 1n << 32n,
  NO_RX_CERTIFICATE_COMPRESSION: 1n << 33n,
} as const;

const SSL_CTRL = {
  MODE: 33,
} as const;

const SSL_MODE_RELEASE_BUFFERS = 0x10n;
const SSL_MODE_NO_AUTO_CHAIN = 0x8n;

const unreachable = new FinalizationRegistry<bigint>((pointer) => c.SSL_CTX_free(pointer));

/** An SSL_CTX, freed when this object can no longer be reached. */
export class SslContext {
  readonly pointer: bigint;
  /** Of its connections, unless they have another one. */
  sessions: SessionHandler | undefined = undefined;
  tickets: TicketKeyOwner | undefined = undefined;
  /** Undefined where its connections take no early data. */
  earlyData: EarlyDataGuard | undefined = undefined;

  /** As ngx_ssl_create has it; `setProtocols` comes next. Throws SslError. */
  constructor() {
    clearErrors();
    this.pointer = c.SSL_CTX_new(c.TLS_method());
    if (this.pointer === 0n) throw new SslError("SSL_CTX_new() failed");
    unreachable.register(this, this.pointer);
    this.setOptions(
      SSL_OP.DONT_INSERT_EMPTY_FRAGMENTS |
        SSL_OP.NO_COMPRESSION |
        SSL_OP.IGNORE_UNEXPECTED_EOF |
        SSL_OP.NO_RENEGOTIATION,
    );
    this.setOptions(SSL_OP.NO_TX_CERTIFICATE_COMPRESSION | SSL_OP.NO_RX_CERTIFICATE_COMPRESSION);
    // Without SSL_CTX_set_read_ahead: what an SSL has not read yet is to be seen in its BIO (connection_bios.ts).
    this.control(SSL_CTRL.MODE, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_NO_AUTO_CHAIN);
  }

  /** SSL_CTX_ctrl with a number, or with a pointer that outlives the call as its command says. */
  control(command: number, number: bigint, pointer = 0n): bigint {
    return c.SSL_CTX_ctrl(this.pointer, command, number, pointer);
  }

  setOptions(options: bigint): void {
    c.SSL_CTX_set_options(this.pointer, options);
  }

  clearOptions(options: bigint): void {
    c.SSL_CTX_clear_options(this.pointer, options);
  }
}

/** A server may ask its client for it, as IIS does to get a certificate; nginx's clients take part. */
export function allowRenegotiation(context: SslContext): void {
  context.clearOptions(SSL_OP.NO_RENEGOTIATION);
}

/** A failure of OpenSSL, in nginx's words: the call and what the queue of errors says. */
export class SslError extends Error {
  /** Of a list, which one it is about. */
  readonly item: number;

  constructor(call: string, item = 0) {
    super(call + takeErrors());
    this.item = item;
  }
}
