/** A group whose nodes are the addresses of a name, which come and go. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import type { Matrix } from "../../src/cluster/matrix.ts";
import { have } from "../support/have.ts";
import { makePrefix, type Running, runHoldfast, startHoldfast } from "../support/holdfast.ts";
import { freePort } from "../support/ports.ts";
import { get } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

/** Why /etc/hosts cannot be the test's own; false: it can. */
function haveMounts(): false | string {
  const missing = have("unshare");
  if (missing !== false) return missing;
  return spawnSync("unshare", ["-m", "true"]).status === 0 ? false : "a mount namespace needs root";
}

/** A file that programs of the test have in place of /etc/hosts. */
class Names {
  readonly #file: string;

  constructor(t: TestContext) {
    this.#file = join(makePrefix(t), "hosts");
    this.set([]);
  }

  /** The addresses of `group.test`. */
  set(addresses: readonly string[]): void {
    writeFileSync(this.#file, ["127.0.0.1 localhost", ...addresses.map((one) => `${one} group.test`), ""].join("\n"));
  }

  get through(): readonly string[] {
    return ["unshare", "-m", "sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"', this.#file];
  }
}

function config(self: string, port: number, http: number): string {
  return `cluster test { resolve group.test:${port}; self ${self}; secret_file secret; check interval=100 fall=2 rise=2 timeout=5000; }
    events {} http { server { listen 127.0.0.1:${http}; location = /cluster { cluster_status json; } } }`;
}

const files = { "conf/secret": "a secret of the test's own\n" };

async function seen({ port }: Running): Promise<string> {
  const { nodes }: Matrix = JSON.parse((await get(port, "/cluster")).body);
  return nodes.map(({ name, verdict, facts }) => `${name} ${verdict} ${facts?.state ?? "?"}`).join(", ");
}

async function sees(running: Running, what: string): Promise<void> {
  await waitFor(async () => (await seen(running)) === what, what);
}

test("nodes come and go with the addresses of a name", { skip: haveMounts() }, async (t) => {
  const names = new Names(t);
  const port = await freePort();
  const [a, b, c] = ["127.0.0.1", "127.0.0.2", "127.0.0.3"];
  const start = (self: string): Promise<Running> =>
    startHoldfast(t, { config: ([http]) => config(self, port, http), files, through: names.through });
  names.set([b, a]);
  const [first, second] = [await start(a), await start(b)];
  for (const node of [first, second]) await sees(node, `${a} up serving, ${b} up serving`);
  names.set([a, b, c]);
  const third = await start(c);
  for (const node of [first, second, third]) await sees(node, `${a} up serving, ${b} up serving, ${c} up serving`);
  assert.match(first.errorLog(), /\[notice\] .*cluster "test" has the nodes 127\.0\.0\.1, 127\.0\.0\.2, 127\.0\.0\.3/);
  // A name that cannot be found takes nobody away, and a node that is not among the addresses stays its own.
  await third.stop("SIGKILL");
  names.set([a]);
  await sees(first, `${a} unknown serving`);
  await sees(second, `${a} down ?, ${b} unknown serving`);
  names.set([a, b]);
  for (const node of [first, second]) await sees(node, `${a} up serving, ${b} up serving`);
  assert.equal(await first.reload(), true);
  await sees(first, `${a} up serving, ${b} up serving`);
});

test("what cannot be is refused", { skip: haveMounts() }, async (t) => {
  const names = new Names(t);
  const refusal = async (block: string): Promise<string> => {
    const text = `cluster test { ${block} secret_file secret; }`;
    return (await runHoldfast(t, { config: text, files, args: ["-t"], through: names.through })).stderr;
  };
  assert.match(await refusal("resolve group.test; self 127.0.0.1;"), /host not found in cluster "test": "group\.test"/);
  names.set(["127.0.0.1", "192.0.2.1"]);
  assert.match(await refusal("resolve group.test;"), /configuration file \S+ test is successful/);
  assert.match(await refusal("resolve group.test; self 127.0.0.9;"), /there is no node "127\.0\.0\.9"/);
  assert.match(await refusal("resolve group.test; node lb1 127.0.0.1;"), /"resolve" and "node" do not go together/);
  assert.match(await refusal("resolve group.test:70000;"), /invalid port in "group\.test:70000"/);
  assert.match(await refusal("resolve group.test:x;"), /invalid name "group\.test:x"/);
  assert.match(
    await refusal("resolve group.test; virtual_ip 127.0.0.100/8 dev=lo;"),
    /"virtual_ip" needs "node", not "resolve"/,
  );
});
