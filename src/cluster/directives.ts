import { directive, failAtEnd, file, text } from "../config/directives.ts";
import { type DirectiveSpec, defineDirectives, fail, type Scope } from "../config/schema.ts";
import type { Context, Directive } from "../config/types.ts";
import { parseMsec, parseNumber } from "../config/values.ts";
import { parseListen } from "../http/conf/listen.ts";
import { type Address, addressText } from "../net/address.ts";
import { MOST_PRIORITY } from "./address/priority.ts";
import { virtualIp } from "./address/virtual_ip.ts";
import { store } from "./sync/store.ts";
import { tlsDirectives } from "./tls/directives.ts";

/** A `node` of the group. */
export interface NodeSetting {
  readonly name: string;
  readonly address: Address;
  readonly at: Directive;
}

/** `resolve`: the nodes are the addresses of a name. */
export interface ResolveSetting {
  readonly host: string;
  readonly port: number;
  readonly at: Directive;
}

/** How nodes check one another; times in ms. */
export interface NodeCheck {
  readonly interval: number;
  readonly timeout: number;
  readonly fall: number;
  readonly rise: number;
}

const MAIN: readonly Context[] = ["main"];
const IN: readonly Context[] = ["cluster"];
const PORT = 7946;
const CHECK: NodeCheck = { interval: 500, timeout: 300, fall: 3, rise: 2 };
/** What a name may be made of. */
const NAME = /^[\w.-]{1,64}$/;

const node: DirectiveSpec<readonly NodeSetting[]> = directive<readonly NodeSetting[]>({
  in: IN,
  args: [2, 2],
  repeat: true,
  syntax: "name address[:port]",
  doc: "A node of the group, and where its checker listens for the others (port 7946). All nodes are named on each node, this one too.",
  initial: () => [],
  read(at, _scope, previous = []) {
    const [name, written] = at.args;
    if (!NAME.test(name)) fail(at, `invalid name of a node "${name}"`);
    if (previous.some((other) => other.name === name)) fail(at, `duplicate node "${name}"`);
    const address = addressOf(at, written);
    const text = addressText(address);
    const same = previous.find((other) => addressText(other.address) === text);
    if (same !== undefined) fail(at, `nodes "${same.name}" and "${name}" have the same address ${text}`);
    return [...previous, { name, address, at }];
  },
});

const resolve: DirectiveSpec<ResolveSetting | undefined> = directive<ResolveSetting | undefined>({
  in: IN,
  args: [1, 1],
  syntax: "name[:port]",
  doc: "The nodes are the addresses of that name, in place of `node`: each is called by its address, and its checker listens there (port 7946). The checker looks the name up every 5 seconds, as the system does, and nodes come and go with its addresses. `virtual_ip` needs `node`.",
  initial: () => undefined,
  read(at) {
    const [, host, port = String(PORT)] = /^([\w.-]+?)(?::(\d{1,5}))?$/.exec(at.args[0]) ?? [];
    if (host === undefined) fail(at, `invalid name "${at.args[0]}"`);
    const number = Number(port);
    if (number < 1 || number > 65535) fail(at, `invalid port in "${at.args[0]}"`);
    return { host, port: number, at };
  },
});

function addressOf(at: Directive, written: string): Address {
  const parsed = parseListen([written], { name: at.name, port: PORT });
  if ("error" in parsed) return fail(at, parsed.error);
  const { place } = parsed;
  if (!("addresses" in place))
    return fail(at, `"${written}" is no address: a node has one that the others reach it at ("resolve" takes a name)`);
  const [address] = place.addresses;
  if (place.addresses.length > 1 || address.family === "unix") fail(at, `invalid address of a node "${written}"`);
  if (address.host === "0.0.0.0" || address.host === "::")
    fail(at, `"${written}" is no address that others reach a node at`);
  return address;
}

const check: DirectiveSpec<NodeCheck> = directive<NodeCheck>({
  in: IN,
  args: [1, 4],
  syntax: "[interval=time] [fall=number] [rise=number] [timeout=time]",
  doc: "How nodes check one another: each asks each other every `interval` and waits for the answer for `timeout`; one that has not answered `fall` times in a row is down, one that has `rise` times is up. Times are in milliseconds where they have no unit, as in `check` of an upstream.",
  defaultText: "interval=500 fall=3 rise=2 timeout=300",
  initial: () => CHECK,
  read(at) {
    const settings: { -readonly [K in keyof NodeCheck]: NodeCheck[K] } = { ...CHECK };
    for (const arg of at.args) {
      const [, name, value = ""] = /^(\w+)=(.+)$/.exec(arg) ?? [];
      const wrong = (): never => fail(at, `invalid parameter "${arg}"`);
      if (name === "interval" || name === "timeout") settings[name] = milliseconds(value) || wrong();
      else if (name === "fall" || name === "rise") settings[name] = parseNumber(value) || wrong();
      else wrong();
    }
    return settings;
  },
});

export const clusterDirectives = defineDirectives("cluster", {
  cluster: directive<string | undefined>({
    in: MAIN,
    args: [1, 1],
    block: "cluster",
    syntax: "name { … }",
    doc: "A group of nodes that check one another and tell each other what they find, of themselves and of their servers. The same block stands on every node.",
    initial: () => undefined,
    read: (at) => (NAME.test(at.args[0]) ? at.args[0] : fail(at, `invalid name of a cluster "${at.args[0]}"`)),
    close: checkBlock,
  }),
  node,
  resolve,
  self: text({
    in: IN,
    syntax: "name",
    defaultText: "the node whose address this machine has",
    doc: "Which of the nodes this one is.",
  }),
  secret_file: file({
    in: IN,
    doc: "The file with the secret by which nodes know each other's messages, of 16 characters or more, the same on all nodes. It may have several, a line each: the first signs, all are recognised, so that a secret can be replaced on one node after the other. Only the master reads it.",
  }),
  check,
  virtual_ip: virtualIp,
  store,
  ...tlsDirectives,
});

/** As in `check` of an upstream, a number alone is in ms. */
function milliseconds(value: string): number | undefined {
  return /^\d+$/.test(value) ? parseNumber(value) : parseMsec(value);
}

function checkBlock(block: Scope): void {
  const { node: nodes, resolve: resolved, virtual_ip } = clusterDirectives.in(block);
  const [name] = block.directive.args;
  if (resolved !== undefined && nodes.length > 0) fail(resolved.at, '"resolve" and "node" do not go together');
  if (resolved !== undefined && virtual_ip.length > 0)
    fail(virtual_ip[0].at, '"virtual_ip" needs "node", not "resolve"');
  if (resolved === undefined && nodes.length < 2)
    failAtEnd(block, `cluster "${name}" has ${nodes.length === 0 ? "no nodes" : "one node only"}`);
  for (const { host, prefer, unicast, family, at } of virtual_ip) {
    if (prefer !== undefined && !nodes.some((node) => node.name === prefer)) fail(at, `there is no node "${prefer}"`);
    const other = nodes.find(({ address }) => address.family !== family);
    if (unicast && other !== undefined) {
      fail(at, `advertisements of ${host} cannot go to node "${other.name}", whose address is of another family`);
    }
  }
  if (virtual_ip.length > 0 && nodes.length > MOST_PRIORITY) {
    failAtEnd(block, `more than ${MOST_PRIORITY} nodes cannot have virtual addresses: make several clusters`);
  }
}

export function clusterScope(root: Scope): Scope | undefined {
  return root.children.find(({ context }) => context === "cluster");
}
