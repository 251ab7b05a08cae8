import { type HeadText, headText, scanned } from "../head_text.ts";
import { PLAIN_LINE } from "./field_scan.ts";
import type { FieldSet } from "./field_set.ts";
import { fieldKey, keyOf, numberOf, UNKNOWN } from "./known_fields.ts";

/** Numbers for each field: what it is, where its name and value begin, and where the value ends. */
const WORDS = 4;
const NAME = 1;
const VALUE = 2;
const VALUE_END = 3;
// Of the first: the field's number (known_fields.ts), whether its line may be passed on as it is, the length of the name.
const NUMBER = 0xff;
/** Instead of a number: the field was added, and its name is looked up when needed. */
const NOT_ASKED = 0xff;
const PLAIN = 0x100;
const LENGTH_SHIFT = 9;

/**
 * The fields of a message in the order received; reused for the next message. Fields parsed from a head are kept as
 * positions in the head's one string, and become strings when needed; those added are strings. All are byte strings
 * without CR, LF or NUL, which `append` and `set` replace.
 */
export class HeaderList {
  count = 0;
  /** Lower-case names listed in Connection: those fields are hop-by-hop as well (RFC 9110 section 7.6.1). */
  named: Set<string> | undefined = undefined;
  /** The head that positions refer to. */
  private text = "";
  /** WORDS numbers for each field. For an added one the name's position is the complement of its index in `added`. */
  private readonly words: number[] = [];
  /** Name, lower-case name and value of each field that was added, in the first `end` places. */
  private readonly added: string[] = [];
  private end = 0;

  clear(): void {
    this.count = 0;
    this.named = undefined;
    this.text = "";
    // The array is not shortened: that would free memory that is needed again.
    this.end = 0;
  }

  /** Adds the names in a Connection field; `close`, `keep-alive` and `upgrade` are not field names. */
  noteConnection(value: string): void {
    for (const option of value.toLowerCase().split(",")) {
      const key = option.trim();
      if (key === "" || key === "close" || key === "keep-alive" || key === "upgrade") continue;
      if (this.named === undefined) this.named = new Set();
      this.named.add(key);
    }
  }

  /** Whether Connection names that field. What was added here does not go by what the peer says of its own fields. */
  isNamed(at: number): boolean {
    return this.words[at * WORDS + NAME] >= 0 && this.named?.has(this.key(at)) === true;
  }

  /** Frees its memory as well, for a connection that becomes idle. */
  release(): void {
    this.clear();
    this.words.length = 0;
    this.added.length = 0;
  }

  /** Begins with the fields of a parsed head, which `read` adds one by one. The list must be empty. */
  readFrom(text: string): void {
    this.text = text;
  }

  /** Adds the field of that number at `spans[at]` (FieldScanner). */
  read(number: number, spans: Int32Array, at: number): void {
    const { words } = this;
    const to = this.count++ * WORDS;
    const start = spans[at];
    const plain = (spans[at + 5] & PLAIN_LINE) === 0 ? 0 : PLAIN;
    words[to] = number | plain | ((spans[at + 1] - start) << LENGTH_SHIFT);
    words[to + NAME] = start;
    words[to + VALUE] = spans[at + 2];
    words[to + VALUE_END] = spans[at + 3];
  }

  /** Adds a field of another list. */
  copy(from: HeaderList, at: number): void {
    const start = from.words[at * WORDS + NAME];
    if (this.text === "" && start >= 0) this.text = from.text;
    if (start < 0 || this.text !== from.text) {
      this.add(from.name(at), from.key(at), from.value(at));
      return;
    }
    const { words } = this;
    const to = this.count++ * WORDS;
    for (let word = 0; word < WORDS; word++) words[to + word] = from.words[at * WORDS + word];
  }

  /** Removes the field added last. */
  dropLast(): void {
    this.count--;
  }

  /** `key` must be `name` in lower case. */
  add(name: HeadText, key: string, value: HeadText): void {
    this.place(this.count++, name, key, value);
  }

  private place(at: number, name: HeadText, key: string, value: HeadText): void {
    const { words, added } = this;
    const to = at * WORDS;
    words[to] = NOT_ASKED;
    words[to + NAME] = ~this.end;
    words[to + VALUE] = 0;
    words[to + VALUE_END] = 0;
    added[this.end++] = name;
    added[this.end++] = key;
    added[this.end++] = value;
  }

  /** Adds a field of any text. */
  append(name: string, value: string): void {
    const safe = headText(name);
    this.add(safe, fieldKey(safe), headText(value));
  }

  /** The number of its name (known_fields.ts). */
  number(at: number): number {
    const number = this.words[at * WORDS] & NUMBER;
    return number === NOT_ASKED ? this.ask(at) : number;
  }

  private ask(at: number): number {
    const number = numberOf(this.added[~this.words[at * WORDS + NAME] + 1]);
    this.words[at * WORDS] = number;
    return number;
  }

  /** The name as received. */
  name(at: number): HeadText {
    const start = this.words[at * WORDS + NAME];
    if (start < 0) return scanned(this.added[~start]);
    return scanned(this.text.substring(start, start + (this.words[at * WORDS] >> LENGTH_SHIFT)));
  }

