/**
 * A group of nodes with its network and its time made up: what it costs, how soon it agrees, and how often it is wrong. The scheduler of
 * checks, the opinions, who observes what and the decisions are those of Holdfast; only the sockets and the clock are not.
 *
 *     node bench/cluster_simulation.ts [--nodes 3,10,100,1000] [--servers 10000] [--observers 3] [--loss 1] [--minutes 10]
 *                                      [--interval 500] [--whole 5] [--deaths 100]
 *
 * `--whole`: so many of the nodes are simulated with all they do. The others check their share of the servers and answer, but ask nobody:
 * what they know of the others they are told as soon as a node would have found it. Times are of servers that refuse connections from
 * one moment on; a message that is lost never comes, which is worse than what TCP makes of it.
 */
import { parseArgs } from "node:util";
import { Group, type GroupOptions } from "./cluster/group.ts";

const { values } = parseArgs({
  options: {
    nodes: { type: "string", default: "3,10,100,1000" },
    servers: { type: "string", default: "10000" },
    observers: { type: "string", default: "3" },
    loss: { type: "string", default: "1" },
    minutes: { type: "string", default: "10" },
    interval: { type: "string", default: "500" },
    whole: { type: "string", default: "5" },
    deaths: { type: "string", default: "100" },
    seed: { type: "string", default: "1" },
  },
});

function at(sorted: readonly number[], part: number): string {
  const ms = sorted[Math.floor((sorted.length - 1) * part)];
  return ms === undefined ? "-" : `${(ms / 1000).toFixed(2)} s`;
}

for (const nodes of values.nodes.split(",").map(Number)) {
  const options: GroupOptions = {
    nodes,
    whole: Math.min(nodes, Number(values.whole)),
    servers: Number(values.servers),
    observers: Number(values.observers),
    loss: Number(values.loss) / 100,
    interval: Number(values.interval),
    deaths: Number(values.deaths),
    seed: Number(values.seed),
  };
  const began = performance.now();
  const group = new Group(options);
  const result = group.run(Number(values.minutes) * 60_000);
  const { seconds, asked, bytes, checks, verdicts, own, decided, nodesDown } = result;
  const each = asked / seconds / options.whole;
  const sorted = verdicts.toSorted((a, b) => a - b);
  const watched = (options.whole * seconds) / 3600;
  const hourly = (count: number) => `${count} in ${watched.toFixed(1)} hours of a node`;
  const lines = [
    `${nodes} nodes, ${options.servers} servers with ${Math.min(nodes, options.observers)} observers each, nodes checked every ${options.interval} ms, ${values.loss} % lost, ${(seconds / 60).toFixed(0)} min`,
    `  messages sent a second and node  ${(2 * each).toFixed(1)}: as many questions as answers`,
    `  bytes sent a second and node     ${(bytes / seconds / options.whole / 1000).toFixed(1)} kB`,
    `  checks of servers a second       ${(checks / seconds).toFixed(1)} a node`,
    `  a dead server is not used        after p50 ${at(sorted, 0.5)}, p99 ${at(sorted, 0.99)}, at most ${at(sorted, 1)} (${sorted.length} times)`,
    `  found down though it lives       by a node's own checks: servers ${hourly(own)}, nodes ${hourly(nodesDown)}`,
    `  decided to be down though it lives  ${hourly(decided)}`,
    `  (took ${((performance.now() - began) / 1000).toFixed(0)} s)`,
  ];
  process.stdout.write(`${lines.join("\n")}\n`);
}
