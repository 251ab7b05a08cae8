import { bindWhenUsed, stringAt } from "../ffi.ts";
import { asn1Seconds } from "./certificate.ts";
import { type SslContext, SslError } from "./context.ts";
import { clearErrors } from "./errors.ts";
import { mapped } from "./memory.ts";

/**
 * The Online Certificate Status Protocol (RFC 6960): requests, and what is to be believed of the responses. Certificates are
 * the pointers of X509 objects, which the caller keeps alive for the length of a call.
 */
const c = bindWhenUsed(null, {
  // The caller's, until OCSP_REQUEST_free.
  OCSP_REQUEST_new: { return: "handle", arguments: [] },
  OCSP_REQUEST_free: { return: "void", arguments: ["handle"] },
  // The caller's, until OCSP_CERTID_free. The digest may be null: SHA-1, which every responder knows.
  OCSP_cert_to_id: { return: "handle", arguments: ["handle", "handle", "handle"], nullable: [0] },
  OCSP_CERTID_free: { return: "void", arguments: ["handle"] },
  // The id is the request's then, unless it fails (null). The result is the request's.
  OCSP_request_add0_id: { return: "handle", arguments: ["handle", "handle"] },
  // Writes the bytes where the cell points to, and advances that; with null only says how many they are.
  i2d_OCSP_REQUEST: { return: "int32", arguments: ["handle", "pointer"], nullable: [1] },
  // The caller's, until OCSP_RESPONSE_free. Reads the bytes that the cell points to, and advances that.
  d2i_OCSP_RESPONSE: { return: "handle", arguments: ["handle", "pointer", "int64"], nullable: [0] },
  OCSP_RESPONSE_free: { return: "void", arguments: ["handle"] },
  OCSP_response_status: { return: "int32", arguments: ["handle"] },
  // Texts of the library's.
  OCSP_response_status_str: { return: "handle", arguments: ["int64"] },
  OCSP_cert_status_str: { return: "handle", arguments: ["int64"] },
  // The caller's, until OCSP_BASICRESP_free.
  OCSP_response_get1_basic: { return: "handle", arguments: ["handle"] },
  OCSP_BASICRESP_free: { return: "void", arguments: ["handle"] },
  // The stack of certificates, or null, and the X509_STORE are lent.
  OCSP_basic_verify: { return: "int32", arguments: ["handle", "handle", "handle", "uint64"], nullable: [1] },
  // The times that the last two cells are set to are the response's; the second may be null.
  OCSP_resp_find_status: {
    return: "int32",
    arguments: ["handle", "handle", "pointer", "pointer", "pointer", "pointer", "pointer"],
    nullable: [3, 4],
  },
  OCSP_check_validity: { return: "int32", arguments: ["handle", "handle", "int64", "int64"], nullable: [1] },
  // The context's.
  SSL_CTX_get_cert_store: { return: "handle", arguments: ["handle"] },
  // A copy of the bytes, the caller's until CRYPTO_free. The file's name may be null.
  CRYPTO_memdup: {
    return: "handle",
    arguments: ["buffer", "uint64", "handle", "int32"],
    nullable: [2],
    sizes: { 0: 1 },
  },
  CRYPTO_free: { return: "void", arguments: ["handle", "handle", "int32"], nullable: [0, 1] },
});

/** <openssl/ocsp.h> */
const OCSP_NOVERIFY = 0x10n;
const OCSP_TRUSTOTHER = 0x200n;
const RESPONSE_SUCCESSFUL = 0;
export const CERTSTATUS_GOOD = 0;
export const CERTSTATUS_REVOKED = 1;

/** Seconds by which clocks may differ. */
const LEEWAY = 300n;

/** Pointers and numbers that functions set or read. */
const cells = mapped(32);
const view = new DataView(cells.buffer);
const CELL = { text: 0, status: 8, thisUpdate: 16, nextUpdate: 24 } as const;

function cell(at: number): bigint {
  return cells.address + BigInt(at);
}

/** Requests have a hundred bytes, since no extension is asked for; a serial number may have more than the 20 it should. */
const MOST_REQUEST = 4096;
let written: ReturnType<typeof mapped> | undefined;

/** A request for the status of a certificate, in DER. Throws SslError. */
export function ocspRequest({ certificate, issuer }: Pick<OcspQuestion, "certificate" | "issuer">): Buffer {
  clearErrors();
  const request = c.OCSP_REQUEST_new();
  if (request === 0n) throw new SslError("OCSP_REQUEST_new() failed");
  try {
    const id = certId(certificate, issuer.pointer);
    if (c.OCSP_request_add0_id(request, id) === 0n) {
      c.OCSP_CERTID_free(id);
      throw new SslError("OCSP_request_add0_id() failed");
    }
    const length = c.i2d_OCSP_REQUEST(request, 0n);
    if (length <= 0 || length > MOST_REQUEST) throw new SslError("i2d_OCSP_REQUEST() failed");
    written ??= mapped(MOST_REQUEST);
    view.setBigUint64(CELL.text, written.address, true);
    c.i2d_OCSP_REQUEST(request, cell(CELL.text));
    return Buffer.from(new Uint8Array(written.buffer, 0, length));
  } finally {
    c.OCSP_REQUEST_free(request);
  }
}

