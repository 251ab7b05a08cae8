import type { CheckerService } from "../../../runtime/application.ts";
import type { ErrorLog } from "../../../runtime/log/log.ts";
import { logFault } from "../../../sys/guard.ts";
import type { CertificateZone } from "./certificate_zone.ts";
import { isChallenge } from "./challenges.ts";
import type { Issuer } from "./issuer.ts";
import { recordKey } from "./record.ts";
import { IssuerRounds } from "./rounds.ts";

/** What of ACME runs in the checker: the rounds of each issuer that something is ordered from. */
export class AcmeService implements CheckerService {
  readonly #rounds: readonly IssuerRounds[];
  #stopped = false;

  constructor(issuers: readonly Issuer[], zone: CertificateZone, log: ErrorLog, previous: CheckerService | undefined) {
    previous?.stop();
    const before = previous instanceof AcmeService ? previous.#rounds : [];
    const orders = new Set(issuers.flatMap((issuer) => issuer.orders.map(recordKey)));
    const place = { zone, log, wanted: (key: string) => orders.has(key) || isChallenge(key) };
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
    // What is about to be issued is waited for, so that it is not ordered twice.
    const started = Promise.all(before.map(({ ended }) => ended)).then(() => this.#start(zone, previous !== undefined));
    started.catch(logFault);
  }

  #start(zone: CertificateZone, reloaded: boolean): void {
    if (this.#stopped) return;
    // Of a checker that died.
    zone.keep((key) => !isChallenge(key));
    for (const rounds of this.#rounds) rounds.start(reloaded);
  }

  stop(): void {
    this.#stopped = true;
    for (const rounds of this.#rounds) rounds.stop();
  }
}
