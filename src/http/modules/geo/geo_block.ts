import { refusalsOf, warn } from "../../../config/errors.ts";
import { fail, type Scope } from "../../../config/schema.ts";
import type { Directive } from "../../../config/types.ts";
import { type Cidr, type ClientAddress, parseCidr, parseIpv4 } from "../../../net/ip.ts";
import type { Sliced } from "../../../sys/sliced.ts";
import { PrefixTree } from "./prefix_tree.ts";
import { findInRanges, RangeLists, type RangeTable } from "./ranges.ts";

/** INADDR_NONE: what a client has that has no IP address, and in a block of ranges one with an IPv6 address. */
const NO_ADDRESS = 0xffffffff;

/** The inside of a `geo` block. The value of a network is an index into `values`. */
export interface GeoBlock {
  /** The first is that of addresses in no network. */
  readonly values: readonly string[];
  readonly ipv4: PrefixTree;
  readonly ipv6: PrefixTree;
  /** Of a block of ranges, which has nothing in the trees. */
  readonly ranges: RangeTable | undefined;
  /** The `default` of a block of ranges; otherwise it is the network of all addresses. */
  readonly fallback: number;
  readonly proxies: readonly Cidr[];
  readonly proxyRecursive: boolean;
  /** `volatile`: the value is not cached. */
  readonly volatile: boolean;
}

/** The value for a client; `undefined`: its address is not known. */
export function valueFor(block: GeoBlock, client: ClientAddress | undefined): string {
  const ipv4 = client?.ipv4;
  const ipv6 = client?.ipv6;
  const { values, ranges } = block;
  if (ranges !== undefined) return values[findInRanges(ranges, ipv4 ?? NO_ADDRESS) || block.fallback];
  if (ipv4 === undefined && ipv6 !== undefined) {
    fillWords(ipv6);
    return values[block.ipv6.find(IPV6)];
  }
  IPV4[0] = ipv4 ?? NO_ADDRESS;
  return values[block.ipv4.find(IPV4)];
}

/** Lines that are read between two looks at the time. */
const LINES = 64;

export function* readGeoBlock(at: Directive, scope: Scope): Sliced<GeoBlock> {
  const reader = new Reader(scope);
  const refusals = refusalsOf(scope);
  let lines = 0;
  for (const line of at.block ?? []) {
    if (++lines % LINES === 0) yield;
    // With "ranges" refused, every range after it would be an error too.
    if (line.name === "ranges" && line.args.length === 0) reader.line(line);
    else refusals.attempt(() => reader.line(line));
  }
  return reader.block();
}

/** An address on its way into a tree. */
const IPV4 = new Uint32Array(1);
const IPV6 = new Uint32Array(4);

function fillWords(bytes: Uint8Array): void {
  for (let i = 0; i < 4; i++) {
    const at = 4 * i;
    IPV6[i] = (bytes[at] << 24) | (bytes[at + 1] << 16) | (bytes[at + 2] << 8) | bytes[at + 3];
  }
}

/** Reads the lines of a block (ngx_http_geo). */
class Reader {
  readonly #scope: Scope;
  readonly #values = [""];
  /** Where in `#values` a value is: each is there once. */
  readonly #indices = new Map<string, number>();
  readonly #ipv4 = new PrefixTree(1);
  readonly #ipv6 = new PrefixTree(4);
  #ranges: RangeLists | undefined;
  #fallback = 0;
  readonly #proxies: Cidr[] = [];
  #proxyRecursive = false;
  #volatile = false;
  /** There has been a network. */
  #networks = false;

  constructor(scope: Scope) {
    this.#scope = scope;
  }

  block(): GeoBlock {
    return {
      values: this.#values,
      ipv4: this.#ipv4,
      ipv6: this.#ipv6,
      ranges: this.#ranges?.table(),
      fallback: this.#fallback,
      proxies: this.#proxies,
      proxyRecursive: this.#proxyRecursive,
      volatile: this.#volatile,
    };
  }

