import { networkInterfaces } from "node:os";
import type { ErrorLog } from "../../runtime/log/log.ts";
import { addressKey, type Opinion, type Opinions } from "../group/opinions.ts";
import type { AddressZone, VrrpState } from "./address_zone.ts";
import type { OwnAddress } from "./keepalived_conf.ts";
import { vrrpPriority, WEIGHT } from "./priority.ts";
import type { Standing } from "./standing.ts";

/** What another node says of an address. */
export type Claims = ReadonlyMap<string, ReadonlyMap<string, Opinion>>;

/** In the checker: which addresses this node has, and how much it wants them. */
export class AddressWatch {
  readonly #addresses: readonly OwnAddress[];
  readonly #zone: AddressZone;
  readonly #log: ErrorLog;
  /** By address: since when two nodes say that they have it (monotonic ms), and whether that was logged. */
  readonly #split = new Map<string, { readonly since: number; logged: boolean }>();

  constructor(addresses: readonly OwnAddress[], zone: AddressZone, log: ErrorLog) {
    this.#addresses = addresses;
    this.#zone = zone;
    this.#log = log;
  }

  /** Puts this node's opinions of its addresses among the others, and tells the master what it wants. */
  look(opinions: Opinions, standing: Standing): void {
    this.#zone.checkerLives();
    if (this.#addresses.length === 0) return;
    const present = presentAddresses();
    this.#addresses.forEach((address, number) => {
      const state = this.#zone.state(number);
      const weight = weightOf(standing, state);
      this.#zone.want(number, weight);
      const held = present.has(`${address.dev} ${address.host}`);
      opinions.set(addressKey(address.host), {
        state: held ? "up" : "down",
        since: Date.now(),
        reason: said(state, vrrpPriority(address.priority) + weight, standing),
      });
    });
  }

  /** Says it where two nodes have an address for longer than `patience`, ms: news of a move takes that long. */
  compare(claims: Claims, now: number, patience: number): void {
    for (const { host } of this.#addresses) {
      const key = addressKey(host);
      const holders = [...claims].filter(([, opinions]) => opinions.get(key)?.state === "up").map(([node]) => node);
      const split = this.#split.get(host);
      if (holders.length < 2) {
        this.#split.delete(host);
        if (split?.logged === true)
          this.#log.write("warn", `address ${host} is at one node again: ${holders[0] ?? "none"}`);
      } else if (split === undefined) {
        this.#split.set(host, { since: now, logged: false });
      } else if (!split.logged && now - split.since > patience) {
        split.logged = true;
        const names = holders.map((name) => `"${name}"`).join(" and ");
        this.#log.write(
          "alert",
          `address ${host} is at ${names} at once: they do not hear each other's advertisements`,
        );
      }
    }
  }
}

function weightOf({ fit }: Standing, state: VrrpState): number {
  if (fit === "draining") return WEIGHT.fault;
  if (fit === "cut off") return WEIGHT.cutOff;
  return state === "master" ? WEIGHT.holder : WEIGHT.normal;
}

function said(state: VrrpState, priority: number, { why }: Standing): string {
  if (state === "none") return "keepalived does not run";
  const reason = why === "" ? "" : `, ${why}`;
  return state === "fault" ? `fault${reason}` : `${state} with priority ${priority}${reason}`;
}

/** `interface address` of all that this machine has. */
function presentAddresses(): Set<string> {
  const all = new Set<string>();
  for (const [dev, addresses] of Object.entries(networkInterfaces())) {
    for (const { address } of addresses ?? []) all.add(`${dev} ${address}`);
  }
  return all;
}
