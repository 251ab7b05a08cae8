import { bindWhenUsed, memoryAt, stringAt } from "../ffi.ts";
import { makeCallback, running } from "./callbacks.ts";
import { InputBio, OutputBio, referTo } from "./connection_bios.ts";
import type { SslContext } from "./context.ts";
import { EarlyData, SSL_READ_EARLY_DATA_FINISH } from "./early_data.ts";
import { clearErrors } from "./errors.ts";
import { mapped } from "./memory.ts";
import { emptyPeerKey } from "./peer_key.ts";
import { acknowledgeServerName, helloName } from "./server_name.ts";
import type { SessionHandler } from "./session.ts";

/**
 * A TLS connection (SSL). All of this process read from one memory BIO and write to another: what comes in is put there
 * before a call, and what goes out is taken after it. So an idle connection has no BIO of its own. Any call may read, that of
 * SSL_write too: so what one connection has left in the BIO is set aside before a call of another's.
 */
const c = bindWhenUsed(null, {
  // The caller's, until SSL_free. It has a reference to its SSL_CTX.
  SSL_new: { return: "handle", arguments: ["handle"] },
  SSL_free: { return: "void", arguments: ["handle"] },
  // Takes one reference to the BIO.
  SSL_set0_rbio: { return: "void", arguments: ["handle", "handle"] },
  SSL_set0_wbio: { return: "void", arguments: ["handle", "handle"] },
  SSL_set_accept_state: { return: "void", arguments: ["handle"] },
  SSL_set_connect_state: { return: "void", arguments: ["handle"] },
  SSL_do_handshake: { return: "int32", arguments: ["handle"] },
  SSL_is_init_finished: { return: "int32", arguments: ["handle"] },
  SSL_read: { return: "int32", arguments: ["handle", "pointer", "int32"], sizes: { 1: 2 } },
  SSL_write: { return: "int32", arguments: ["handle", "pointer", "int32"], sizes: { 1: 2 } },
  SSL_shutdown: { return: "int32", arguments: ["handle"] },
  SSL_set_shutdown: { return: "void", arguments: ["handle", "int32"] },
  SSL_get_error: { return: "int32", arguments: ["handle", "int32"] },
  // The SSL's text.
  SSL_get_version: { return: "handle", arguments: ["handle"] },
  // The library's; a cipher's name is too.
  SSL_get_current_cipher: { return: "handle", arguments: ["handle"] },
  SSL_CIPHER_get_name: { return: "handle", arguments: ["handle"], nullable: [0] },
  // The session's text, or null.
  SSL_get_servername: { return: "handle", arguments: ["handle", "int32"] },
  SSL_set_options: { return: "uint64", arguments: ["handle", "uint64"] },
  SSL_clear_options: { return: "uint64", arguments: ["handle", "uint64"] },
  SSL_get_options: { return: "uint64", arguments: ["handle"] },
  // The SSL has a reference to the other SSL_CTX then.
  SSL_set_SSL_CTX: { return: "handle", arguments: ["handle", "handle"] },
  SSL_set_verify: { return: "void", arguments: ["handle", "int32", "handle"], nullable: [2] },
  SSL_set_verify_depth: { return: "void", arguments: ["handle", "int32"] },
  SSL_CTX_get_verify_mode: { return: "int32", arguments: ["handle"] },
  SSL_CTX_get_verify_callback: { return: "handle", arguments: ["handle"] },
  SSL_CTX_get_verify_depth: { return: "int32", arguments: ["handle"] },
  SSL_CTX_get_options: { return: "uint64", arguments: ["handle"] },
  SSL_CTX_set_cert_cb: { return: "void", arguments: ["handle", "handle", "handle"], nullable: [2] },
  SSL_CTX_set_client_hello_cb: { return: "void", arguments: ["handle", "handle", "handle"], nullable: [2] },
});

/** <openssl/ssl.h>: what SSL_get_error returns. */
export const SSL_ERROR_SSL = 1;
export const SSL_ERROR_WANT_READ = 2;
export const SSL_ERROR_ZERO_RETURN = 6;
const SSL_SENT_SHUTDOWN = 1;
const SSL_RECEIVED_SHUTDOWN = 2;

/** How many bytes a call takes or gives at most. */
export const MOST_BYTES = 64 * 1024;

interface Scratch {
  readonly address: bigint;
  readonly bytes: Buffer;
}

function scratch(bytes: number): Scratch {
  const { address, buffer } = mapped(bytes);
  return { address, bytes: Buffer.from(buffer) };
}

/** All connections'. */
interface Shared {
  readonly input: InputBio;
  readonly output: OutputBio;
  /** What was read, and is to be written, in plain. */
  readonly read: Scratch;
  readonly written: Scratch;
}

let made: Shared | undefined;

function shared(): Shared {
  made ??= {
    input: new InputBio(MOST_BYTES),
    output: new OutputBio(),
    read: scratch(MOST_BYTES),
    written: scratch(MOST_BYTES),
  };
  return made;
}

