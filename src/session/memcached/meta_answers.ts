import type { Meta, MetaFlags } from "../../wire/memcached_server/command.ts";
import { encodedKey, keyFlag } from "../../wire/memcached_server/meta.ts";
import { endOf, type Item, secondsLeft } from "./item.ts";

/** What meta commands are answered with. */

interface MetaAnswer {
  readonly text: string;
  readonly data: Buffer | undefined;
}

/** The key and the opaque, where they are asked for; other flags by `more`. */
export function metaFlags(key: string, flags: MetaFlags, more: (letter: string) => string = nothing): string {
  let text = "";
  for (const word of flags.words) {
    const [letter] = word;
    if (letter === "O") text += ` ${word}`;
    else if (letter === "k") text += keyFlag(key, flags.binary);
    else text += more(letter);
  }
  return text;
}

function nothing(): string {
  return "";
}

/** What became of an item before it is shown. */
interface Shown {
  /** The command has made it, so that its end is that of the flag N from where this stands. */
  readonly made: boolean;
  /** The client is the one to store it anew. */
  readonly wins: boolean;
  /** Wall-clock ms. */
  readonly now: number;
}

/** The end of an item while the flags are gone through: T and N count for those behind them. */
function endAfter(letter: string, before: number, flags: MetaFlags, { made, now }: Shown): number {
  if (letter === "T") return endOf(flags.exptime ?? 0, now);
  return letter === "N" && made ? endOf(flags.vivify ?? 0, now) : before;
}

/** `item`: as it was found, or made. */
export function metaGetAnswer({ key, flags }: Meta, item: Item | undefined, shown: Shown): MetaAnswer {
  if (item === undefined) return { text: flags.quiet ? "" : `EN${metaFlags(key, flags)}`, data: undefined };
  const { now, made, wins } = shown;
  const named = flags.binary === item.binary ? flags : { ...flags, binary: true };
  let expires = made ? 0 : item.expires;
  let text = flags.value ? `VA ${item.data.length}` : "HD";
  text += metaFlags(key, named, (letter) => {
    expires = endAfter(letter, expires, flags, shown);
    switch (letter) {
      case "s":
        return ` s${item.data.length}`;
      case "t":
        return ` t${secondsLeft({ ...item, expires }, now)}`;
      case "c":
        return ` c${item.cas}`;
      case "f":
        return ` f${item.flags}`;
      case "l":
        return ` l${Math.max(0, Math.floor((now - item.stored) / 1000))}`;
      case "h":
        return " h0";
      default:
        return "";
    }
  });
  if (item.won) text += " Z";
  if (item.stale) text += " X";
  if (wins) text += " W";
  return { text, data: flags.value ? item.data : undefined };
}

const CODES = { STORED: "HD", NOT_STORED: "NS", EXISTS: "EX", NOT_FOUND: "NF" } as const;

/** `cas`: of what was stored, else 0. */
export function metaStoreAnswer(key: string, flags: MetaFlags, outcome: keyof typeof CODES, cas: number): MetaAnswer {
  if (flags.quiet && outcome === "STORED") return { text: "", data: undefined };
  const tail = metaFlags(key, flags, (letter) => (letter === "c" ? ` c${cas}` : ""));
  return { text: CODES[outcome] + tail, data: undefined };
}

/** `item`: with its new value. */
export function metaArithmeticAnswer({ key, flags }: Meta, item: Item, value: string, shown: Shown): MetaAnswer {
  let { expires } = item;
  const tail = metaFlags(key, flags, (letter) => {
    expires = endAfter(letter, expires, flags, shown);
    switch (letter) {
      case "c":
        return ` c${item.cas}`;
      case "t":
        return ` t${secondsLeft({ ...item, expires }, shown.now)}`;
      default:
        return "";
    }
  });
  if (!flags.value) return { text: `HD${tail}`, data: undefined };
  return { text: `VA ${value.length}${tail}`, data: Buffer.from(value, "latin1") };
}

/** process_meta_command */
export function debugAnswer({ key, flags }: Meta, item: Item | undefined, now: number): MetaAnswer {
  if (item === undefined) return { text: "EN", data: undefined };
  const shown = flags.binary || item.binary ? encodedKey(key) : key;
  const age = Math.max(0, Math.floor((now - item.stored) / 1000));
  const size = key.length + item.data.length;
  const text = `ME ${shown} exp=${secondsLeft(item, now)} la=${age} cas=${item.cas} fetch=no cls=1 size=${size}`;
  return { text, data: undefined };
}
