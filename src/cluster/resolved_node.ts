import type { Address } from "../net/address.ts";
import { systemAddresses } from "../net/system_names.ts";
import type { CheckerService } from "../runtime/application.ts";
import { randomBytes } from "../sys/random.ts";
import { startTimer, type Timer } from "../sys/timers.ts";
import { ClusterNode, type NodeEnvironment } from "./node.ts";
import { type ClusterSettings, withNodes } from "./settings.ts";

/** How often a name is looked up, ms. */
const RESOLVE_MS = 5000;
/** How often it looks whether another checker speaks for this node, ms. */
const SPEAKS_MS = 100;

/**
 * This node's part in the group, in the checker. Where the nodes are the addresses of a name, they come and go with those. While
 * an upgrade goes on there are two checkers: the newer one speaks for the node, and the other does again when that is gone.
 */
export class ResolvedNode implements CheckerService {
  readonly #environment: NodeEnvironment;
  readonly #speaker: number;
  #settings: ClusterSettings;
  #node: ClusterNode;
  #resolving: Timer | undefined;
  #speaking: Timer | undefined;
  #silent = false;
  #stopped = false;

  /** `previous`: of this process, under an earlier configuration. */
  constructor(environment: NodeEnvironment, previous: ResolvedNode | undefined) {
    const { own } = environment;
    this.#environment = environment;
    this.#settings = environment.settings;
    this.#speaker = previous === undefined ? randomBytes(4).readInt32LE() | 1 : previous.#speaker;
    if (previous === undefined || previous.speaks) own.speak(this.#speaker);
    this.#node = new ClusterNode(environment, previous === undefined ? undefined : previous.#node);
    this.#speak();
    this.#wait();
  }

  /** Whether this checker speaks for the node. */
  get speaks(): boolean {
    return !this.#silent;
  }

  stop(): void {
    this.#stopped = true;
    this.#resolving?.clear();
    this.#speaking?.clear();
    if (this.#silent) return;
    this.#node.stop();
    this.#environment.own.hush(this.#speaker);
  }

  #speak(): void {
    const speaks = this.#environment.own.speaks(this.#speaker);
    if (speaks === this.#silent) {
      this.#silent = !speaks;
      if (speaks) this.#node = new ClusterNode({ ...this.#environment, settings: this.#settings }, this.#node);
      else this.#node.stop();
    }
    this.#speaking = startTimer(SPEAKS_MS, () => this.#speak(), { background: true });
  }

  #wait(): void {
    const { resolve } = this.#settings;
    if (resolve === undefined || this.#stopped) return;
    const look = () => void systemAddresses(resolve.host).then((found) => this.#resolved(found));
    this.#resolving = startTimer(RESOLVE_MS, look, { background: true });
  }

  /** No address: the name servers are away, and the nodes stay. */
  #resolved(found: readonly Address[]): void {
    if (this.#stopped) return;
    const settings = withNodes(this.#settings, found);
    if (found.length > 0 && namesOf(settings) !== namesOf(this.#settings)) this.#change(settings);
    this.#wait();
  }

  #change(settings: ClusterSettings): void {
    const { log } = this.#environment;
    this.#settings = settings;
    log.write("notice", `cluster "${settings.name}" has the nodes ${namesOf(settings)}`);
    if (this.#silent) return;
    this.#node.stop();
    this.#node = new ClusterNode({ ...this.#environment, settings }, this.#node);
  }
}

function namesOf({ nodes }: ClusterSettings): string {
  return nodes.map(({ name }) => name).join(", ");
}
