/** Hosts of network namespaces: real machines as far as the network goes, on a switch of their own. */
import { type ChildProcess, type SpawnOptions, type SpawnSyncReturns, spawn, spawnSync } from "node:child_process";
import type { TestContext } from "node:test";
import { have } from "./have.ts";
import { LINE } from "./host_line.ts";
import { titleOf } from "./processes.ts";
import { waitFor } from "./wait.ts";

const PATH = `${process.env.PATH ?? ""}:/usr/sbin:/sbin:/usr/local/sbin`;
const ENV = { ...process.env, PATH };
/** All hosts are here. Nothing leads out of it. */
const NETWORK = "10.77.0.";
const BITS = 24;

/**
 * Why there can be no hosts, as the `skip` option of a test: they need root with CAP_SYS_ADMIN and CAP_NET_ADMIN
 * (`docker run --cap-add SYS_ADMIN --cap-add NET_ADMIN`). Under CI=true that throws.
 */
export function haveHosts(): false | string {
  for (const program of ["ip", "tc", "unshare", "nsenter"]) {
    const missing = have(program);
    if (missing !== false) return missing;
  }
  const made = spawnSync("unshare", ["-n", "ip", "link", "add", "br0", "type", "bridge"], { env: ENV });
  if (made.status === 0) return false;
  const said = made.stderr?.toString().trim() ?? "";
  const reason = `no network namespace can be made here: that needs root with CAP_SYS_ADMIN and CAP_NET_ADMIN (${said})`;
  if (process.env.CI === "true") throw new Error(reason);
  return reason;
}

/** A process that does nothing but keep a network namespace, until it is killed. */
async function holdNamespace(t: TestContext): Promise<number> {
  const child = spawn("unshare", ["-n", "sleep", "infinity"], { env: ENV, stdio: "ignore" });
  const { pid } = child;
  if (pid === undefined) throw new Error("unshare could not be started");
  t.after(() => child.kill("SIGKILL"));
  await waitFor(() => titleOf(pid).startsWith("sleep"), "a namespace");
  return pid;
}

function enter(holder: number): string[] {
  return ["nsenter", `--net=/proc/${holder}/ns/net`, "--"];
}

function run(words: readonly string[]): string {
  const [program, ...args] = words;
  const { status, stdout, stderr, error } = spawnSync(program, args, { env: ENV }) as SpawnSyncReturns<Buffer>;
  if (status !== 0) throw new Error(`${words.join(" ")}: ${error?.message ?? stderr.toString()}`);
  return stdout.toString();
}

export class Host {
  readonly name: string;
  readonly address: string;
  /** What stands before a command that is to run there. */
  readonly enter: readonly string[];
  /** The same for the switch, and the name of the host's port there. */
  readonly #switch: readonly string[];
  readonly #port: string;
  #losing = false;
  #line: ChildProcess | undefined;
  readonly #t: TestContext;

  constructor(t: TestContext, name: string, address: string, holder: number, middle: number) {
    this.#t = t;
    this.name = name;
    this.address = address;
    this.enter = enter(holder);
    this.#switch = enter(middle);
    this.#port = `to-${name}`;
    const link = `link add ${this.#port} type veth peer name eth0 netns ${holder}`;
    this.#atSwitch(link);
    this.#atSwitch(`link set ${this.#port} master br0 up`);
    this.run("ip link set lo up");
    this.run(`ip addr add ${address}/${BITS} dev eth0`);
    this.run("ip link set eth0 up");
  }

