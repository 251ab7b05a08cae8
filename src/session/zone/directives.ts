import { directive, enumeration, msec } from "../../config/directives.ts";
import { type DirectiveSpec, fail } from "../../config/schema.ts";
import type { Directive } from "../../config/types.ts";
import { parseSec, parseSize } from "../../config/values.ts";
import { HTTP_LOCATION } from "../../http/conf/contexts.ts";
import { readRedisParameter } from "../../redis/definition.ts";
import type { Durability, GroupSettings, ZoneSettings } from "./session_zone.ts";

/** `session ZONE …` */
export interface SessionUse {
  /** undefined: off. */
  readonly zone: string | undefined;
  /** The cookie's name. */
  readonly cookie: string;
  /** What follows its value. */
  readonly attributes: string;
  /** Bytes of the session's data that a request carries; larger data are to be asked for. */
  readonly inline: number;
  readonly at: Directive | undefined;
}

const DEFAULT_TIMEOUT = 30 * 60;
const DEFAULT_MAX_SIZE = 64 * 1024;
const DEFAULT_INLINE = 4 * 1024;
/** More would not fit in a line of most servers' heads. */
const MOST_INLINE = 48 * 1024;
const LEAST_SIZE = 1024 * 1024;
/** A token of RFC 6265bis. */
const COOKIE_NAME = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;

const sessionZone: DirectiveSpec<readonly ZoneSettings[]> = directive<readonly ZoneSettings[]>({
  in: ["http"],
  args: [1, Number.POSITIVE_INFINITY],
  repeat: true,
  syntax:
    "name:size [timeout=time] [path=directory] [max_size=size] [keys=file] [store=url [password_file=file] [ca=file] [verify=on|off] [prefix=text] [queue=size]]",
  doc: "Defines a zone of sessions that all workers share and that outlives them: up to `size` bytes, each session for `timeout` (30m) after its last use, with up to `max_size` (64k) of data. They are kept in LMDB in the directory `path` (`name.mdb` under the prefix). Cookies are signed with the first line of the file `keys` and recognised by all its lines; without it with a key that is made once and kept beside the sessions. With `store` a group of nodes shares the zone through Redis or Valkey at `redis[s]://[[user]:password@]host[:port][/database]`, `redis[s]+sentinel://host[:port],…/master[/database]` or `redis[s]+cluster://host[:port],…`, and what is at `path` is the node's copy: requests go on from it while the store is away, and changes wait there for it, up to `queue` (`size`). `password_file` has the password in its first line, `ca` the authorities that the store's certificate is checked against unless `verify` is off; all keys begin with `prefix` (`holdfast:name:`).",
  initial: () => [],
  read(at, _scope, previous = []) {
    const zone = readZone(at);
    if (previous.some(({ name }) => name === zone.name)) fail(at, `duplicate session zone "${zone.name}"`);
    return [...previous, zone];
  },
});

const session: DirectiveSpec<SessionUse | undefined> = directive<SessionUse | undefined>({
  in: HTTP_LOCATION,
  args: [1, Number.POSITIVE_INFINITY],
  syntax:
    "off | zone [cookie=name] [domain=domain] [path=path] [expires=time] [secure] [httponly] [samesite=strict|lax|none] [data=size]",
  doc: "Gives requests a session of a zone. Its id comes in the signed cookie `cookie` (HFSESSION); who has none gets a new one. The server is sent `X-Session-Id`, `X-Session-Version` and, where they take no more than `data` (4k), `X-Session-Data`: the session's data in Base64. With the fields `X-Session-Set` (a JSON merge patch in Base64), `X-Session-Delete` and `X-Session-Renew` of its response it changes them.",
  initial: () => undefined,
  defaultText: "off",
  read: (at) => readUse(at),
});

const durability: DirectiveSpec<Durability> = enumeration({
  in: ["http"],
  values: ["memory", "async", "sync"],
  default: "async",
  doc: "When a response is sent that confirms a change of a session. `async`: when the kernel has the change, so that it outlives every process of Holdfast; a power failure may take the changes of the last half minute. `sync`: when the disk has it. `memory`: the zones are in memory (`/dev/shm`), which outlives Holdfast but not the system.",
});

const timeout: DirectiveSpec<number> = msec({
  in: ["http"],
  default: 50,
  doc: "How long a request waits for the store of a group (`store` of `session_zone`). Without an answer it goes on from the node's copy.",
});

