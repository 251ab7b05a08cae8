import { directive } from "../../config/directives.ts";
import { type DirectiveSpec, fail } from "../../config/schema.ts";
import type { Directive } from "../../config/types.ts";
import { parseMsec, parseNumber } from "../../config/values.ts";
import { ipv4Text, ipv6Text, parseIpv4, parseIpv6 } from "../../net/ip.ts";
import { LEAST_PRIORITY, MOST_PRIORITY } from "./priority.ts";

/** An address that is at one node of the group at a time (`virtual_ip`). */
export interface VirtualIp {
  readonly host: string;
  readonly family: "ipv4" | "ipv6";
  /** Of its network. */
  readonly bits: number;
  /** The interface. */
  readonly dev: string;
  /** The node that has it where it can; the first where it is undefined. */
  readonly prefer: string | undefined;
  /** This node's own; undefined: it follows from `prefer` and the order of the nodes. */
  readonly priority: number | undefined;
  /** VRRP's virtual router ID. */
  readonly router: number;
  readonly unicast: boolean;
  /** Between two advertisements, ms. */
  readonly advert: number;
  readonly at: Directive;
}

const ADVERT_MS = 100;
/** VRRP version 3 counts hundredths of a second, in 12 bits. */
const UNIT_MS = 10;
const MOST_ADVERT_MS = 40_950;
const MOST_ROUTER = 255;
/** Names of interfaces: IFNAMSIZ, and what keepalived takes as one word. */
const DEV = /^[\w.@:-]{1,15}$/;
export const MOST_ADDRESSES = 64;

export const virtualIp: DirectiveSpec<readonly VirtualIp[]> = directive<readonly VirtualIp[]>({
  in: ["cluster"],
  args: [2, 7],
  repeat: true,
  syntax: "address[/bits] dev=interface [prefer=node] [priority=number] [vrid=number] [unicast] [advert=time]",
  doc: "An address that is at one node of the group at a time, which clients connect to: keepalived (VRRP version 3), which the master runs, gives it to the node that can serve. The same line stands on every node: the address is at the node of `prefer` (the first one), and goes to the others in their order after it. `priority` (1 to 80) says otherwise for one node. `vrid`, the number of the virtual router, is the last byte of the address. `unicast` sends advertisements to the other nodes' addresses in place of a multicast group. `advert` is the time between two of them.",
  defaultText: "prefer=the first node advert=100ms",
  initial: () => [],
  read(at, _scope, previous = []) {
    const address = read(at);
    const { host, router, dev } = address;
    if (previous.some((other) => other.host === host)) fail(at, `duplicate address ${host}`);
    const same = previous.find((other) => other.router === router && other.dev === dev);
    if (same !== undefined) {
      fail(at, `addresses ${same.host} and ${host} have the same vrid ${router} on ${dev}: give one of them another`);
    }
    if (previous.length === MOST_ADDRESSES) fail(at, `more than ${MOST_ADDRESSES} addresses`);
    return [...previous, address];
  },
});

function read(at: Directive): VirtualIp {
  const [written, ...parameters] = at.args;
  const place = placeOf(at, written);
  let dev = "";
  let prefer: string | undefined;
  let priority: number | undefined;
  let router = place.last === 0 ? MOST_ROUTER : place.last;
  let unicast = false;
  let advert = ADVERT_MS;
  for (const parameter of parameters) {
    const [, name, value] = /^(\w+)(?:=(.+))?$/.exec(parameter) ?? [];
    const wrong = (): never => fail(at, `invalid parameter "${parameter}"`);
    if (name === "unicast" && value === undefined) unicast = true;
    else if (value === undefined) wrong();
    else if (name === "dev") dev = DEV.test(value) ? value : wrong();
    else if (name === "prefer") prefer = value;
    else if (name === "priority") priority = within(value, LEAST_PRIORITY, MOST_PRIORITY) ?? wrong();
    else if (name === "vrid") router = within(value, 1, MOST_ROUTER) ?? wrong();
    else if (name === "advert") advert = advertOf(value) ?? wrong();
    else wrong();
  }
  if (dev === "") fail(at, `"virtual_ip" needs the interface that has the address: "dev="`);
  const { host, family, bits } = place;
  return { host, family, bits, dev, prefer, priority, router, unicast, advert, at };
}

function placeOf(at: Directive, written: string) {
  const [, host, length] = /^([^/]*)(?:\/(\d{1,3}))?$/.exec(written) ?? [];
  const wrong = (): never => fail(at, `"${written}" is no address`);
  const four = parseIpv4(host ?? "");
  const six = four === undefined ? parseIpv6(host ?? "") : undefined;
  if (host === undefined || (four === undefined && six === undefined)) return wrong();
  const most = four === undefined ? 128 : 32;
  const bits = length === undefined ? most : Number(length);
  if (bits < 1 || bits > most) return wrong();
  // As the system writes it, and others find it among an interface's addresses.
  if (six !== undefined) return { host: ipv6Text(six), family: "ipv6" as const, bits, last: six[15] };
  return { host: ipv4Text(four ?? 0), family: "ipv4" as const, bits, last: (four ?? 0) & 0xff };
}

function within(value: string, least: number, most: number): number | undefined {
  const number = parseNumber(value);
  return number !== undefined && number >= least && number <= most ? number : undefined;
}

function advertOf(value: string): number | undefined {
  const ms = parseMsec(value);
  return ms !== undefined && ms >= UNIT_MS && ms <= MOST_ADVERT_MS && ms % UNIT_MS === 0 ? ms : undefined;
}