  /** The name in lower case; a usual one is always the same string. */
  key(at: number): string {
    const number = this.number(at);
    if (number !== UNKNOWN) return keyOf(number);
    const start = this.words[at * WORDS + NAME];
    return start < 0 ? this.added[~start + 1] : this.name(at).toLowerCase();
  }

  value(at: number): HeadText {
    const start = this.words[at * WORDS + NAME];
    if (start < 0) return scanned(this.added[~start + 2]);
    return scanned(this.text.substring(this.words[at * WORDS + VALUE], this.words[at * WORDS + VALUE_END]));
  }

  /** Whether the value is that text: no string is made of it. */
  hasValue(at: number, text: string): boolean {
    const start = this.words[at * WORDS + NAME];
    if (start < 0) return this.added[~start + 2] === text;
    const from = this.words[at * WORDS + VALUE];
    return this.words[at * WORDS + VALUE_END] - from === text.length && this.text.startsWith(text, from);
  }

  /** `Name: value`, for log messages. */
  shown(at: number): string {
    return `${this.name(at)}: ${this.value(at)}`;
  }

  /** Where the first field with this lower-case key is, at or after `from`; -1 when there is none. */
  indexOf(key: string, from = 0): number {
    const number = numberOf(key);
    if (number !== UNKNOWN) return this.find(number, from);
    const { count } = this;
    for (let at = from; at < count; at++) if (this.is(UNKNOWN, key, at)) return at;
    return -1;
  }

  /** The same by the number of a known name (known_fields.ts), which is not looked up then. */
  find(number: number, from = 0): number {
    const { count } = this;
    for (let at = from; at < count; at++) if (this.number(at) === number) return at;
    return -1;
  }

  /** The first value of a field by its lower-case name. */
  get(key: string): HeadText | undefined {
    const at = this.indexOf(key);
    return at < 0 ? undefined : this.value(at);
  }

  has(key: string): boolean {
    return this.indexOf(key) >= 0;
  }

  /** All values of a field in order. */
  getAll(key: string): HeadText[] {
    const found: HeadText[] = [];
    for (let at = this.indexOf(key); at >= 0; at = this.indexOf(key, at + 1)) found.push(this.value(at));
    return found;
  }

  /** All values in one string, `, ` (`; ` for Cookie) between them, as variables show them; undefined when there is none. */
  join(key: string, separator = key === "cookie" ? "; " : ", "): string | undefined {
    const first = this.indexOf(key);
    if (first < 0) return undefined;
    let joined: string = this.value(first);
    for (let at = this.indexOf(key, first + 1); at >= 0; at = this.indexOf(key, at + 1)) {
      joined += separator + this.value(at);
    }
    return joined;
  }

  /**
   * The lines of all fields except those in `except` and those listed in Connection. Adjacent lines of the head they
   * were parsed from are taken in one slice.
   */
  lines(except?: FieldSet): string {
    const { count, words, text, named } = this;
    let lines = "";
    let from = 0;
    let until = 0;
    for (let at = 0; at < count; at++) {
      if (except?.holds(this, at) || (named !== undefined && this.isNamed(at))) continue;
      const start = words[at * WORDS + NAME];
      const end = (words[at * WORDS] & PLAIN) === 0 ? 0 : words[at * WORDS + VALUE_END] + 2;
      if (end !== 0 && start === until) {
        until = end;
        continue;
      }
      if (until > from) lines += text.substring(from, until);
      from = end === 0 ? 0 : start;
      until = end;
      if (end === 0) lines += `${this.shown(at)}\r\n`;
    }
    return until > from ? lines + text.substring(from, until) : lines;
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
    this.place(at, safe, key, headText(value));
    this.removeFrom(key, at + 1);
  }

  /** Gives one field another value. */
  replace(at: number, value: HeadText): void {
    this.place(at, this.name(at), this.key(at), value);
  }

  /** Removes every field of that lower-case name; returns how many there were. */
  remove(key: string): number {
    return this.removeFrom(key, 0);
  }

  /** Removes every field of these names. */
  removeAll(names: FieldSet): void {
    const { count } = this;
    let kept = 0;
    for (let at = 0; at < count; at++) {
      if (names.holds(this, at)) continue;
      if (kept !== at) this.move(at, kept);
      kept++;
    }
    this.count = kept;
  }

  private removeFrom(key: string, from: number): number {
    const { count } = this;
    const number = numberOf(key);
    let kept = from;
    for (let at = from; at < count; at++) {
      if (this.is(number, key, at)) continue;
      if (kept !== at) this.move(at, kept);
      kept++;
    }
    this.count = kept;
    return count - kept;
  }

  private is(number: number, key: string, at: number): boolean {
    return this.number(at) === number && (number !== UNKNOWN || this.key(at) === key);
  }

  private move(from: number, to: number): void {
    const { words } = this;
    for (let word = 0; word < WORDS; word++) words[to * WORDS + word] = words[from * WORDS + word];
  }
}