export const sessionDirectives = {
  session_zone: sessionZone,
  session,
  session_durability: durability,
  session_timeout: timeout,
};

/** Splits `name=value`; a word without `=` has no value. */
function* parametersOf(
  words: readonly string[],
): Generator<readonly [name: string, value: string | undefined, word: string]> {
  for (const word of words) {
    const equals = word.indexOf("=");
    yield equals < 0 ? [word, undefined, word] : [word.slice(0, equals), word.slice(equals + 1), word];
  }
}

function readZone(at: Directive): ZoneSettings {
  const [first, ...words] = at.args;
  const [, name, sizeText] =
    /^([\w-]+):(.+)$/s.exec(first) ?? fail(at, `invalid session zone "${first}", it must be name:size`);
  const size = parseSize(sizeText) ?? fail(at, `invalid size of session zone "${first}"`);
  if (size < LEAST_SIZE) fail(at, `session zone "${name}" is too small, it must have at least 1m`);
  let timeout = DEFAULT_TIMEOUT;
  let maxSize = DEFAULT_MAX_SIZE;
  let path = `${name}.mdb`;
  let keys: string | undefined;
  const group: { -readonly [K in keyof GroupSettings]?: GroupSettings[K] } = {};
  for (const [parameter, value = "", word] of parametersOf(words)) {
    // A store may have a password in it.
    const wrong = (): never => fail(at, `invalid parameter "${parameter === "store" ? "store" : word}"`);
    if (value === "") wrong();
    if (parameter === "timeout") timeout = parseSec(value) || wrong();
    else if (parameter === "max_size") maxSize = parseSize(value) || wrong();
    else if (parameter === "path") path = value;
    else if (parameter === "keys") keys = value;
    else if (parameter === "store") group.store = value;
    else if (parameter === "queue") group.queue = parseSize(value) || wrong();
    else if (readRedisParameter(group, parameter, value) !== true) wrong();
  }
  const { store, prefix, passwordFile, ca, verify = true, queue } = group;
  if (store === undefined && Object.keys(group).length > 0) fail(at, `session zone "${name}" has no "store"`);
  return {
    name,
    size,
    timeout: timeout * 1000,
    maxSize,
    path,
    keys,
    group: store === undefined ? undefined : { store, prefix, passwordFile, ca, verify, queue },
  };
}

function readUse(at: Directive): SessionUse {
  const [zone, ...words] = at.args;
  if (zone === "off") {
    if (words.length > 0) fail(at, `invalid parameter "${words[0]}"`);
    return { zone: undefined, cookie: "", attributes: "", inline: 0, at };
  }
  let cookie = "HFSESSION";
  let inline = DEFAULT_INLINE;
  let path = "/";
  let samesite: string | undefined;
  let secure = false;
  let rest = "";
  for (const [parameter, value, word] of parametersOf(words)) {
    const wrong = (): never => fail(at, `invalid parameter "${word}"`);
    if (parameter === "secure" && value === undefined) secure = true;
    else if (parameter === "httponly" && value === undefined) rest += "; HttpOnly";
    else if (value === undefined || value === "" || /[\0-\x20;\x7f]/.test(value)) wrong();
    else if (parameter === "cookie") cookie = COOKIE_NAME.test(value) ? value : wrong();
    else if (parameter === "path") path = value.startsWith("/") ? value : wrong();
    else if (parameter === "domain") rest += `; Domain=${value}`;
    else if (parameter === "expires") rest += `; Max-Age=${parseSec(value) || wrong()}`;
    else if (parameter === "samesite") samesite = SAME_SITE.get(value) ?? wrong();
    else if (parameter === "data") inline = parseSize(value) ?? wrong();
    else wrong();
  }
  if (samesite === "None" && !secure)
    fail(at, '"samesite=none" needs "secure": browsers refuse such a cookie without it');
  if (inline > MOST_INLINE) fail(at, `"data" is at most ${MOST_INLINE / 1024}k`);
  const attributes = `; Path=${path}${rest}${secure ? "; Secure" : ""}${samesite === undefined ? "" : `; SameSite=${samesite}`}`;
  return { zone, cookie, attributes, inline, at };
}

const SAME_SITE: ReadonlyMap<string, string> = new Map([
  ["strict", "Strict"],
  ["lax", "Lax"],
  ["none", "None"],
]);
