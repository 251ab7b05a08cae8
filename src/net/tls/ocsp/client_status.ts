import { ocspResponders } from "../../../sys/openssl/certificate.ts";
import { certificateKey, type VerifiedChain } from "../../../sys/openssl/certificate_chain.ts";
import type { SslContext } from "../../../sys/openssl/context.ts";
import { CERTSTATUS_GOOD, CERTSTATUS_REVOKED, type CertificateStatus } from "../../../sys/openssl/ocsp.ts";
import { parseResponder, type Responder, type ResponderNames } from "./responder.ts";
import type { StatusCache } from "./status_cache.ts";
import { type StatusAsker, StatusRequest } from "./status_request.ts";

/** ssl_ocsp: how it is found out whether the certificates of clients are still good. */
export interface ClientOcsp {
  /** The client's own certificate, or also those between it and the one that is trusted. */
  readonly asks: "leaf" | "all";
  /** Undefined: whom each certificate names. */
  readonly responder: Responder | undefined;
  readonly names: () => ResponderNames;
  readonly cache: StatusCache | undefined;
}

/** Whoever has the client's connection. */
export interface ClientStatusOwner {
  /** The last call, in an event that may not be the connection's. */
  clientStatusKnown(): void;
  log(level: "error" | "crit" | "alert", sentence: string): void;
}

const FAILED = "certificate status request failed";

/** Asks about a client's certificates, one after the other (ngx_ssl_ocsp_validate). */
export class ClientStatus implements StatusAsker {
  /** Why the client's certificate is not accepted, in nginx's words. */
  failure: string | undefined = undefined;
  private readonly chain: VerifiedChain;
  private readonly context: SslContext;
  private readonly ocsp: ClientOcsp;
  private readonly owner: ClientStatusOwner;
  private request: StatusRequest | undefined = undefined;
  /** How many certificates were asked about. */
  private asked = 0;
  private key: string | undefined = undefined;
  private known = false;
  private starting = true;

  /** `chain` is this object's then. */
  constructor(chain: VerifiedChain, context: SslContext, ocsp: ClientOcsp, owner: ClientStatusOwner) {
    this.chain = chain;
    this.context = context;
    this.ocsp = ocsp;
    this.owner = owner;
  }

  /** True if it is known at once. Else the owner is called. */
  start(): boolean {
    this.next();
    this.starting = false;
    return this.known;
  }

  /** The owner is not called any more. */
  cancel(): void {
    if (this.known) return;
    this.known = true;
    this.request?.cancel();
    this.chain.free();
  }

  private next(): void {
    const { chain, context, ocsp } = this;
    while (this.asked < chain.length - 1 && !(ocsp.asks === "leaf" && this.asked === 1)) {
      const certificate = chain.at(this.asked);
      const issuer = { pointer: chain.at(this.asked + 1) };
      const responder = ocsp.responder ?? this.responderOf(certificate);
      if (responder === undefined) {
        this.end(FAILED);
        return;
      }
      this.asked++;
      this.key = ocsp.cache && certificateKey(certificate, issuer.pointer);
      const status = this.key === undefined ? undefined : ocsp.cache?.find(this.key);
      if (status === undefined) {
        const question = { certificate, issuer, chain: chain.pointer, context, signer: "verified" } as const;
        this.request = new StatusRequest(question, responder, this);
        this.request.start(ocsp.names());
        return;
      }
      if (status !== CERTSTATUS_GOOD) {
        this.end(statusText(status));
        return;
      }
    }
    this.end(undefined);
  }

  private responderOf(certificate: bigint): Responder | undefined {
    const url = ocspResponders(certificate).at(0);
    const responder = url === undefined ? "no OCSP responder URL" : parseResponder(url);
    if (typeof responder !== "string") return responder;
    this.owner.log("error", `${responder} in certificate`);
    return undefined;
  }

  statusKnown(found: CertificateStatus | undefined): void {
    const { cache } = this.ocsp;
    if (found === undefined) this.end(FAILED);
    else if (cache !== undefined && this.key !== undefined && !cache.store(this.key, found)) {
      this.owner.log("alert", `could not allocate new entry in OCSP cache "${cache.name}"`);
      this.end(FAILED);
    } else if (found.status !== CERTSTATUS_GOOD) this.end(statusText(found.status));
    else this.next();
  }

  logStatusRequest(level: "error" | "crit", sentence: string): void {
    this.owner.log(level, sentence);
  }

  private end(failure: string | undefined): void {
    this.failure = failure;
    this.known = true;
    this.request = undefined;
    this.chain.free();
    if (!this.starting) this.owner.clientStatusKnown();
  }
}

function statusText(status: number): string {
  return status === CERTSTATUS_REVOKED ? "certificate revoked" : "certificate status unknown";
}