  #atSwitch(words: string): string {
    return run([...this.#switch, "ip", ...words.split(" ")]);
  }

  /** A command to its end. */
  run(words: string): string {
    return run([...this.enter, ...words.split(" ")]);
  }

  /** A process there, killed at the end of the test. */
  spawn(words: readonly string[], options: SpawnOptions = {}): ChildProcess {
    const [program, ...args] = [...this.enter, ...words];
    const child = spawn(program, args, { env: ENV, ...options });
    this.#t.after(() => child.kill("SIGKILL"));
    return child;
  }

  /** Whether it has that address. */
  has(address: string): boolean {
    return this.run("ip -o addr show dev eth0").includes(` ${address}/`);
  }

  /** Pulls its cable out of the switch, and plugs it in again: both ends see it. */
  unplug(): void {
    this.#atSwitch(`link set ${this.#port} down`);
  }

  plugIn(): void {
    this.#atSwitch(`link set ${this.#port} up`);
  }

  /**
   * Loses frames that go in or out. `share`: of all; `from`: only what comes from those hosts; `protocol`: only what is of that one
   * over IPv4. Neither end sees it.
   */
  lose(
    direction: "in" | "out",
    { share = 1, from = [], protocol }: { share?: number; from?: readonly Host[]; protocol?: number } = {},
  ): void {
    if (!this.#losing) this.run("tc qdisc add dev eth0 clsact");
    this.#losing = true;
    const program = protocol !== undefined ? ofProtocol(protocol) : from.length > 0 ? fromThese(from) : anyOf(share);
    const way = direction === "in" ? "ingress" : "egress";
    run([...this.enter, "tc", ..."filter add dev eth0".split(" "), way, "bpf", "da", "bytecode", bytecode(program)]);
  }

  /** Delays what it sends by so many ms, and loses that share both ways. It has to have a slow line. */
  spoil(ms: number, share: number): void {
    if (this.#line === undefined) throw new Error(`${this.name} has no slow line`);
    this.#line.stdin?.write(`${ms} ${share}\n`);
  }

  /** Puts a program between its cable and the switch. */
  async slow(holder: number): Promise<void> {
    const line = enter(holder);
    const atLine = (words: string): string => run([...line, "ip", ...words.split(" ")]);
    // The end of the cable that was at the switch goes to the line, which has a cable of its own.
    this.#atSwitch(`link set ${this.#port} nomaster netns ${holder}`);
    atLine(`link set ${this.#port} name far`);
    this.#atSwitch(`link add ${this.#port} type veth peer name near netns ${holder}`);
    this.#atSwitch(`link set ${this.#port} master br0 up`);
    for (const end of ["near", "far"]) atLine(`link set dev ${end} up`);
    const [program, ...args] = [...line, "python3", "-c", LINE];
    const child = spawn(program, args, { env: ENV, stdio: ["pipe", "pipe", "inherit"] });
    this.#t.after(() => child.kill("SIGKILL"));
    await new Promise((resolve) => child.stdout?.once("data", resolve));
    this.#line = child;
  }

  /** Loses and delays nothing any more. */
  heal(): void {
    this.#line?.stdin?.write("0 0\n");
    if (this.#losing) this.run("tc qdisc del dev eth0 clsact");
    this.#losing = false;
  }
}

/** An instruction of the classic BPF: code, jumps where true and where false, operand. */
type Instruction = readonly [code: number, yes: number, no: number, operand: number];

const LOAD_BYTE = 0x30;
const LOAD_HALF = 0x28;
const LOAD_WORD = 0x20;
const IF_EQUAL = 0x15;
const IF_AT_LEAST = 0x35;
const RETURN = 0x06;
/** SKF_AD_OFF + SKF_AD_RANDOM */
const RANDOM = 0xfffff038;
const PASS: Instruction = [RETURN, 0, 0, 0];
/** TC_ACT_SHOT */
const DROP: Instruction = [RETURN, 0, 0, 2];
/** Where frames have their type, and packets their protocol and their source. */
const TYPE_AT = 12;
const PROTOCOL_AT = 23;
const SOURCE_AT = 26;
const IPV4 = 0x0800;

function anyOf(share: number): Instruction[] {
  if (share >= 1) return [DROP];
  return [[LOAD_WORD, 0, 0, RANDOM], [IF_AT_LEAST, 0, 1, Math.round(share * 2 ** 32)], PASS, DROP];
}

function ofProtocol(protocol: number): Instruction[] {
  return [
    [LOAD_HALF, 0, 0, TYPE_AT],
    [IF_EQUAL, 0, 2, IPV4],
    [LOAD_BYTE, 0, 0, PROTOCOL_AT],
    [IF_EQUAL, 1, 0, protocol],
    PASS,
    DROP,
  ];
}

function fromThese(hosts: readonly Host[]): Instruction[] {
  const tests = hosts.map(({ address }, i): Instruction => {
    const number = address.split(".").reduce((all, byte) => all * 256 + Number(byte), 0);
    return [IF_EQUAL, hosts.length - i, 0, number];
  });
  return [
    [LOAD_HALF, 0, 0, TYPE_AT],
    [IF_EQUAL, 0, hosts.length + 1, IPV4],
    [LOAD_WORD, 0, 0, SOURCE_AT],
    ...tests,
    PASS,
    DROP,
  ];
}

function bytecode(program: readonly Instruction[]): string {
  return [program.length, ...program.map((instruction) => instruction.join(" "))].join(",");
}

/** Starts hosts of these names on one switch; those in `slow` have a line that can be spoilt. All is gone at the end of the test. */
export async function startHosts<const N extends string>(
  t: TestContext,
  names: readonly N[],
  slow: readonly N[] = [],
): Promise<Readonly<Record<N, Host>>> {
  const middle = await holdNamespace(t);
  run([...enter(middle), "ip", "link", "add", "br0", "type", "bridge"]);
  run([...enter(middle), "ip", "link", "set", "br0", "up"]);
  const hosts: Partial<Record<N, Host>> = {};
  for (const [number, name] of names.entries()) {
    const host = new Host(t, name, `${NETWORK}${number + 1}`, await holdNamespace(t), middle);
    if (slow.includes(name)) await host.slow(await holdNamespace(t));
    hosts[name] = host;
  }
  return hosts as Record<N, Host>;
}
