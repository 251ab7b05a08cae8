import { networkInterfaces } from "node:os";
import type { ErrorLog } from "../../runtime/log/log.ts";
import type { NodeState } from "../group/messages.ts";
import { addressKey, type Opinion, type Opinions } from "../group/opinions.ts";
import type { AddressZone, VrrpState } from "./address_zone.ts";
import type { OwnAddress } from "./keepalived_conf.ts";
import { vrrpPriority, WEIGHT } from "./priority.ts";
import { type Peer, type Standing, standingOf, type Upstreams } from "./standing.ts";

/** What another node says of an address. */
interface Claim {
  get(key: string): Opinion | undefined;
}

/** By node, of those that are heard. */
type Claims = ReadonlyMap<string, Claim>;

/** A node that has started is to have served for so long, ms: a move delays requests, and who has just started may fall again. */
const HAND_BACK_MS = 5000;

/** In the checker: which addresses this node has, and how much it wants them. */
export class AddressWatch {
  readonly #self: string;
  readonly #addresses: readonly OwnAddress[];
  readonly #zone: AddressZone;
  readonly #log: ErrorLog;
  /** By address: since when two nodes say that they have it (monotonic ms), and whether that was logged. */
  /** By address that this node has: since when another is ready that it rather belongs to (monotonic ms). */
  readonly #better = new Map<string, number>();
  readonly #split = new Map<string, { readonly since: number; logged: boolean }>();

  /** `self`: this node's name. */
  constructor(self: string, addresses: readonly OwnAddress[], zone: AddressZone, log: ErrorLog) {
    this.#self = self;
    this.#addresses = addresses;
    this.#zone = zone;
    this.#log = log;
  }

  /** To be called several times a second. `patience`: how long news may take to come from another node, ms. */
  look(
    state: NodeState,
    members: ReadonlyMap<string, Peer & { readonly opinions: Claim }>,
    opinions: Opinions,
    upstreams: Upstreams,
    patience: number,
  ): void {
    this.#zone.checkerLives();
    const standing = standingOf(state, members.values(), upstreams, opinions);
    this.#judge(opinions, standing);
    const claims = new Map<string, Claim>([[this.#self, opinions]]);
    for (const [name, member] of members) if (member.facts !== undefined) claims.set(name, member.opinions);
    const now = performance.now();
    if (standing.fit === "serving") this.#handBack(claims, now);
    this.#compare(claims, now, patience);
  }

  /** Puts this node's opinions of its addresses among the others, and tells the master what it wants. */
  #judge(opinions: Opinions, standing: Standing): void {
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

  /** Hands addresses back to a node that they rather belong to, once that has been ready for HAND_BACK_MS. */
  #handBack(claims: Claims, now: number): void {
    this.#addresses.forEach(({ host, priority }, number) => {
      const own = vrrpPriority(priority);
      const better = [...claims.values()].some((opinions) => readyPriority(opinions.get(addressKey(host))) > own);
      const since = this.#better.get(host) ?? now;
      if (!better || this.#zone.state(number) !== "master") this.#better.delete(host);
      else if (now - since < HAND_BACK_MS) this.#better.set(host, since);
      else {
        this.#better.delete(host);
        this.#zone.handBack(number, true);
      }
    });
  }

  /** Says it where two nodes have an address for longer than `patience`, ms: news of a move takes that long. */
  #compare(claims: Claims, now: number, patience: number): void {
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

/** The priority of a node that would have the address if nobody had it; 0: it would not. */
function readyPriority(opinion: Opinion | undefined): number {
  return Number(/^backup with priority (\d+)$/.exec(opinion?.reason ?? "")?.[1] ?? 0);
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
