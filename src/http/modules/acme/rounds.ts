import type { ErrorLog, Level } from "../../../runtime/log/log.ts";
import { crypto } from "../../../sys/builtin.ts";
import { logFault } from "../../../sys/guard.ts";
import { accountKey, type MadeKey } from "./account.ts";
import type { CertificateZone } from "./certificate_zone.ts";
import { AccountRefused, AcmeClient } from "./client.ts";
import { issue } from "./issuance.ts";
import type { Issuer } from "./issuer.ts";
import { AccountKey } from "./jws.ts";
import type { Order } from "./order.ts";
import { AcmeError, Problem, RateLimited } from "./problem.ts";
import { type Certificate, type CertificateRecord, EMPTY_RECORD, readRecord, writeRecord } from "./record.ts";
import {
  ASK_FIRST,
  AT_ONCE,
  INVALID,
  notAtOnce,
  renewAsTold,
  renewWithin,
  retryInterval,
  retryLater,
} from "./schedule.ts";
import { ACCOUNT_URL, restoreCertificate } from "./state_directory.ts";
import { Transport } from "./transport.ts";
import { wait } from "./wait.ts";
import { certificateFrom, renewalIdentifier } from "./x509.ts";

/** The least and the greatest time between two rounds, ms. */
const LEAST_PAUSE = 30_000;
const MOST_PAUSE = 86_400_000;

/** What all issuers share. */
interface Surroundings {
  readonly zone: CertificateZone;
  readonly log: ErrorLog;
  /** Which entries of the zone must stay. */
  readonly wanted: (key: string) => boolean;
}

/** Orders and renews the certificates of one issuer: round after round, and in each what is due, one after the other. */
export class IssuerRounds {
  readonly name: string;
  /** Nothing is under way any more. */
  ended: Promise<void> = Promise.resolve();
  readonly #issuer: Issuer;
  readonly #around: Surroundings;
  readonly #stop = new AbortController();
  readonly #records = new Map<Order, CertificateRecord>();
  #finalizing = false;
  #stopped = false;
  /** Failures in a row that are no order's own, and until when they make everything wait; ms since 1970. */
  #fails = 0;
  #notBefore = 0;
  #key: MadeKey | undefined;

  /** `before`: the same issuer's in the cycle before. */
  constructor(issuer: Issuer, around: Surroundings, before: IssuerRounds | undefined) {
    this.name = issuer.name;
    this.#issuer = issuer;
    this.#around = around;
    if (before !== undefined) this.#key = before.#key;
  }

