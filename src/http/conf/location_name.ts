/** The arguments of a `location` directive. */
export interface LocationName {
  readonly kind: "prefix" | "exact" | "regex" | "named";
  /** Without the modifier; a named location keeps its `@`. */
  readonly name: string;
  /** `^~`: when this prefix is the longest, regular expressions are not tried. */
  readonly noRegex: boolean;
  /** `~*` */
  readonly caseless: boolean;
}

/** Reads the arguments of `location`, one or two. An invalid modifier is an error in nginx's words. */
export function parseLocationName(args: readonly string[]): LocationName | { readonly error: string } {
  if (args.length === 2) {
    const [modifier, name] = args;
    switch (modifier) {
      case "=":
        return { kind: "exact", name, noRegex: false, caseless: false };
      case "^~":
        return { kind: "prefix", name, noRegex: true, caseless: false };
      case "~":
        return { kind: "regex", name, noRegex: false, caseless: false };
      case "~*":
        return { kind: "regex", name, noRegex: false, caseless: true };
      default:
        return { error: `invalid location modifier "${modifier}"` };
    }
  }
  const name = args[0];
  if (name.startsWith("=")) return { kind: "exact", name: name.slice(1), noRegex: false, caseless: false };
  if (name.startsWith("^~")) return { kind: "prefix", name: name.slice(2), noRegex: true, caseless: false };
  if (name.startsWith("~*")) return { kind: "regex", name: name.slice(2), noRegex: false, caseless: true };
  if (name.startsWith("~")) return { kind: "regex", name: name.slice(1), noRegex: false, caseless: false };
  return { kind: name.startsWith("@") ? "named" : "prefix", name, noRegex: false, caseless: false };
}

/** nginx's sentence if a location may not be inside another. `outer` is undefined at the server level. */
export function nestingError(inner: LocationName, outer: LocationName | undefined): string | undefined {
  if (outer === undefined) return undefined;
  if (outer.kind === "exact") {
    return `location "${inner.name}" cannot be inside the exact location "${outer.name}"`;
  }
  if (outer.kind === "named") {
    return `location "${inner.name}" cannot be inside the named location "${outer.name}"`;
  }
  if (inner.kind === "named") return `named location "${inner.name}" can be on the server level only`;
  // nginx compares with the outer name whatever its kind: a prefix inside a regex must begin with the regex's text.
  if (inner.kind !== "regex" && !inner.name.startsWith(outer.name)) {
    return `location "${inner.name}" is outside location "${outer.name}"`;
  }
  return undefined;
}
