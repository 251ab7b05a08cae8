import { type HeadText, headText } from "../head_text.ts";
import { fieldKey } from "./known_fields.ts";

/**
 * The fields of a message in the order received, flat and reused from message to message. Only the first `count`
 * elements of the three arrays count: what lies behind them is left from an earlier message. All are byte strings, and
 * none holds what would end a line: `append` and `set` take any text and see to it.
 */
export class HeaderList {
  count = 0;
  /** Names as received. */
  readonly names: HeadText[] = [];
  /** Names in lower case; usual names are always the same string. */
  readonly keys: string[] = [];
  readonly values: HeadText[] = [];
  /** Keys of the fields that Connection names: they too go no further than this hop (RFC 9110 section 7.6.1). */
  named: Set<string> | undefined = undefined;

  clear(): void {
    this.count = 0;
    this.named = undefined;
  }

  /** Takes note of what a Connection field names besides what a connection is told by it. */
  noteConnection(value: string): void {
    for (const option of value.toLowerCase().split(",")) {
      const key = option.trim();
      if (key === "" || key === "close" || key === "keep-alive" || key === "upgrade") continue;
      if (this.named === undefined) this.named = new Set();
      this.named.add(key);
    }
  }

  /** Drops the strings too: for a connection that goes idle. */
  release(): void {
    this.clear();
    this.names.length = 0;
    this.keys.length = 0;
    this.values.length = 0;
  }

  /** `key` must be `name` in lower case. */
  add(name: HeadText, key: string, value: HeadText): void {
    const at = this.count++;
    this.names[at] = name;
    this.keys[at] = key;
    this.values[at] = value;
  }

  /** Adds a field of any text. */
  append(name: string, value: string): void {
    const safe = headText(name);
    this.add(safe, fieldKey(safe), headText(value));
  }

  /** Where the first field with this lower-case key is, at or after `from`; -1 when there is none. */
  indexOf(key: string, from = 0): number {
    const keys = this.keys;
    const count = this.count;
    for (let i = from; i < count; i++) if (keys[i] === key) return i;
    return -1;
  }

  /** The first value of a field by its lower-case name. */
  get(key: string): HeadText | undefined {
    const at = this.indexOf(key);
    return at < 0 ? undefined : this.values[at];
  }

  has(key: string): boolean {
    return this.indexOf(key) >= 0;
  }

  /** All values of a field in order. */
  getAll(key: string): HeadText[] {
    const found: HeadText[] = [];
    for (let at = this.indexOf(key); at >= 0; at = this.indexOf(key, at + 1)) found.push(this.values[at]);
    return found;
  }

  /** All values in one string, `, ` (`; ` for Cookie) between them, as variables show them; undefined when there is none. */
  join(key: string, separator = key === "cookie" ? "; " : ", "): string | undefined {
    const first = this.indexOf(key);
    if (first < 0) return undefined;
    let joined: string = this.values[first];
    for (let at = this.indexOf(key, first + 1); at >= 0; at = this.indexOf(key, at + 1)) {
      joined += separator + this.values[at];
    }
    return joined;
  }

  /** Replaces the first field of that name and removes the others, or adds it. */
  set(name: string, value: string): void {
    const safe = headText(name);
    const key = fieldKey(safe);
    const at = this.indexOf(key);
    if (at < 0) {
      this.add(safe, key, headText(value));
      return;
    }
    this.names[at] = safe;
    this.values[at] = headText(value);
    this.removeFrom(key, at + 1);
  }

  /** Removes every field of that lower-case name; returns how many there were. */
  remove(key: string): number {
    return this.removeFrom(key, 0);
  }

  /** Removes one field by its place. */
  removeAt(at: number): void {
    const last = --this.count;
    for (let i = at; i < last; i++) this.move(i + 1, i);
  }

  private removeFrom(key: string, from: number): number {
    const count = this.count;
    let kept = from;
    for (let i = from; i < count; i++) {
      if (this.keys[i] === key) continue;
      if (kept !== i) this.move(i, kept);
      kept++;
    }
    this.count = kept;
    return count - kept;
  }

  private move(from: number, to: number): void {
    this.names[to] = this.names[from];
    this.keys[to] = this.keys[from];
    this.values[to] = this.values[from];
  }
}