/** Views of the first bytes that were read, by length: to make one takes longer than to look it up. */
const VIEWS = 4096;
const readViews: Buffer[] = [];

/** What is asked while a ClientHello is processed. */
export interface HelloHandler {
  /**
   * Which server the client wants (SSL_CTX_set_client_hello_cb). `name`: of SNI, a byte string, undefined without it. 0 to go
   * on, or the alert to refuse the handshake with.
   */
  onClientHello(name: string | undefined): number;
  /** To set the connection's certificates (SSL_CTX_set_cert_cb). False where there are none. */
  onCertificate(): boolean;
  /** The OCSP response to send along with a certificate, an X509, if there is one (see stapling.ts). */
  onStatusRequest(certificate: bigint): Uint8Array | undefined;
}

export const SSL_AD_INTERNAL_ERROR = 80;

let helloCallback = 0n;

/** Has the connections of a context ask their HelloHandler which server the client wants. */
export function askOnClientHello(context: SslContext): void {
  if (helloCallback === 0n) {
    helloCallback = makeCallback({ return: "int32", arguments: ["handle", "handle", "handle"] }, 0, clientHello);
  }
  c.SSL_CTX_set_client_hello_cb(context.pointer, helloCallback, 0n);
  acknowledgeServerName(context);
}

function clientHello(ssl: bigint, alert: bigint): number {
  const handler = running.connection?.helloHandler;
  if (handler === undefined) return 1;
  const name = helloName(ssl);
  const refusal = typeof name === "number" ? name : handler.onClientHello(name);
  if (refusal === 0) return 1;
  new Int32Array(memoryAt(alert, 4))[0] = refusal;
  return 0;
}

let certificateCallback = 0n;

/** Has the connections of a context ask their HelloHandler for certificates. */
export function askForCertificates(context: SslContext): void {
  if (certificateCallback === 0n) {
    certificateCallback = makeCallback({ return: "int32", arguments: ["handle", "handle"] }, 0, () =>
      running.connection?.helloHandler?.onCertificate() === true ? 1 : 0,
    );
  }
  c.SSL_CTX_set_cert_cb(context.pointer, certificateCallback, 0n);
}

/** Whose bytes may still be in the input BIO. */
let receiver: SslConnection | undefined;
let living = 0;

/** How many SSL objects there are in this process. @internal For tests: each is freed when its stream closes. */
export function livingConnections(): number {
  return living;
}

/** One side of a TLS connection. After `free` nothing may be called, and nothing be asked but whether it is `freed`. */
export class SslConnection {
  /** 0 after `free`. */
  private address: bigint;
  /** What it was made of; `useContext` does not change that. */
  readonly context: SslContext;
  /** Told of its sessions, if the context has it so. */
  sessions: SessionHandler | undefined;
  private readonly shared: Shared = shared();
  /** Until the handshake is complete, where early data is taken. */
  private early: EarlyData | undefined = undefined;
  /** Asked during the handshake, if the context has it so. */
  helloHandler: HelloHandler | undefined = undefined;
  /** Received and not used yet, when another connection needed the BIO. */
  private aside: Buffer | undefined = undefined;

  /** Throws RangeError where there is no memory. */
  constructor(context: SslContext, side: "server" | "client") {
    const { input, output } = this.shared;
    this.context = context;
    this.sessions = context.sessions;
    clearErrors();
    this.address = c.SSL_new(context.pointer);
    if (this.address === 0n) throw new RangeError("SSL_new() failed");
    living++;
    referTo(input.bio, output.bio);
    c.SSL_set0_rbio(this.address, input.bio);
    c.SSL_set0_wbio(this.address, output.bio);
    if (context.earlyData !== undefined) this.early = new EarlyData(this.address);
    if (side === "server") c.SSL_set_accept_state(this.address);
    else c.SSL_set_connect_state(this.address);
  }

  get pointer(): bigint {
    return this.address;
  }

  get freed(): boolean {
    return this.address === 0n;
  }

