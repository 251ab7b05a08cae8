import type { LookupAddress } from "node:dns";
import type { IncomingHttpHeaders, IncomingMessage } from "node:http";
import type { RequestOptions } from "node:https";
import { resolutionText } from "../../../net/resolution.ts";
import type { Resolver } from "../../../net/resolver.ts";
import { http, https, tls } from "../../../sys/builtin.ts";
import { startTimer } from "../../../sys/timers.ts";
import { AcmeError, byteText } from "./problem.ts";

/** Requests to an ACME server. They are few and small, so node:https serves. */

/** nginx's bound of a response, bytes. */
const MOST_BYTES = 64 * 1024;
/** How long a request may take, from its name's resolution to the last byte; ms. */
const TIMEOUT = 60_000;
/** Node's names of X509_V_ERR_…, by which nginx numbers them. */
const VERIFY_ERRORS: Readonly<Record<string, number>> = {
  UNABLE_TO_GET_ISSUER_CERT: 2,
  CERT_SIGNATURE_FAILURE: 7,
  CERT_NOT_YET_VALID: 9,
  CERT_HAS_EXPIRED: 10,
  DEPTH_ZERO_SELF_SIGNED_CERT: 18,
  SELF_SIGNED_CERT_IN_CHAIN: 19,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: 20,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 21,
  CERT_CHAIN_TOO_LONG: 22,
  CERT_REVOKED: 23,
  INVALID_PURPOSE: 26,
  CERT_UNTRUSTED: 27,
  CERT_REJECTED: 28,
  ERR_TLS_CERT_ALTNAME_INVALID: 62,
};
/** What Node adds is not for our users. */
const HINT = /; if the root CA is installed locally.*$/s;
const USER_AGENT = "holdfast-acme";

export interface AcmeResponse {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

export interface TransportOptions {
  readonly resolver: Resolver;
  /** ms */
  readonly resolverTimeout: number;
  /** ssl_verify */
  readonly verify: boolean;
  /** ssl_trusted_certificate, in PEM; undefined for the system's. */
  readonly trusted: readonly string[] | undefined;
  /** Ends all requests. */
  readonly signal: AbortSignal;
}

export class Transport {
  readonly #options: TransportOptions;
  readonly #trusted: readonly string[];

  constructor(options: TransportOptions) {
    this.#options = options;
    this.#trusted = options.trusted ?? systemCertificates();
  }

  /** Rejects with AcmeError. */
  request(method: string, url: string, body?: string): Promise<AcmeResponse> {
    return new Promise((resolve, reject) => {
      const target = URL.parse(url);
      if (target === null || !/^https?:$/.test(target.protocol)) {
        reject(new AcmeError(`invalid uri: "${byteText(url)}"`));
        return;
      }
      const headers: Record<string, string | number> = { "User-Agent": USER_AGENT };
      if (body !== undefined) {
        headers["Content-Type"] = "application/jose+json";
        headers["Content-Length"] = Buffer.byteLength(body);
      }
      const failed = (error: Error): void => {
        timer.clear();
        reject(new AcmeError(`${target.hostname}: ${byteText(failureText(error))}`));
      };
      const options = { method, headers, agent: false, ...this.#connection() };
      const sent = (target.protocol === "https:" ? https() : http()).request(target, options, (response) => {
        readBody(response, (text) => {
          timer.clear();
          resolve({ status: response.statusCode ?? 0, headers: response.headers, body: text });
        }).on("error", failed);
      });
      const timer = startTimer(TIMEOUT, () => sent.destroy(new Error("the request timed out")));
      sent.on("error", failed);
      sent.end(body);
    });
  }

  #connection(): RequestOptions {
    const { resolver, resolverTimeout, verify, signal } = this.#options;
    return {
      signal,
      rejectUnauthorized: verify,
      minVersion: "TLSv1.2",
      ca: [...this.#trusted],
      lookup(host, options, done) {
        resolver.resolve(host, resolverTimeout, (result) => {
          if ("state" in result) {
            done(new Error(`${host} could not be resolved (${result.state}: ${resolutionText(result.state)})`), "");
            return;
          }
          const found: LookupAddress[] = result.addresses.flatMap((address) =>
            address.family === "unix" ? [] : { address: address.host, family: address.family === "ipv6" ? 6 : 4 },
          );
          if (found.length === 0) done(new Error(`${host} has no addresses`), "");
          else if (options.all === true) done(null, found);
          else done(null, found[0].address, found[0].family);
        });
      },
    };
  }
}

function failureText(error: NodeJS.ErrnoException): string {
  const number = VERIFY_ERRORS[error.code ?? ""];
  if (number === undefined) return error.message;
  const text = number === VERIFY_ERRORS.ERR_TLS_CERT_ALTNAME_INVALID ? "hostname mismatch" : error.message;
  return `upstream SSL certificate verify error: (${number}:${text.replace(HINT, "")})`;
}

/** The system's trusted certificates; those that come with Node where it has none. */
function systemCertificates(): readonly string[] {
  const { getCACertificates } = tls();
  const system = getCACertificates("system");
  return system.length > 0 ? system : getCACertificates("default");
}

/** Calls back with a body, unless it is longer than is allowed: then the response ends with an error. */
function readBody(response: IncomingMessage, done: (text: string) => void): IncomingMessage {
  const pieces: Buffer[] = [];
  let length = 0;
  response.on("data", (piece: Buffer) => {
    length += piece.length;
    pieces.push(piece);
    if (length > MOST_BYTES) response.destroy(new Error("response body read error: length limit exceeded"));
  });
  response.on("end", () => done(Buffer.concat(pieces).toString()));
  return response;
}
