import assert from "node:assert/strict";
import type { TestContext } from "node:test";
import type { Matrix, NodeRow, ServerRow } from "../../src/cluster/matrix.ts";
import { type Running, startHoldfast } from "./holdfast.ts";
import { freePort } from "./ports.ts";
import { get } from "./tcp.ts";
import { waitFor } from "./wait.ts";

type Files = Readonly<Record<string, string>>;

export interface ClusterOptions {
  /** How many nodes. Default: 3. */
  readonly nodes?: number;
  /** Further directives of the `cluster` block. Default: quick checks, which take no node for dead that has to wait for the processor. */
  readonly cluster?: string | ((node: string) => string);
  /** Directives of the http block: upstreams. */
  readonly http?: string | ((node: string) => string);
  /** Directives of the server, which has `cluster_status` at /cluster. */
  readonly server?: string;
  /** Further files of each node. */
  readonly files?: Files | ((node: string) => Files);
  readonly secret?: (node: string) => string;
  /** Which node can reach which; the others knock on a port where nobody is. Default: all. */
  readonly reaches?: (observer: string, subject: string) => boolean;
}

const SECRET = "a secret of the test's own";

/** A node of a group of the test's own, on this machine: a real Holdfast. */
export class ClusterNode {
  readonly name: string;
  readonly port: number;
  /** Where its checker listens for the others. */
  readonly address: string;
  readonly config: string;
  running: Running;
  readonly #t: TestContext;

  constructor(
    t: TestContext,
    start: { readonly name: string; readonly port: number; readonly address: string; readonly config: string },
    running: Running,
  ) {
    this.#t = t;
    this.name = start.name;
    this.port = start.port;
    this.address = start.address;
    this.config = start.config;
    this.running = running;
  }

  /** Starts it again where it was. */
  async start(): Promise<void> {
    this.running = await startHoldfast(this.#t, { config: this.config, prefix: this.running.prefix });
  }

  async matrix(): Promise<Matrix> {
    const answer = await get(this.port, "/cluster?format=json");
    assert.equal(answer.status, 200);
    return JSON.parse(Buffer.from(answer.body, "latin1").toString());
  }

  async node(name: string): Promise<NodeRow> {
    const row = (await this.matrix()).nodes.find((node) => node.name === name);
    assert.ok(row !== undefined, `no node ${name}`);
    return row;
  }

  async server(server: string): Promise<ServerRow> {
    const row = (await this.matrix()).servers.find((one) => one.server === server);
    assert.ok(row !== undefined, `no server ${server}`);
    return row;
  }

  /** Waits until its matrix says so. */
  async sees(what: string, test: (matrix: Matrix) => boolean): Promise<void> {
    await waitFor(async () => test(await this.matrix()), `${this.name} to see ${what}`);
  }
}

/** Starts a group, lb1 and so on, and waits until each node sees each other. */
export async function startCluster(t: TestContext, options: ClusterOptions = {}): Promise<ClusterNode[]> {
  const { nodes: count = 3, secret = () => SECRET, server = "" } = options;
  const of = (text: ClusterOptions["http"], node: string) => (typeof text === "function" ? text(node) : (text ?? ""));
  const names = Array.from({ length: count }, (_, i) => `lb${i + 1}`);
  const ports = await Promise.all(names.map(async () => [await freePort(), await freePort()] as const));
  const nobody = await freePort();
  const linesOf = (observer: string) =>
    names.map((name, i) => {
      const there = observer === name || options.reaches?.(observer, name) !== false;
      return `node ${name} 127.0.0.1:${there ? ports[i][1] : nobody};`;
    });
  const nodes = await Promise.all(
    names.map(async (name, i) => {
      const [port, own] = ports[i];
      const block = of(options.cluster ?? "check interval=100 fall=2 rise=2 timeout=5000;", name);
      const config = `cluster test { ${linesOf(name).join(" ")} self ${name}; secret_file secret; ${block} }
        events {} http { access_log off; ${of(options.http, name)}
        server { listen 127.0.0.1:${port}; ${server} location = /cluster { cluster_status; } } }`;
      const running = await startHoldfast(t, {
        config,
        files: {
          ...(typeof options.files === "function" ? options.files(name) : options.files),
          "conf/secret": `${secret(name)}\n`,
        },
      });
      return new ClusterNode(t, { name, port, address: `127.0.0.1:${own}`, config }, running);
    }),
  );
  return nodes;
}

/** Waits until each of these nodes sees each of them. */
export async function allSeeAll(nodes: readonly ClusterNode[]): Promise<void> {
  for (const node of nodes) {
    await node.sees("all others", (matrix) =>
      nodes.every(({ name }) => {
        const row = matrix.nodes.find((one) => one.name === name);
        const observers = nodes.filter((other) => other.name !== name);
        return row !== undefined && observers.every((other) => row.seen[other.name]?.state === "up");
      }),
    );
  }
}
