/** A group of nodes on hosts of their own, with servers and a client, and what an accident costs that client. */
import assert from "node:assert/strict";
import type { ChildProcess } from "node:child_process";
import type { TestContext } from "node:test";
import { fileURLToPath } from "node:url";
import type { Matrix } from "../../src/cluster/matrix.ts";
import { makePrefix, type Running, startHoldfast } from "./holdfast.ts";
import { type Host, startHosts } from "./hosts.ts";
import { childrenOf, statusOf } from "./processes.ts";
import { waitFor } from "./wait.ts";

export const SHARED = "10.77.0.100";
const NODES = ["lb1", "lb2", "lb3"] as const;
const SERVERS = ["s1", "s2", "s3"] as const;
const SERVER_PORT = 8080;
/** Requests a second. */
const RATE = 100;
/** For so long what is being answered is answered before an address that is handed over moves, ms (docs/cluster.md). */
const HELD_MS = 850;

const main = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

/** What became of a request. Times are ms since 1970. */
interface Asked {
  readonly sent: number;
  readonly over: number;
  readonly node?: string;
  readonly failure?: string;
}

/** What the client has seen from some moment on. */
export interface Outage {
  readonly requests: number;
  /** Why those that failed did. */
  readonly failures: readonly string[];
  /** Of them, those that had not taken for so long already that they are broken off: see HELD_MS. */
  readonly unplanned: readonly string[];
  /** The longest time in which no request was answered, ms. */
  readonly longest: number;
  /** The slowest that was answered, ms. */
  readonly slowest: number;
}

export interface ClientOptions {
  readonly address?: string;
  /** Requests a second. */
  readonly rate?: number;
  /** Connections that it keeps; 0: each request has a new one. */
  readonly kept?: number;
  /** How long responses take, ms. */
  readonly wait?: number;
  readonly protocol?: "http1" | "http2";
  /** How much later than that a response may be, ms. Default: what somebody waits for a page. */
  readonly patience?: number;
}

/** A client that asks all the time. */
export class HostClient {
  readonly #child: ChildProcess;
  readonly #asked: Asked[] = [];
  #rest = "";