/** The caller's. */
function certId(certificate: bigint, issuer: bigint): bigint {
  const id = c.OCSP_cert_to_id(0n, certificate, issuer);
  if (id === 0n) throw new SslError("OCSP_cert_to_id() failed");
  return id;
}

/** What a response has to stand up to. */
export interface OcspQuestion {
  readonly certificate: bigint;
  readonly issuer: { readonly pointer: bigint };
  /** A stack of certificates in which the signer's may be found; 0n for none. */
  readonly chain: bigint;
  /** Whose trusted certificates count. */
  readonly context: SslContext;
  /**
   * The signer's certificate: `any` may be any that signed it, `trusted` must be trusted by `context`, as those in `chain` are
   * without more ado, and `verified` must be by its own.
   */
  readonly signer: "any" | "trusted" | "verified";
}

export interface CertificateStatus {
  /** CERTSTATUS_… */
  readonly status: number;
  /** How long that is so, seconds since 1970; Infinity where the response does not say. */
  readonly validUntil: number;
}

const SIGNER_FLAGS = { any: OCSP_NOVERIFY, trusted: OCSP_TRUSTOTHER, verified: 0n } as const;

/** The status that a response gives a certificate (ngx_ssl_ocsp_verify). Throws SslError where it is not to be believed. */
export function readOcspResponse(bytes: Uint8Array, question: OcspQuestion): CertificateStatus {
  return withResponse(bytes, "d2i_OCSP_RESPONSE() failed", (response) => {
    const status = c.OCSP_response_status(response);
    if (status !== RESPONSE_SUCCESSFUL) {
      clearErrors();
      const text = stringAt(c.OCSP_response_status_str(BigInt(status)));
      throw new SslError(`OCSP response not successful (${status}: ${text})`);
    }
    const basic = c.OCSP_response_get1_basic(response);
    if (basic === 0n) throw new SslError("OCSP_response_get1_basic() failed");
    try {
      return believed(basic, question);
    } finally {
      c.OCSP_BASICRESP_free(basic);
    }
  });
}

/** Reads a response of which nothing more is known than that somebody sent it. */
function withResponse<T>(bytes: Uint8Array, failure: string, run: (response: bigint, length: number) => T): T {
  clearErrors();
  const copy = c.CRYPTO_memdup(bytes, BigInt(bytes.length), 0n, 0);
  if (copy === 0n) throw new SslError(failure);
  view.setBigUint64(CELL.text, copy, true);
  const response = c.d2i_OCSP_RESPONSE(0n, cell(CELL.text), BigInt(bytes.length));
  const length = Number(view.getBigUint64(CELL.text, true) - copy);
  c.CRYPTO_free(copy, 0n, 0);
  if (response === 0n) throw new SslError(failure);
  try {
    return run(response, length);
  } finally {
    c.OCSP_RESPONSE_free(response);
  }
}

function believed(basic: bigint, { certificate, issuer, chain, context, signer }: OcspQuestion): CertificateStatus {
  const store = c.SSL_CTX_get_cert_store(context.pointer);
  if (c.OCSP_basic_verify(basic, chain, store, SIGNER_FLAGS[signer]) !== 1) {
    throw new SslError("OCSP_basic_verify() failed");
  }
  const id = certId(certificate, issuer.pointer);
  const [status, thisUpdate, nextUpdate] = [CELL.status, CELL.thisUpdate, CELL.nextUpdate].map(cell);
  const found = c.OCSP_resp_find_status(basic, id, status, 0n, 0n, thisUpdate, nextUpdate);
  c.OCSP_CERTID_free(id);
  clearErrors();
  if (found !== 1) throw new SslError("certificate status not found in the OCSP response");
  const from = view.getBigUint64(CELL.thisUpdate, true);
  const until = view.getBigUint64(CELL.nextUpdate, true);
  if (c.OCSP_check_validity(from, until, LEEWAY, -1n) !== 1) throw new SslError("OCSP_check_validity() failed");
  return {
    status: view.getInt32(CELL.status, true),
    validUntil: until === 0n ? Number.POSITIVE_INFINITY : endOf(until),
  };
}

function endOf(nextUpdate: bigint): number {
  const seconds = asn1Seconds(nextUpdate);
  if (Number.isNaN(seconds)) throw new SslError("invalid nextUpdate time in certificate status");
  return seconds;
}

/** `good`, `revoked` or `unknown`. */
export function certificateStatusText(status: number): string {
  return stringAt(c.OCSP_cert_status_str(BigInt(status))) ?? "";
}

/** The response at the beginning of a file, in DER; nothing in it is verified. Throws SslError: `failure` and what is wrong. */
export function firstOcspResponse(bytes: Uint8Array, failure: string): Buffer {
  return withResponse(bytes, failure, (_response, length) => Buffer.from(bytes.subarray(0, length)));
}