  free(): void {
    if (this.freed) return;
    this.drop();
    // Else OpenSSL would take the session of a connection without close_notify for a broken one.
    c.SSL_set_shutdown(this.address, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    c.SSL_free(this.address);
    this.address = 0n;
    living--;
  }

  /** Puts bytes of the peer where the next calls find them, at most MOST_BYTES, and only while none are left (`hasPending`). */
  receive(bytes: Uint8Array): void {
    this.enter();
    this.shared.input.put(bytes);
  }

  /** Before each call of this connection: the BIO has its bytes, and no others. */
  private enter(): void {
    if (receiver === this) return;
    const { input } = this.shared;
    if (receiver !== undefined && input.left > 0) receiver.aside = input.takeBack();
    receiver = this;
    if (this.aside === undefined) return;
    input.put(this.aside);
    this.aside = undefined;
  }

  /** Takes back what no call has used of what was received, a copy. */
  takeUnused(): Buffer | undefined {
    const { aside } = this;
    this.aside = undefined;
    return receiver === this ? this.shared.input.takeBack() : aside;
  }

  /** Forgets what no call has used of what was received. */
  drop(): void {
    this.aside = undefined;
    if (receiver !== this) return;
    this.shared.input.clear();
    receiver = undefined;
  }

  /** All that is to be sent to the peer, lent until the next call of any connection. */
  takeOutput(): Buffer | undefined {
    return this.shared.output.take();
  }

  /** 0 when the handshake is complete, or early data can be read; else an SSL_ERROR, and errors are in the queue. */
  handshake(): number {
    this.enter();
    clearErrors();
    running.connection = this;
    let result = this.early === undefined ? SSL_READ_EARLY_DATA_FINISH : this.early.accept();
    if (result === SSL_READ_EARLY_DATA_FINISH) {
      this.early = undefined;
      result = c.SSL_do_handshake(this.address);
    }
    running.connection = undefined;
    return result === 1 ? 0 : c.SSL_get_error(this.address, result);
  }

  /** How many bytes were read (`readBytes`); else minus an SSL_ERROR, and errors are in the queue. */
  read(): number {
    this.enter();
    clearErrors();
    const { address } = this.shared.read;
    running.connection = this;
    const result =
      this.early === undefined ? c.SSL_read(this.address, address, MOST_BYTES) : this.readEarly(this.early);
    running.connection = undefined;
    return result > 0 ? result : -c.SSL_get_error(this.address, result);
  }

  private readEarly(early: EarlyData): number {
    const { address, bytes } = this.shared.read;
    let result = early.read(address, bytes);
    if (result === -SSL_READ_EARLY_DATA_FINISH) {
      result = c.SSL_read(this.address, address, MOST_BYTES);
      if (!this.isUnfinished) this.early = undefined;
    }
    return result;
  }

  /** What was received until now may have been recorded, and be sent again by somebody else ($ssl_early_data). */
  get isUnfinished(): boolean {
    return c.SSL_is_init_finished(this.address) !== 1;
  }

  /** The bytes of the last `read`, lent until the next. */
  readBytes(length: number): Buffer {
    const { bytes } = this.shared.read;
    if (length >= VIEWS) return bytes.subarray(0, length);
    readViews[length] ??= bytes.subarray(0, length);
    return readViews[length];
  }

  /** Another `read` may give more. What OpenSSL has itself is at most the beginning of a record. */
  get hasPending(): boolean {
    if (this.early !== undefined || this.aside !== undefined) return true;
    return receiver === this && this.shared.input.left > 0;
  }

  /** Encrypts bytes, or a string of bytes, at most MOST_BYTES. 0, or an SSL_ERROR with errors in the queue. */
  write(data: Uint8Array | string, from: number, to: number): number {
    this.enter();
    const { address, bytes } = this.shared.written;
    const length = to - from;
    if (typeof data === "string")
      bytes.latin1Write(from === 0 && length === data.length ? data : data.slice(from, to), 0, length);
    else bytes.set(from === 0 && length === data.length ? data : data.subarray(from, to));
    running.connection = this;
    const result =
      this.early === undefined ? c.SSL_write(this.address, address, length) : this.early.write(address, length);
    running.connection = undefined;
    return result === length ? 0 : c.SSL_get_error(this.address, result);
  }

  /** Goes on with another context's certificates, options and verification (ngx_http_ssl_servername). */
  useContext({ pointer: context }: SslContext): void {
    const pointer = this.address;
    c.SSL_set_SSL_CTX(pointer, context);
    c.SSL_set_verify(pointer, c.SSL_CTX_get_verify_mode(context), c.SSL_CTX_get_verify_callback(context));
    c.SSL_set_verify_depth(pointer, c.SSL_CTX_get_verify_depth(context));
    const options = c.SSL_CTX_get_options(context);
    c.SSL_clear_options(pointer, c.SSL_get_options(pointer) & ~options);
    c.SSL_set_options(pointer, options);
  }

  /** Says that nothing more will be written (close_notify). */
  shutdown(): void {
    this.enter();
    c.SSL_shutdown(this.address);
    clearErrors();
  }

  /** After the handshake, where early data may still come too: gives back what the key by which a secret was agreed on takes. */
  forgetPeerKey(): void {
    emptyPeerKey(this.address);
  }

  /** As nginx's $ssl_protocol: `TLSv1.3`. */
  get protocol(): string {
    return stringAt(c.SSL_get_version(this.address)) ?? "";
  }

  /** OpenSSL's name of the cipher in use. */
  get cipher(): string {
    return stringAt(c.SSL_CIPHER_get_name(c.SSL_get_current_cipher(this.address))) ?? "";
  }

  /** The name that the client asked for (SNI), a byte string. */
  get serverName(): string | undefined {
    const name = c.SSL_get_servername(this.address, 0);
    return name === 0n ? undefined : (stringAt(name) ?? undefined);
  }
}