  constructor(
    host: Host,
    { address = SHARED, rate = RATE, kept = 0, wait = 0, protocol = "http1", patience = 4000 }: ClientOptions = {},
  ) {
    const words = [address, 80, rate, kept, wait, protocol, patience].map(String);
    this.#child = host.spawn([process.execPath, main("host_client_main.ts"), ...words], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    this.#child.stdout?.on("data", (bytes: Buffer) => {
      const lines = (this.#rest + bytes.toString()).split("\n");
      this.#rest = lines.pop() ?? "";
      for (const line of lines) this.#asked.push(JSON.parse(line));
    });
  }

  /** The node that has answered last. */
  get node(): string | undefined {
    return this.#asked.findLast(({ node }) => node !== undefined)?.node;
  }

  /** Resolves when so many more requests have been answered, by that node where given. */
  async answered(count: number, node?: string): Promise<void> {
    const from = this.#asked.length;
    const answers = () =>
      this.#asked.slice(from).filter((one) => one.node !== undefined && (node === undefined || one.node === node));
    const last = () => JSON.stringify(this.#asked.slice(-5));
    await waitFor(
      () => answers().length >= count,
      () => `${count} answers of ${node ?? "any node"}; the last were ${last()}`,
    );
  }

  /** Ends it when all of its requests are over: what it has seen since then. */
  async end(since: number): Promise<Outage> {
    const over = new Promise((resolve) => this.#child.once("close", resolve));
    this.#child.stdin?.end();
    await over;
    const asked = this.#asked.filter((one) => one.over >= since);
    const answered = asked.filter(({ node }) => node !== undefined);
    const ends = answered.map((one) => one.over).sort((a, b) => a - b);
    const gaps = ends.map((end, i) => end - (i === 0 ? since : ends[i - 1]));
    const failed = asked.filter(({ failure }) => failure !== undefined);
    const textOf = ({ failure, sent, over }: Asked): string =>
      `${failure} (sent after ${sent - since} ms, over after ${over - since} ms)`;
    // When each node but the first began to answer.
    const moves = answered.filter(({ node }, i) => i > 0 && node !== answered[i - 1].node).map(({ over }) => over);
    return {
      requests: asked.length,
      failures: failed.map(textOf),
      unplanned: failed
        .filter(({ sent, over }) => !moves.some((moved) => sent < moved - HELD_MS && moved - HELD_MS < over))
        .map(textOf),
      longest: ends.length === 0 ? Number.POSITIVE_INFINITY : Math.max(...gaps),
      slowest: Math.max(...answered.map(({ sent, over }) => over - sent)),
    };
  }
}

export function outageText({ requests, failures, longest, slowest }: Outage): string {
  return `no answer for ${longest} ms at most, ${failures.length} of ${requests} requests failed, the slowest took ${slowest} ms`;
}

/** A proxy on a host of its own. */
export class HostNode {
  readonly host: Host;
  readonly #t: TestContext;
  readonly #config: (options: SiteOptions) => string;
  running: Running;

  constructor(t: TestContext, host: Host, running: Running, config: (options: SiteOptions) => string) {
    this.#t = t;
    this.host = host;
    this.running = running;
    this.#config = config;
  }

  /** Starts it again where it was. */
  async start(): Promise<void> {
    this.running = await startHoldfast(this.#t, { through: this.host.enter, prefix: this.running.prefix });
  }

  /** Writes another configuration. */
  configure(options: SiteOptions): void {
    this.running.configure(this.#config(options));
  }

  get name(): string {
    return this.host.name;
  }

  get holds(): boolean {
    return this.host.has(SHARED);
  }

  /** Of Holdfast: master, checker, workers. */
  get processes(): number[] {
    return [this.running.pid, ...childrenOf(this.running.pid).filter((pid) => pid !== this.guard)];
  }

  /** The one that runs keepalived. */
  get guard(): number | undefined {
    return childrenOf(this.running.pid).find(
      (pid) => this.keepalived.length > 0 && parentOf(this.keepalived[0]) === pid,
    );
  }

  /** keepalived's own. */
  get keepalived(): number[] {
    const pid = Number(this.running.read("logs/holdfast.keepalived/keepalived.pid"));
    return pid > 0 ? [pid, ...childrenOf(pid)] : [];
  }

  /** All there is. */
  get everything(): number[] {
    const { guard } = this;
    return [...this.processes, ...(guard === undefined ? [] : [guard, ...childrenOf(guard)]), ...this.keepalived];
  }

  matrix(): Matrix {
    return JSON.parse(this.host.run("curl -s --max-time 2 http://127.0.0.1:81/cluster?format=json"));
  }
}

function parentOf(pid: number): number {
  return Number(statusOf(pid, "PPid"));
}

/** A Redis on a host of its own, which keeps what it has confirmed. */
class Store {
  readonly #host: Host;
  readonly #directory: string;
  #child: ChildProcess | undefined;

  constructor(t: TestContext, host: Host) {
    this.#host = host;
    this.#directory = makePrefix(t);
  }

  async start(): Promise<void> {
    const { address } = this.#host;
    const options = ["--bind", address, "--protected-mode", "no", "--appendonly", "yes", "--dir", this.#directory];
    this.#child = this.#host.spawn(["redis-server", ...options], { stdio: "ignore" });
    await waitFor(() => this.#host.run("ss -Hltn").includes(`${address}:6379 `), "Redis");
  }

  async kill(): Promise<void> {
    const child = this.#child;
    if (child === undefined) return;
    const gone = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGKILL");
    await gone;
  }
}

/** What it finds of all. */
function stateOf(node: HostNode): string {
  try {
    return node
      .matrix()
      .nodes.map(({ name, facts, verdict }) => `${name} ${facts?.state} ${verdict}`)
      .join(", ");
  } catch (error) {
    return `${error}\n${node.running.errorLog().slice(-2000)}`;
  }
}

/** Whether one of them has the address, and all serve. */
function isWhole(nodes: readonly HostNode[]): boolean {
  if (nodes.filter(({ holds }) => holds).length !== 1) return false;
  return nodes.every((node) => node.matrix().nodes.every(({ facts }) => facts?.state === "serving"));
}

export interface Site {
  readonly nodes: readonly HostNode[];
  readonly servers: readonly Host[];
  readonly client: Host;
  /** Redis, with `stored`. */
  readonly store: Store;
  /** Who has the address; fails where that is more than one, or none. */
  readonly holder: HostNode;
  /** Waits until that node alone has the address. */
  held(by: HostNode): Promise<void>;
  /** Undoes whatever has happened, and waits until all serve. */
  recover(): Promise<void>;
  /** Fails where a request did that had not taken too long already, with what the nodes say of the address. */
  assertNoneFailed(outage: Outage): void;
}

export interface SiteOptions {
  /** Directives of the cluster block. Default: one address. */
  readonly cluster?: string;
  readonly location?: string;
  /** Nodes whose line can be spoilt. */
  readonly slow?: readonly (typeof NODES)[number][];
  /** Sessions are in a Redis on a host of its own. */
  readonly stored?: boolean;
  /** Nothing is to be found out by time: whoever has to wait for the processor is waited for. */
  readonly patient?: boolean;
}

const CLUSTER = `virtual_ip ${SHARED}/24 dev=eth0;`;

function configOf(node: string, hosts: Readonly<Record<string, Host>>, options: SiteOptions = {}): string {
  const { cluster = CLUSTER, location = "", stored = false, patient = false } = options;
  const timeout = patient ? 5000 : 300;
  const http = stored ? `session_zone carts:4m store=redis://${hosts.store.address}:6379; session_timeout 50ms;` : "";
  const session = stored ? "session carts;" : "";
  return `cluster shop { ${NODES.map((name) => `node ${name} ${hosts[name].address};`).join(" ")} secret_file secret;
      check interval=500 fall=3 rise=2 timeout=${timeout}; ${cluster} }
    worker_processes 2;
    events {}
    http { access_log off; ${http}
      upstream shop { ${SERVERS.map((name) => `server ${hosts[name].address}:${SERVER_PORT} max_fails=0;`).join(" ")} keepalive 8;
        check interval=500 fall=3 rise=2 timeout=${timeout} type=http quorum=majority; }
      server { listen 80; http2 on; add_header X-Node ${node};
        proxy_connect_timeout ${timeout}ms; proxy_read_timeout ${patient ? "10s" : "1s"};
        location / { ${session} ${location} proxy_pass http://shop; } }
      server { listen 127.0.0.1:81; location /cluster { cluster_status; } } }`;
}

/** Three proxies, three servers and a client, each on a host of its own; resolves when all serve and one of them has the address. */
export async function startSite(t: TestContext, options: SiteOptions = {}): Promise<Site> {
  const hosts = await startHosts(t, [...NODES, ...SERVERS, "client", "store"], options.slow);
  for (const name of SERVERS) {
    const words = [process.execPath, main("host_server_main.ts"), hosts[name].address, `${SERVER_PORT}`, name];
    const child = hosts[name].spawn(words, { stdio: ["ignore", "pipe", "inherit"] });
    await new Promise((resolve) => child.stdout?.once("data", resolve));
  }
  const store = new Store(t, hosts.store);
  if (options.stored === true) await store.start();
  const nodes = await Promise.all(
    NODES.map(async (name) => {
      const host = hosts[name];
      const config = (wanted: SiteOptions): string => configOf(name, hosts, wanted);
      const files = { "conf/secret": "a secret of the test's own\n" };
      const running = await startHoldfast(t, { through: host.enter, config: config(options), files });
      return new HostNode(t, host, running, config);
    }),
  );
  const site: Site = {
    nodes,
    servers: SERVERS.map((name) => hosts[name]),
    client: hosts.client,
    store,
    get holder() {
      const holders = nodes.filter(({ holds }) => holds);
      if (holders.length !== 1) throw new Error(`${holders.length} nodes have the address`);
      return holders[0];
    },
    async held(by) {
      await waitFor(() => nodes.every((node) => node.holds === (node === by)), `${by.name} alone to have the address`);
    },
    async recover() {
      for (const { host } of nodes) host.heal();
      for (const { host } of nodes) host.plugIn();
      await Promise.all(nodes.filter(({ running }) => running.exit !== undefined).map((node) => node.start()));
      const states = (): string =>
        nodes.map((node) => `${node.name} ${node.holds ? "holds" : ""}: ${stateOf(node)}`).join("\n");
      await waitFor(
        () => isWhole(nodes),
        () => `all to serve:\n${states()}`,
      );
    },
    assertNoneFailed({ unplanned }) {
      const said = nodes.map(({ name, running }) => `${name}:\n${running.errorLog().slice(-4000)}`);
      assert.ok(unplanned.length === 0, [...unplanned, ...said].join("\n"));
    },
  };
  await site.recover();
  return site;
}
