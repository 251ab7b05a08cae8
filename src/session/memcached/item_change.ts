import type { Arithmetic, Command, Delete, Meta, Refused, Store, Touch } from "../../wire/memcached_server/command.ts";
import { parseUint64 } from "../../wire/memcached_server/number.ts";
import { endOf, type Item, isLiving } from "./item.ts";
import { debugAnswer, metaArithmeticAnswer, metaFlags, metaGetAnswer, metaStoreAnswer } from "./meta_answers.ts";

/** What is done to an item, and what the client is told: the rules of memcached (do_store_item, do_add_delta …). */

export type ItemCommand = Store | Refused | Delete | Touch | GetAndTouch | Look | Arithmetic | Meta;

/** One key of get or gets. */
export interface Look {
  readonly kind: "look";
  readonly key: string;
  readonly withCas: boolean;
}

/** One key of gat or gats. */
export interface GetAndTouch {
  readonly kind: "gat";
  readonly key: string;
  readonly withCas: boolean;
  readonly exptime: number;
}

/** What is sent: a line without its end, "" for nothing, and a value behind it. */
export interface Answer {
  readonly text: string;
  readonly data: Buffer | undefined;
}

/** What is written of it, and what is counted. */
export interface Changed {
  readonly answer: Answer;
  /** "keep" it as it is, "remove" it, or this in its place. */
  readonly own: Item | "keep" | "remove";
  readonly result: Result;
}

/** For the statistics: there was an item (or it was stored), there was none, or it was another than the client thought. */
export type Result = "hit" | "miss" | "conflict";

export interface Circumstances {
  /** Wall-clock ms. */
  readonly now: number;
  /** The cas unique of an item that is written. */
  readonly cas: number;
  /** How long a value may be. */
  readonly mostData: number;
}

type Outcome = "STORED" | "NOT_STORED" | "EXISTS" | "NOT_FOUND";

const NON_NUMERIC = "CLIENT_ERROR cannot increment or decrement non-numeric value";

/** Whether a command may change an item. */
export function mayChange(command: Command): command is Exclude<ItemCommand, GetAndTouch | Look> {
  switch (command.kind) {
    case "mg": {
      const { vivify, exptime, recache } = command.flags;
      return vivify !== undefined || exptime !== undefined || recache !== undefined;
    }
    case "store":
    case "delete":
    case "touch":
    case "arithmetic":
    case "md":
    case "ma":
      return true;
    case "refused":
      return command.key !== undefined;
    default:
      return false;
  }
}

/** `current`: undefined where there is none. */
export function applyCommand(command: ItemCommand, current: Item | undefined, at: Circumstances): Changed {
  switch (command.kind) {
    case "store":
      return applyStore(command, current, at);
    case "refused":
      return done(command.text, false, current === undefined ? "keep" : "remove", "miss");
    case "delete":
      if (current === undefined) return done("NOT_FOUND", command.quiet, "keep", "miss");
      return done("DELETED", command.quiet, "remove", "hit");
    case "touch":
      if (current === undefined) return done("NOT_FOUND", command.quiet, "keep", "miss");
      return done("TOUCHED", command.quiet, ending(current, command.exptime, at), "hit");
    case "look":
      if (current === undefined) return done("", false, "keep", "miss");
      return { answer: valueAnswer(command.key, current, command.withCas), own: "keep", result: "hit" };
    case "gat": {
      if (current === undefined) return done("", false, "keep", "miss");
      const answer = valueAnswer(command.key, current, command.withCas);
      return { answer, own: ending(current, command.exptime, at), result: "hit" };
    }
    case "arithmetic":
      return applyArithmetic(command, current, at);
    case "mg":
      return applyMetaGet(command, current, at);
    case "md":
      return applyMetaDelete(command, current, at);
    case "ma":
      return applyMetaArithmetic(command, current, at);
    case "me":
      return {
        answer: debugAnswer(command, current, at.now),
        own: "keep",
        result: current === undefined ? "miss" : "hit",
      };
  }
}