  /** `reloaded`: the configuration may be another, so what has failed is tried again at once. */
  start(reloaded: boolean): void {
    const { zone, log } = this.#around;
    for (const order of this.#issuer.orders) {
      // What the cycle before had issued at last may be there alone: it had another zone.
      restoreCertificate(zone, this.#issuer, order, log);
      const record = readRecord(zone, order) ?? EMPTY_RECORD;
      const wanted = reloaded ? tryAgain(record) : record;
      // The issuer may be tried again: what held its orders back is forgotten, on the status page too.
      if (record.held > Date.now()) this.#put(order, wanted);
      else this.#records.set(order, wanted);
    }
    this.ended = this.#run().catch(logFault);
  }

  stop(): void {
    this.#stopped = true;
    // What was asked for is waited for. It would be lost, and CAs count what they issue.
    if (!this.#finalizing) this.#stop.abort();
  }

  async #run(): Promise<void> {
    while (!this.#stopped) {
      await this.#round();
      const next = Math.max(this.#notBefore, Math.min(...this.#due(Number.POSITIVE_INFINITY).map(([, time]) => time)));
      const pause = Math.min(Math.max(next - Date.now(), LEAST_PAUSE), MOST_PAUSE);
      if (!this.#stopped) await wait(pause, this.#stop.signal);
    }
  }

  /** The orders for which something is to be done until a time, and when. */
  #due(until: number): readonly (readonly [Order, number])[] {
    const all = [...this.#records].map(([order, { schedule }]) => [order, schedule.next] as const);
    return all.filter(([, next]) => next <= until);
  }

  async #round(): Promise<void> {
    const now = Date.now();
    const due = this.#notBefore > now ? [] : this.#due(now);
    if (due.length === 0) return;
    try {
      const client = await this.#client();
      for (const [order] of due) {
        await this.#update(client, order);
        if (this.#stopped) return;
      }
      this.#fails = 0;
    } catch (error) {
      if (this.#stopped) return;
      const message = this.#failed(error);
      const failure = { error: message, failed: Date.now() };
      const failed = new Set(this.#due(now).map(([order]) => order));
      for (const [order, record] of this.#records)
        this.#put(order, failed.has(order) ? { ...record, ...failure } : record);
    }
  }

  /** Something is wrong between us and the CA, whatever is ordered. */
  #failed(error: unknown): string {
    const message = messageOf(error);
    if (error instanceof AccountRefused || (error instanceof Problem && error.badAccount)) {
      this.#notBefore = Number.POSITIVE_INFINITY;
      this.#write("error", `${message} while creating account; no more attempts until the configuration is reloaded`);
    } else {
      const pause = error instanceof RateLimited ? error.retryAfter : retryInterval(this.#fails++);
      this.#notBefore = Date.now() + pause;
      this.#write("error", `${message} while processing renewals; next attempt in ${Math.ceil(pause / 1000)}s`);
    }
    return message;
  }

  async #client(): Promise<AcmeClient> {
    const { accountKey: wanted, state, uri, transport } = this.#issuer;
    let key = "pem" in wanted ? crypto().createPrivateKey(Buffer.from(wanted.pem)) : undefined;
    if (!("pem" in wanted)) {
      const log = (level: Level, message: string): void => this.#write(level, message);
      this.#key = await accountKey(wanted, this.#key, state, log);
      key = this.#key.key;
    }
    if (key === undefined) throw new AcmeError("no account key");
    const { signal } = this.#stop;
    return new AcmeClient(uri, new AccountKey(key), new Transport({ ...transport, signal }), signal);
  }

  async #openAccount(client: AcmeClient): Promise<void> {
    const { account, state, profile } = this.#issuer;
    const { profiles } = await client.directory();
    const how = await client.openAccount(account);
    const url = client.account ?? "";
    this.#write(how === "created" ? "notice" : "debug", `account "${url}" ${how}`);
    if (profile !== undefined && !profile.required && !profiles.includes(profile.name)) {
      this.#write("notice", `acme profile "${profile.name}" is not supported by the server`);
    }
    if (how !== "created") return;
    try {
      state?.write({ [ACCOUNT_URL]: url });
    } catch (error) {
      this.#write("error", `writing the account's URL to the state directory failed: ${String(error)}`);
    }
  }

  /** Does what is due for an order. Rejects for what concerns all of the issuer's. */
  async #update(client: AcmeClient, order: Order): Promise<void> {
    const { renewalInfo } = await client.directory();
    const { certificate, schedule } = this.#record(order);
    if (schedule.phase === "renewal info" && certificate !== undefined) {
      if (renewalInfo === undefined)
        this.#put(order, { ...this.#record(order), schedule: renewWithin(certificate.window) });
      else await this.#askWhen(client, order, certificate);
      const { phase, next } = this.#record(order).schedule;
      if (phase !== "renewal" || next > Date.now()) return;
    }
    if (client.account === undefined) await this.#openAccount(client);
    const replaces = renewalInfo && certificate && renewalIdentifier(certificate.chain);
    let fresh: Certificate;
    try {
      fresh = await this.#issue(client, order, replaces);
    } catch (error) {
      if (error instanceof RateLimited || this.#stopped) throw error;
      this.#orderFailed(order, error);
      return;
    }
    this.#issued(order, fresh);
    if (renewalInfo === undefined) return;
    await this.#askWhen(client, order, fresh);
    const record = this.#record(order);
    this.#put(order, { ...record, schedule: notAtOnce(record.schedule, fresh.valid) });
  }

  async #issue(client: AcmeClient, order: Order, replaces: string | undefined): Promise<Certificate> {
    const { challenge, commonName, preferredChain, profile } = this.#issuer;
    const { profiles } = await client.directory();
    const wanted = profile !== undefined && (profile.required || profiles.includes(profile.name));
    try {
      const { chain, key } = await issue(client, order, {
        challenge,
        zone: this.#around.zone,
        commonName,
        chain: preferredChain,
        profile: wanted ? profile.name : undefined,
        replaces,
        replacesRefused: ({ message }) =>
          this.#write("info", `${message} while replacing certificate; retrying without "replaces"`, order),
        finalizing: () => {
          this.#finalizing = true;
        },
      });
      return certificateFrom(chain, key);
    } finally {
      this.#finalizing = false;
      if (this.#stopped) this.#stop.abort();
    }
  }

  #orderFailed(order: Order, error: unknown): void {
    const record = this.#record(order);
    const message = messageOf(error);
    const failure = { error: message, failed: Date.now() };
    if (error instanceof Problem && error.badOrder) {
      const more = "no more attempts until the configuration is reloaded";
      this.#write("error", `${message} while updating certificate; ${more}`, order);
      this.#put(order, { ...record, ...failure, schedule: INVALID });
      return;
    }
    const schedule = retryLater(record.schedule, record.certificate?.window);
    this.#write("error", `${message} while updating certificate; next attempt at ${timeText(schedule.next)}`, order);
    this.#put(order, { ...record, ...failure, schedule });
  }

  #issued(order: Order, certificate: Certificate): void {
    try {
      this.#issuer.state?.writeCertificate(order, certificate);
    } catch (error) {
      this.#write("error", `writing certificate to state directory failed: ${String(error)}`, order);
    }
    const schedule = notAtOnce(renewWithin(certificate.window), certificate.valid);
    if (this.#put(order, { ...EMPTY_RECORD, schedule, certificate })) {
      this.#write("notice", `certificate issued, renewal scheduled at ${timeText(schedule.next)}`, order);
    }
  }

  /** Asks the CA when it wants a certificate to be renewed. Does not reject. */
  async #askWhen(client: AcmeClient, order: Order, certificate: Certificate): Promise<void> {
    const identifier = renewalIdentifier(certificate.chain);
    if (identifier === undefined) {
      this.#put(order, { ...EMPTY_RECORD, certificate, schedule: renewWithin(certificate.window) });
      return;
    }
    try {
      const { start, end, explanation, retryAfter } = await client.renewalInfo(identifier);
      if (end > certificate.valid.end) throw new AcmeError("invalid renewal window");
      if (start !== certificate.window.start || end !== certificate.window.end) {
        const see = explanation === undefined ? "" : `, see ${explanation} for details`;
        this.#write("info", `CA suggested renewal window: ${timeText(start)}..${timeText(end)}${see}`, order);
      }
      const window = { start, end };
      this.#put(order, {
        ...EMPTY_RECORD,
        certificate: { ...certificate, window },
        schedule: renewAsTold(window, retryAfter),
      });
    } catch (error) {
      if (this.#stopped) return;
      const message = messageOf(error);
      this.#write("error", `${message} while updating renewal info`, order);
      const { schedule } = this.#record(order);
      const failed = schedule.phase === "renewal info" ? schedule : ASK_FIRST;
      this.#put(order, {
        ...this.#record(order),
        error: message,
        failed: Date.now(),
        schedule: retryLater(failed, certificate.window),
      });
    }
  }

  #record(order: Order): CertificateRecord {
    return this.#records.get(order) ?? EMPTY_RECORD;
  }

  /** False where the workers cannot have it, which is logged. */
  #put(order: Order, known: CertificateRecord): boolean {
    const { zone, wanted } = this.#around;
    const record = { ...known, held: this.#notBefore };
    this.#records.set(order, record);
    if (writeRecord(zone, order, record)) return true;
    // Those of orders that are in the configuration no more.
    zone.keep(wanted);
    if (writeRecord(zone, order, record)) return true;
    this.#write("error", `no memory in zone "${zone.name}" for the certificate`, order);
    return false;
  }

  #write(level: Level, message: string, order?: Order): void {
    const of = order === undefined ? "" : `, order: "${order.id}"`;
    this.#around.log.write(level, `${message}, acme issuer: "${this.name}"${of}`);
  }
}

function tryAgain(record: CertificateRecord): CertificateRecord {
  const { certificate, schedule } = record;
  if (certificate === undefined) return { ...record, schedule: AT_ONCE };
  if (schedule.phase !== "invalid" && schedule.fails === 0) return record;
  return { ...record, schedule: renewWithin(certificate.window) };
}

/** A byte string. What is no error of the protocol is logged with its stack. */
function messageOf(error: unknown): string {
  if (error instanceof AcmeError) return error.message;
  logFault(error);
  return error instanceof Error ? error.message : String(error);
}

/** `2026-11-26T13:40:51Z` */
function timeText(ms: number): string {
  return Number.isFinite(ms) ? `${new Date(ms).toISOString().slice(0, 19)}Z` : "never";
}