  line(line: Directive): void {
    const { name, args } = line;
    if (args.length === 0 && this.#option(line)) return;
    if (args.length !== 1 || name === "include") fail(line, "invalid number of the geo parameters");
    if (name === "proxy") this.#proxies.push(this.#cidr(line, args[0]));
    else if (this.#ranges !== undefined) this.#range(this.#ranges, line);
    else this.#network(line);
  }

  /** A word alone. */
  #option(line: Directive): boolean {
    switch (line.name) {
      case "ranges":
        if (this.#networks) fail(line, 'the "ranges" directive must be the first directive inside "geo" block');
        this.#ranges ??= new RangeLists();
        return true;
      case "proxy_recursive":
        this.#proxyRecursive = true;
        return true;
      case "volatile":
        this.#volatile = true;
        return true;
      default:
        return false;
    }
  }

  #network(line: Directive): void {
    const { name } = line;
    const [value] = line.args;
    this.#networks = true;
    if (name === "default") {
      for (const network of ["0.0.0.0/0", "::/0"]) this.#add(line, this.#cidr(line, network), value);
    } else if (name === "delete") {
      const cidr = this.#cidr(line, value);
      if (!this.#treeOf(cidr).remove(wordsOf(cidr), bitsOf(cidr))) this.#warn(line, `no network "${value}" to delete`);
    } else {
      this.#add(line, this.#cidr(line, name), value);
    }
  }

  #add(line: Directive, cidr: Cidr, value: string): void {
    const old = this.#treeOf(cidr).set(wordsOf(cidr), bitsOf(cidr), this.#index(value));
    if (old !== 0) this.#warnDuplicate(line, `network "${line.name}",`, old);
  }

  #treeOf({ family }: Cidr): PrefixTree {
    return family === "ipv4" ? this.#ipv4 : this.#ipv6;
  }

  #cidr(line: Directive, network: string): Cidr {
    if (network === "255.255.255.255") return { family: "ipv4", address: NO_ADDRESS, mask: 0xffffffff };
    const parsed = parseCidr(network);
    if (parsed === undefined) return fail(line, `invalid network "${network}"`);
    if (parsed.lowBits) this.#warn(line, `low address bits of ${network} are meaningless`);
    return parsed.cidr;
  }

  #range(ranges: RangeLists, line: Directive): void {
    const { name } = line;
    const [value] = line.args;
    if (name === "default") {
      if (this.#fallback !== 0) this.#warnDuplicate(line, "default geo range", this.#fallback);
      this.#fallback = this.#index(value);
      return;
    }
    const range = name === "delete" ? value : name;
    const dash = range.indexOf("-");
    const first = dash < 0 ? undefined : parseIpv4(range.slice(0, dash));
    const last = dash < 0 ? undefined : parseIpv4(range.slice(dash + 1));
    if (first === undefined || last === undefined || first > last) fail(line, `invalid range "${range}"`);
    if (name === "delete") {
      if (!ranges.remove(first, last)) this.#warn(line, `no address range "${range}" to delete`);
      return;
    }
    const duplicate = (old: number): void => this.#warnDuplicate(line, `range "${range}",`, old);
    const other = ranges.add(first, last, this.#index(value), duplicate);
    if (other !== undefined) fail(line, `range "${range}" overlaps "${other}"`);
  }

  #index(value: string): number {
    let index = this.#indices.get(value);
    if (index === undefined) {
      index = this.#values.push(value) - 1;
      this.#indices.set(value, index);
    }
    return index;
  }

  #warn(line: Directive, message: string): void {
    warn(line, this.#scope, message);
  }

  /** `what`: "network …," or the like. */
  #warnDuplicate(line: Directive, what: string, old: number): void {
    this.#warn(line, `duplicate ${what} value: "${line.args[0]}", old value: "${this.#values[old]}"`);
  }
}

/** A network's address, in an array that the next one takes over. */
function wordsOf(cidr: Cidr): Uint32Array {
  if (cidr.family === "ipv4") {
    IPV4[0] = cidr.address;
    return IPV4;
  }
  fillWords(cidr.address);
  return IPV6;
}

/** The length of a network's prefix. */
function bitsOf({ mask }: Cidr): number {
  if (typeof mask === "number") return Math.clz32(~mask);
  let bits = 0;
  for (const byte of mask) bits += Math.min(8, Math.clz32(~byte << 24));
  return bits;
}
