import { hostText } from "../../net/address.ts";
import type { ErrorLog } from "../../runtime/log/log.ts";
import type { ClusterSettings } from "../settings.ts";

/** Peers of which it is known what was wrong with their last message. */
const MOST_REFUSED = 4096;
/** What is wrong with foreign messages is said at most so often for each peer, ms. */
const REFUSED_LOG_MS = 10_000;
/** And the same thing again so often. */
const REFUSED_AGAIN_MS = 3_600_000;

/** Says in the log what messages were refused for, not too often. */
export class RefusalLog {
  readonly #settings: Pick<ClusterSettings, "name" | "nodes">;
  readonly #log: ErrorLog;
  readonly #refused = new Map<string, { readonly reason: string; readonly at: number }>();

  constructor(settings: Pick<ClusterSettings, "name" | "nodes">, log: ErrorLog) {
    this.#settings = settings;
    this.#log = log;
  }

  /** `reason`: what a sentence says of the message; `node`: who it says it is. */
  refused(host: string, reason: string, node: string | undefined): void {
    const { name, nodes } = this.#settings;
    const there = nodes.filter(({ address }) => hostText(address) === host);
    const neighbour = there.length === 1 ? `${host}, where node "${there[0].name}" is,` : undefined;
    const peer = node === undefined ? (neighbour ?? host) : `node "${node}" at ${host}`;
    const now = performance.now();
    const last = this.#refused.get(peer);
    // Figures in a sentence change all the time.
    const same = last?.reason.replace(/\d+/g, "") === reason.replace(/\d+/g, "");
    if (last !== undefined && now - last.at < (same ? REFUSED_AGAIN_MS : REFUSED_LOG_MS)) return;
    if (this.#refused.size >= MOST_REFUSED) this.#refused.clear();
    this.#refused.set(peer, { reason, at: now });
    // What strangers send is nothing that an administrator must see to; what a node sends is.
    const level = node === undefined && there.length === 0 ? "warn" : "error";
    this.#log.write(level, `a message of ${peer} to cluster "${name}" ${reason}`);
  }
}
