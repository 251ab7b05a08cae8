import { now } from "../../../sys/clock.ts";
import type { CertificateZone } from "./certificate_zone.ts";
import type { Order } from "./order.ts";
import { type JsonObject, objectOf } from "./resources.ts";
import { AT_ONCE, type Interval, type Schedule } from "./schedule.ts";

/** What is known of an order: its certificate, and what is next for it. In the zone it is JSON. */
export interface CertificateRecord {
  readonly schedule: Schedule;
  /** Why the last attempt failed, and when (ms since 1970); "" and 0 when it did not. */
  readonly error: string;
  readonly failed: number;
  /** Until when nothing of the issuer's is tried, whatever the schedule says; ms since 1970. */
  readonly held: number;
  readonly certificate: Certificate | undefined;
}

export interface Certificate {
  /** PEM: the certificate and its chain, and its key. */
  readonly chain: string;
  readonly key: string;
  readonly valid: Interval;
  readonly window: Interval;
}

export const EMPTY_RECORD: CertificateRecord = {
  schedule: AT_ONCE,
  error: "",
  failed: 0,
  held: 0,
  certificate: undefined,
};

export function recordKey({ issuer, id }: Order): string {
  return `certificate ${issuer} ${id}`;
}

export function readRecord(zone: CertificateZone, order: Order): CertificateRecord | undefined {
  const found = zone.read(recordKey(order));
  return found && recordOf(found.text);
}

/** False where the zone has no room for it. */
export function writeRecord(zone: CertificateZone, order: Order, record: CertificateRecord): boolean {
  return zone.write(recordKey(order), JSON.stringify(record));
}

function recordOf(text: string): CertificateRecord {
  const { schedule, error, failed, held, certificate } = objectOf(JSON.parse(text)) ?? {};
  return {
    schedule: scheduleOf(objectOf(schedule) ?? {}),
    error: String(error ?? ""),
    failed: Number(failed ?? 0),
    held: numberOf(held),
    certificate: certificateOf(objectOf(certificate)),
  };
}

const PHASES = ["request", "renewal", "renewal info", "invalid"] as const;

function scheduleOf({ phase, next, fails }: JsonObject): Schedule {
  const known = PHASES.find((candidate) => candidate === phase);
  // Infinity is null in JSON.
  return known === undefined ? AT_ONCE : { phase: known, next: numberOf(next), fails: Number(fails) };
}

function certificateOf(json: JsonObject | undefined): Certificate | undefined {
  const { chain, key, valid, window } = json ?? {};
  if (typeof chain !== "string" || typeof key !== "string") return undefined;
  return { chain, key, valid: intervalOf(objectOf(valid)), window: intervalOf(objectOf(window)) };
}

function intervalOf(json: JsonObject | undefined): Interval {
  return { start: numberOf(json?.start), end: numberOf(json?.end) };
}

function numberOf(value: unknown): number {
  return typeof value === "number" ? value : Number.POSITIVE_INFINITY;
}

/**
 * An order's certificate as a worker has it. What is read from the zone is kept until it has changed, and looked for no more
 * than once a ms: so the certificate and the key that one handshake asks for belong together.
 */
export class ServedCertificate {
  readonly #zone: CertificateZone;
  readonly #key: string;
  #change = 0;
  #looked = -1;
  #served: Pick<Certificate, "chain" | "key"> | undefined;

  constructor(zone: CertificateZone, order: Order) {
    this.#zone = zone;
    this.#key = recordKey(order);
  }

  /** `$acme_certificate` */
  get chain(): string | undefined {
    this.#look();
    return this.#served?.chain;
  }

  /** `$acme_certificate_key` */
  get key(): string | undefined {
    this.#look();
    return this.#served?.key;
  }

  #look(): void {
    const time = now();
    if (time === this.#looked) return;
    this.#looked = time;
    const found = this.#zone.read(this.#key, this.#change);
    if (found === undefined) return;
    this.#change = found.change;
    const { certificate } = recordOf(found.text);
    if (certificate === undefined) return;
    this.#served = { chain: `data:${certificate.chain}`, key: `data:${certificate.key}` };
  }
}
