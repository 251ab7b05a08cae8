import type { Address } from "../net/address.ts";
import { systemAddresses } from "../net/system_names.ts";
import type { CheckerService } from "../runtime/application.ts";
import { startTimer, type Timer } from "../sys/timers.ts";
import { ClusterNode, type NodeEnvironment } from "./node.ts";
import { type ClusterSettings, withNodes } from "./settings.ts";

/** How often a name is looked up, ms. */
const RESOLVE_MS = 5000;

/** This node's part in the group, in the checker. Where the nodes are the addresses of a name, they come and go with those. */
export class ResolvedNode implements CheckerService {
  readonly #environment: NodeEnvironment;
  #settings: ClusterSettings;
  #node: ClusterNode;
  #timer: Timer | undefined;
  #stopped = false;

  constructor(environment: NodeEnvironment, previous: ClusterNode | undefined) {
    this.#environment = environment;
    this.#settings = environment.settings;
    this.#node = new ClusterNode(environment, previous);
    this.#wait();
  }

  get node(): ClusterNode {
    return this.#node;
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.clear();
    this.#node.stop();
  }

  #wait(): void {
    const { resolve } = this.#settings;
    if (resolve === undefined || this.#stopped) return;
    const look = () => void systemAddresses(resolve.host).then((found) => this.#resolved(found));
    this.#timer = startTimer(RESOLVE_MS, look, { background: true });
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
    this.#node.stop();
    this.#node = new ClusterNode({ ...this.#environment, settings }, this.#node);
  }
}

function namesOf({ nodes }: ClusterSettings): string {
  return nodes.map(({ name }) => name).join(", ");
}
