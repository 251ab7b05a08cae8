import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { have } from "../support/have.ts";
import { startHoldfast } from "../support/holdfast.ts";
import { startMemcached } from "../support/memcached.ts";
import { Chance } from "../support/mutations.ts";
import { noRedis, startRedis } from "../support/redis.ts";
import { RawConnection, type Target } from "../support/tcp.ts";

/** `session_listen` beside Debian's memcached: the same commands, the same bytes. */

const SEQUENCES = 500;
const STEPS = 6;
const KEYS = ["a", "b", "cart", "n"];
/** A letter of Base64 that a memcached decodes: "a", "cart", and two bytes that are no text. */
const BINARY = ["YQ==", "Y2FydA==", "AP8="];

/** A client that knows the cas unique that it was told last for each key, under names that are the same on both sides. */
class Client {
  readonly #target: Target;
  #connection: RawConnection | undefined;
  readonly #names = new Map<string, string>();
  last = "1";

  constructor(target: Target) {
    this.#target = target;
  }

  /** Sends commands, `CAS` in which is the last cas unique, and returns what comes back, with names for cas uniques. */
  async ask(commands: string): Promise<string> {
    this.#connection ??= await RawConnection.open(this.#target);
    const connection = this.#connection;
    connection.received = "";
    connection.write(`${commands.replaceAll("CAS", this.last)}\r\nmn\r\n`);
    const answer = await connection.until((received) => received.endsWith("MN\r\n"));
    if (connection.ended) this.close();
    return answer
      .replace(/^(VALUE \S+ \d+ \d+) (\d+)/gm, (_, head, cas) => `${head} ${this.#name(cas)}`)
      .replace(/^((?:HD|VA|EX|NS|NF|EN)\b.*?) c(\d+)/gm, (_, head, cas) => `${head} c${this.#name(cas)}`);
  }

  close(): void {
    this.#connection?.close();
    this.#connection = undefined;
  }

  #name(cas: string): string {
    if (cas === "0") return cas;
    this.last = cas;
    const known = this.#names.get(cas) ?? `cas-${this.#names.size}`;
    this.#names.set(cas, known);
    return known;
  }
}

function generator(chance: Chance): () => string {
  const one = (...of: readonly string[]): string => of[chance.below(of.length)];
  const rarely = (often: string, ...seldom: readonly string[]): string =>
    chance.below(12) === 0 ? one(...seldom) : often;
  const key = (): string => rarely(one(...KEYS), "k".repeat(250), "k".repeat(251), "\xff\x01", "k\0k");
  const number = (): string =>
    one(
      "0",
      "1",
      "7",
      "12345",
      rarely("99", "-1", "+3", "x", "1x", "4294967296", "18446744073709551615", "18446744073709551616"),
    );
  const time = (): string =>
    one("0", "0", "1000", "2592000", "4000000000", rarely("500", "-1", "1", "x", "-2147483648"));
  const value = (): string =>
    one("", "1", "10", "99", "abc", "5 x", "18446744073709551615", "x".repeat(chance.below(3000)), "a\r\nb");
  const quiet = (): string => rarely("", " noreply", " noreply", " noreplyx");
  const end = (): string => rarely("\r\n", "\n");
  const block = (text: string): string => text + rarely("\r\n", "\r\n", "xx", "\n\r\n");
  const length = (text: string): string => rarely(String(text.length), String(text.length + 1), "-1", "x");
  const store = (): string => {
    const text = value();
    const head = one("set", "set", "add", "replace", "append", "prepend", "cas");
    const cas = head === "cas" ? ` ${rarely("CAS", "1", "x", "0")}` : "";
    return `${head} ${key()} ${number()} ${time()} ${length(text)}${cas}${quiet()}${end()}${block(text)}`;
  };
  const flag = (letters: string): string => {
    const letter = letters[chance.below(letters.length)];
    const token: Readonly<Record<string, () => string>> = {
      T: time,
      N: () => one("1000", "0", "30"),
      R: () => one("30", "2000", "0"),
      F: number,
      C: () => rarely("CAS", "1", "0", "x"),
      M: () => one("E", "A", "P", "R", "S", "I", "D", "+", "-", rarely("S", "x", "", "SS")),
      J: number,
      D: number,
      O: () => one("opaque", "o".repeat(31)),
    };
    return ` ${letter}${token[letter]?.() ?? ""}`;
  };
  const flags = (letters: string): string => Array.from({ length: chance.below(5) }, () => flag(letters)).join("");
  const metaKey = (): readonly [string, string] => (chance.below(5) === 0 ? [one(...BINARY, "!"), " b"] : [key(), ""]);
  const meta = (): string => {
    const [name, b] = metaKey();
    const text = value();
    switch (chance.below(4)) {
      case 0:
        // The key of an item that N makes is not shown in Base64 by memcached.
        return `mg ${name}${b}${flags(b === "" ? "vvvfsttckOqNRTu" : "vvvfsttckOqRTu")}${end()}`;
      case 1:
        return `ms ${name} ${length(text)}${b}${flags("cckCFIkOqTM")}${end()}${block(text)}`;
      case 2:
        return `md ${name}${b}${flags("CIIkOqT")}${end()}`;
      default:
        return `ma ${name}${b}${flags("vvvtcCNJDTMqOk")}${end()}`;
    }
  };
  const other = (): string =>
    one(
      "version",
      "verbosity 1",
      "verbosity",
      "get",
      "gets",
      "gat 1",
      "gat",
      "touch a",
      "incr a",
      "set a 0 0",
      "mg",
      "ms a",
      "ma",
      "md",
      "mx",
      "x",
      "",
      "nothing at all",
      "stats nothing",
      "flush_all x",
      "flush_all -1",
      "flush_all noreply",
      "delete",
      "delete a 0",
      "delete a 1",
      "delete a 0 noreply",
      "delete a 1 2 3",
      "shutdown",
      `mg a${" k".repeat(20)}`,
      `get ${"a b ".repeat(15)}`,
      "GET / HTTP/1.1",
      " get  a ",
      "mg a k k",
      "mg a !",
      "stats detail",
      "bget a",
    ) + end();
  return () => {
    switch (chance.below(10)) {
      case 0:
      case 1:
      case 2:
        return store();
      case 3:
        return `${one("get", "gets", "gets")} ${key()} ${key()}${end()}`;
      case 4:
        return `${one("gat", "gats")} ${time()} ${key()}${rarely("", ` ${key()}`)}${end()}`;
      case 5:
        return `${one(`incr ${key()} ${number()}`, `decr ${key()} ${number()}`)}${quiet()}${end()}`;
      case 6:
        return `${one(`delete ${key()}`, `touch ${key()} ${time()}`)}${quiet()}${end()}`;
      case 7:
      case 8:
        return meta();
      default:
        return other();
    }
  };
}