function done(text: string, quiet: boolean, own: Changed["own"], result: Result): Changed {
  return { answer: { text: quiet ? "" : text, data: undefined }, own, result };
}

/** An item as get, gets, gat and gats show it. */
export function valueAnswer(key: string, { flags, data, cas }: Item, withCas: boolean): Answer {
  return { text: `VALUE ${key} ${flags} ${data.length}${withCas ? ` ${cas}` : ""}`, data };
}

/** With another end; removed where that has passed. */
function ending(item: Item, exptime: number, { now }: Circumstances): Item | "remove" {
  return living({ ...item, expires: endOf(exptime, now) }, now);
}

function living(item: Item, now: number): Item | "remove" {
  return isLiving(item, now) ? item : "remove";
}

function applyStore(command: Store, current: Item | undefined, at: Circumstances): Changed {
  const { outcome, item } = store(command, current, at);
  const own = item === undefined ? "keep" : living(item, at.now);
  const written = own === "remove" && current === undefined ? "keep" : own;
  const result = outcome === "STORED" ? "hit" : outcome === "EXISTS" ? "conflict" : "miss";
  if (command.meta === undefined) return done(outcome, command.quiet, written, result);
  return { answer: metaStoreAnswer(command.key, command.meta, outcome, item?.cas ?? 0), own: written, result };
}

/** do_store_item */
function store(command: Store, current: Item | undefined, { now, cas, mostData }: Circumstances): StoreResult {
  const { mode, meta, flags } = command;
  const fresh: Item = {
    flags,
    expires: endOf(command.exptime, now),
    stored: now,
    cas,
    stale: false,
    won: false,
    binary: meta?.binary === true,
    data: command.data,
  };
  if (current === undefined) {
    if (mode === "set" || mode === "add") return { outcome: "STORED", item: fresh };
    return { outcome: mode === "cas" ? "NOT_FOUND" : "NOT_STORED", item: undefined };
  }
  switch (mode) {
    case "add":
      return { outcome: "NOT_STORED", item: undefined };
    case "cas":
      if (command.cas === current.cas) return { outcome: "STORED", item: fresh };
      if (command.cas === 0 || meta?.invalidate !== true || command.cas > current.cas) {
        return { outcome: "EXISTS", item: undefined };
      }
      return {
        outcome: "STORED",
        item: { ...fresh, expires: current.expires, stale: true, won: current.won },
      };
    case "append":
    case "prepend": {
      if (command.cas !== 0 && command.cas !== current.cas) return { outcome: "EXISTS", item: undefined };
      if (current.data.length + command.data.length > mostData) return { outcome: "NOT_STORED", item: undefined };
      const parts = mode === "append" ? [current.data, command.data] : [command.data, current.data];
      const { flags: kept, expires } = current;
      return { outcome: "STORED", item: { ...fresh, flags: kept, expires, data: Buffer.concat(parts) } };
    }
    default:
      return { outcome: "STORED", item: fresh };
  }
}

interface StoreResult {
  readonly outcome: Outcome;
  /** What is written. */
  readonly item: Item | undefined;
}

function applyArithmetic(command: Arithmetic, current: Item | undefined, at: Circumstances): Changed {
  const { quiet, increment, delta } = command;
  if (current === undefined) return done("NOT_FOUND", quiet, "keep", "miss");
  const value = changedNumber(current.data, increment, delta);
  if (value === undefined) return done(NON_NUMERIC, quiet, "keep", "conflict");
  return done(value, quiet, withNumber(current, value, at), "hit");
}

/** The number that a value is, increased or decreased: more than 64 bits wrap, and less than 0 is 0. */
function changedNumber(data: Buffer, increment: boolean, delta: bigint): string | undefined {
  // More digits are no number of 64 bits; spaces may follow.
  const value = data.length === 0 ? undefined : parseUint64(data.latin1Slice(0, Math.min(data.length, MOST_NUMBER)));
  if (value === undefined) return undefined;
  if (increment) return BigInt.asUintN(64, value + delta).toString();
  return (delta > value ? 0n : value - delta).toString();
}

const MOST_NUMBER = 1024;

