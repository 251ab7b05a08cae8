import { FIELD_NUMBERS, numberOf, UNKNOWN } from "./known_fields.ts";

/** What it needs of a HeaderList: the number of a field's name, and the name in lower case. */
interface NamedFields {
  number(at: number): number;
  key(at: number): string;
}

/** A set of field names, made when the configuration is built. Known names are looked up by number. */
export class FieldSet {
  private readonly known = new Uint8Array(FIELD_NUMBERS);
  private readonly others: ReadonlySet<string>;

  /** `keys` are lower-case. */
  constructor(keys: Iterable<string>) {
    const others = new Set<string>();
    for (const key of keys) {
      const number = numberOf(key);
      if (number === UNKNOWN) others.add(key);
      else this.known[number] = 1;
    }
    this.others = others;
  }

  /** Whether a list's field has one of the names. */
  holds(fields: NamedFields, at: number): boolean {
    const number = fields.number(at);
    if (number !== UNKNOWN) return this.known[number] !== 0;
    return this.others.size > 0 && this.others.has(fields.key(at));
  }
}
