import { SslError } from "../../../sys/openssl/context.ts";
import {
  CERTSTATUS_GOOD,
  type CertificateStatus,
  certificateStatusText,
  type OcspQuestion,
  readOcspResponse,
} from "../../../sys/openssl/ocsp.ts";
import { clearDeadline, Deadline, setDeadline } from "../../../sys/timers.ts";
import type { Responder, ResponderNames } from "./responder.ts";
import type { StapleSlot } from "./staple_zone.ts";
import { type StatusAsker, StatusRequest } from "./status_request.ts";

/** A certificate whose status is asked for by the checker, and sent along by workers. */
export interface StapledCertificate {
  readonly question: OcspQuestion;
  readonly responder: Responder;
  readonly names: ResponderNames;
  readonly slot: StapleSlot;
  /** Gets sentences about it, without its name. */
  log(level: "error" | "crit", sentence: string): void;
}

/** How many certificates are asked about at a time. */
const MOST_REQUESTS = 8;
/** Seconds: a response is renewed that long before it expires, but not more often, and at least once in REFRESH. */
const LEAST = 300;
const REFRESH = 3600;

/** Keeps the responses of certificates in shared memory, and renews them (ngx_ssl_stapling_update). */
export class Stapler {
  readonly #renewals: Renewal[];
  /** Whose time has come. */
  readonly #due = new Set<Renewal>();
  #asking = 0;

  constructor(certificates: readonly StapledCertificate[]) {
    this.#renewals = certificates.map((certificate) => new Renewal(certificate, this));
    for (const renewal of this.#renewals) renewal.start();
  }

  stop(): void {
    this.#due.clear();
    for (const renewal of this.#renewals) renewal.stop();
  }

  ask(renewal: Renewal): void {
    this.#due.add(renewal);
    this.#askNext();
  }

  asked(): void {
    this.#asking--;
    this.#askNext();
  }

  #askNext(): void {
    for (const renewal of this.#due) {
      if (this.#asking >= MOST_REQUESTS) return;
      this.#due.delete(renewal);
      this.#asking++;
      renewal.ask();
    }
  }
}

/** One certificate's response. */
class Renewal implements StatusAsker {
  readonly #certificate: StapledCertificate;
  readonly #stapler: Stapler;
  readonly #deadline: Deadline<Renewal>;
  #request: StatusRequest | undefined = undefined;

  constructor(certificate: StapledCertificate, stapler: Stapler) {
    this.#certificate = certificate;
    this.#stapler = stapler;
    this.#deadline = new Deadline<Renewal>(this, (renewal) => stapler.ask(renewal));
  }

  /** What an earlier configuration has found out is good until its time, unless it is not to be believed any more. */
  start(): void {
    const { question, slot } = this.#certificate;
    const staple = slot.read();
    if (staple === undefined || !isGood(staple.response, question)) this.#stapler.ask(this);
    else this.#askAt(staple.refreshAt);
  }

  stop(): void {
    clearDeadline(this.#deadline);
    this.#request?.cancel();
  }

  ask(): void {
    const { question, responder, names } = this.#certificate;
    this.#request = new StatusRequest(question, responder, this);
    this.#request.start(names);
  }

  statusKnown(found: CertificateStatus | undefined, response: Buffer): void {
    const time = seconds();
    let refreshAt = time + LEAST;
    if (found !== undefined && found.status !== CERTSTATUS_GOOD) {
      const status = certificateStatusText(found.status);
      this.#request?.log("error", `certificate status "${status}" in the OCSP response`);
    } else if (found !== undefined) {
      const { validUntil } = found;
      refreshAt = Math.max(Math.min(validUntil - LEAST, time + REFRESH), time + LEAST);
      this.#certificate.slot.write({ response, validUntil, refreshAt });
    }
    this.#request = undefined;
    this.#askAt(refreshAt);
    this.#stapler.asked();
  }

  logStatusRequest(level: "error" | "crit", sentence: string): void {
    this.#certificate.log(level, sentence);
  }

  #askAt(time: number): void {
    setDeadline(this.#deadline, Math.max(time - seconds(), 0) * 1000);
  }
}

function isGood(response: Buffer, question: OcspQuestion): boolean {
  try {
    return readOcspResponse(response, question).status === CERTSTATUS_GOOD;
  } catch (error) {
    if (!(error instanceof SslError)) throw error;
    return false;
  }
}

function seconds(): number {
  return Math.floor(Date.now() / 1000);
}
