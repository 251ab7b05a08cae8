import type { CheckerService } from "../../../runtime/application.ts";
import type { ErrorLog } from "../../../runtime/log/log.ts";
import { logFault } from "../../../sys/guard.ts";
import type { CertificateZone } from "./certificate_zone.ts";
import { isChallenge } from "./challenges.ts";
import type { Issuer } from "./issuer.ts";
import { recordKey } from "./record.ts";
import { IssuerRounds } from "./rounds.ts";
import { allServing, isServingMark } from "./serving.ts";

/** What of ACME runs in the checker: the rounds of each issuer that something is ordered from. */
export class AcmeService implements CheckerService {
  readonly #rounds: readonly IssuerRounds[];
  readonly #stop = new AbortController();

  /** `generation`: of the cycle. */
  constructor(
    issuers: readonly Issuer[],
    zone: CertificateZone,
    generation: number,
    log: ErrorLog,
    previous: CheckerService | undefined,
  ) {
    previous?.stop();
    const before = previous instanceof AcmeService ? previous.#rounds : [];
    const orders = new Set(issuers.flatMap((issuer) => issuer.orders.map(recordKey)));
    const place = { zone, log, wanted: (key: string) => orders.has(key) || isChallenge(key) || isServingMark(key) };
    this.#rounds = issuers
      .filter((issuer) => issuer.orders.length > 0)
      .map(
        (issuer) =>
          new IssuerRounds(
            issuer,
            place,
            before.find(({ name }) => name === issuer.name),
          ),
      );
    this.#start(zone, generation, before, previous !== undefined).catch(logFault);
  }

  async #start(
    zone: CertificateZone,
    generation: number,
    before: readonly IssuerRounds[],
    reloaded: boolean,
  ): Promise<void> {
    const { signal } = this.#stop;
    // What is about to be issued is waited for, so that it is not ordered twice.
    await Promise.all(before.map(({ ended }) => ended));
    await allServing(zone, generation, signal);
    if (signal.aborted) return;
    // Of a checker that died.
    zone.keep((key) => !isChallenge(key));
    for (const rounds of this.#rounds) rounds.start(reloaded);
  }

  stop(): void {
    this.#stop.abort();
    for (const rounds of this.#rounds) rounds.stop();
  }
}