/** Sends the same sequences to both. `reset`: what takes all their items away. */
async function compare(
  t: TestContext,
  addresses: readonly Target[],
  { reset, sends = () => true }: { readonly reset: string; readonly sends?: (commands: string) => boolean },
  log: () => string,
): Promise<void> {
  const clients = addresses.map((address) => new Client(address));
  t.after(() => clients.map((client) => client.close()));
  for (let seed = 1; seed <= SEQUENCES; seed++) {
    const next = generator(new Chance(seed));
    for (const client of clients) await client.ask(reset);
    const before: string[] = [];
    for (let step = 0; step < STEPS; step++) {
      const commands = next();
      if (!sends(commands)) continue;
      before.push(commands);
      const [expected, actual] = await Promise.all(clients.map((client) => client.ask(commands)));
      assert.equal(actual, expected, `sequence ${seed}: ${JSON.stringify(before)}\n${log()}`);
    }
  }
}

const portOf = (address: string): number => Number(address.split(":")[1]);

test("hundreds of sequences of commands are answered as by memcached", { skip: have("memcached") }, async (t) => {
  const memcached = await startMemcached(t);
  const holdfast = await startHoldfast(t, {
    config: ([port, other]) => `user root; http { session_zone items:32m max_size=4000000;
      session_listen 127.0.0.1:${port} zone=items; server { listen 127.0.0.1:${other}; } }`,
  });
  const addresses = [portOf(memcached.address), holdfast.port];
  await compare(t, addresses, { reset: "flush_all\r\n" }, () => holdfast.errorLog());
});

test("and so they are where a group of nodes has the items", {
  skip: have("memcached") || noRedis,
}, async (t) => {
  const memcached = await startMemcached(t);
  const redis = await startRedis(t);
  const holdfast = await startHoldfast(t, {
    config: ([port, other]) => `user root; http { session_timeout 10s;
      session_zone items:32m max_size=4000000 store=redis://${redis.address};
      session_listen 127.0.0.1:${port} zone=items; server { listen 127.0.0.1:${other}; } }`,
  });
  const keys = [...KEYS, "k".repeat(250), "\xff\x01"].map((key) => `md ${key} q\r\n`);
  const reset = `${keys.join("")}${BINARY.map((key) => `md ${key} b q\r\n`).join("")}`;
  // That one is refused in a group.
  const sends = (commands: string): boolean => !commands.startsWith("flush_all");
  await compare(t, [portOf(memcached.address), holdfast.port], { reset, sends }, () => holdfast.errorLog());
});