/** A shorter number is filled with spaces, as memcached does where it writes it in its place. */
function withNumber(item: Item, value: string, { now, cas }: Circumstances): Item {
  return { ...item, cas, stored: now, data: Buffer.from(value.padEnd(item.data.length), "latin1") };
}

/** process_mget_command */
function applyMetaGet(command: Extract<ItemCommand, Meta>, current: Item | undefined, at: Circumstances): Changed {
  const { flags } = command;
  let item = current;
  let own: Changed["own"] = "keep";
  let wins = false;
  if (item === undefined && flags.vivify !== undefined) {
    const { now, cas } = at;
    item = { ...EMPTY, expires: endOf(flags.vivify, now), stored: now, cas, binary: flags.binary };
    own = item;
    wins = true;
  } else if (item !== undefined && flags.recache !== undefined && !item.won && item.expires !== 0) {
    wins = item.expires < endOf(flags.recache, at.now);
  }
  if (item === undefined)
    return {
      answer: metaGetAnswer(command, undefined, { made: false, wins: false, now: at.now }),
      own: "keep",
      result: "miss",
    };
  if (item.stale && !item.won) wins = true;
  const answer = metaGetAnswer(command, item, { made: current === undefined, wins, now: at.now });
  if (wins) {
    item = { ...item, won: true };
    own = item;
  }
  if (flags.exptime !== undefined) own = ending(item, flags.exptime, at);
  if (own !== "keep" && own !== "remove") own = living(own, at.now);
  return {
    answer,
    own: own === "remove" && current === undefined ? "keep" : own,
    result: current === undefined ? "miss" : "hit",
  };
}

const EMPTY: Item = {
  flags: 0,
  expires: 0,
  stored: 0,
  cas: 0,
  stale: false,
  won: false,
  binary: false,
  data: Buffer.alloc(0),
};

/** process_mdelete_command */
function applyMetaDelete({ key, flags }: Meta, current: Item | undefined, at: Circumstances): Changed {
  const tail = metaFlags(key, flags);
  if (current === undefined) return done(`NF${tail}`, false, "keep", "miss");
  if (flags.cas !== undefined && flags.cas !== current.cas) return done(`EX${tail}`, false, "keep", "conflict");
  if (!flags.invalidate) return done(`HD${tail}`, flags.quiet, "remove", "hit");
  const stale = { ...current, cas: at.cas, stale: true, won: false };
  const own = flags.exptime === undefined ? stale : ending(stale, flags.exptime, at);
  return done(`HD${tail}`, flags.quiet, own, "hit");
}

/** process_marithmetic_command */
function applyMetaArithmetic(command: Meta, current: Item | undefined, at: Circumstances): Changed {
  const { key, flags } = command;
  const { now, cas } = at;
  if (current === undefined && flags.vivify === undefined) {
    return done(`NF${metaFlags(key, flags)}`, false, "keep", "miss");
  }
  let item: Item;
  let value: string;
  if (current === undefined) {
    value = flags.initial.toString();
    item = { ...EMPTY, stored: now, cas, binary: flags.binary, data: Buffer.from(value, "latin1") };
  } else {
    const compares = flags.cas !== undefined && flags.cas !== 0;
    if (current.data.length > 0 && compares && flags.cas !== current.cas) {
      return done(`EX${metaFlags(key, flags)}`, false, "keep", "conflict");
    }
    const changed = changedNumber(current.data, flags.mode !== "D" && flags.mode !== "-", flags.delta);
    if (changed === undefined) return done(NON_NUMERIC, false, "keep", "conflict");
    value = changed;
    item = withNumber(current, value, at);
  }
  const answer = metaArithmeticAnswer(command, item, value, { made: current === undefined, wins: false, now });
  const time = flags.exptime ?? (current === undefined ? flags.vivify : undefined);
  const own = time === undefined ? item : ending(item, time, at);
  const silent = flags.quiet && current !== undefined;
  return {
    answer: silent ? { text: "", data: undefined } : answer,
    own: own === "remove" && current === undefined ? "keep" : own,
    result: current === undefined ? "miss" : "hit",
  };
}
