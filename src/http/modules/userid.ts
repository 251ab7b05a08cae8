import { directive, enumeration, number, refuse, text } from "../../config/directives.ts";
import { warn } from "../../config/errors.ts";
import { fail, type SettingsOf } from "../../config/schema.ts";
import { parseSec } from "../../config/values.ts";
import { keptClientAddress } from "../../net/ip.ts";
import { variableValue } from "../../script/variables.ts";
import { cookieDateOf, now, wallAt } from "../../sys/clock.ts";
import { cookieValue } from "../../wire/cookie.ts";
import { lowercase } from "../../wire/latin1.ts";
import { HTTP_LOCATION } from "../conf/contexts.ts";
import { defineModule, type HttpModule } from "../conf/module.ts";
import { ERROR, OK } from "../core/codes.ts";
import { logError } from "../core/log_context.ts";
import { ModuleContext } from "../core/module_context.ts";
import type { Request } from "../core/request.ts";
import type { Variable } from "../core/script.ts";

/** In the order in which a cookie has them. */
const FLAGS = ["off", "secure", "httponly", "samesite=strict", "samesite=lax", "samesite=none"] as const;
type Flag = (typeof FLAGS)[number];

const specs = {
  userid: enumeration({
    in: HTTP_LOCATION,
    values: ["off", "log", "v1", "on"],
    default: "off",
    doc: "Gives each client a cookie with a number of its own. `log` only logs those that come, `v1` makes numbers of mod_uid's first version.",
  }),
  userid_service: number({
    in: HTTP_LOCATION,
    doc: "A number of this server's own in the cookies that it gives. Without it the address at which the client has come, with `v1` 0.",
  }),
  userid_name: text({ in: HTTP_LOCATION, syntax: "name", default: "uid", doc: "The cookie's name." }),
  userid_domain: text({
    in: HTTP_LOCATION,
    syntax: "name | none",
    default: "none",
    doc: "The domain for which the cookie is set.",
  }),
  userid_path: text({ in: HTTP_LOCATION, syntax: "path", default: "/", doc: "The path for which the cookie is set." }),
  userid_expires: directive<number | "max" | "off">({
    in: HTTP_LOCATION,
    args: [1, 1],
    syntax: "time | max | off",
    doc: "How long a browser keeps the cookie; `max` until the end of 2037, `off` until the browser is closed.",
    initial: () => "off",
    defaultText: "off",
    read(at) {
      const [text] = at.args;
      return text === "max" || text === "off" ? text : (parseSec(text) ?? refuse(at, "invalid value"));
    },
  }),
  userid_flags: directive<ReadonlySet<Flag>>({
    in: HTTP_LOCATION,
    args: [1, 3],
    syntax: "off | flag …",
    doc: "Attributes of the cookie: `secure`, `httponly`, `samesite=strict`, `samesite=lax`, `samesite=none`.",
    initial: () => new Set(),
    defaultText: "off",
    repeat: true,
    read(at, scope, previous) {
      const flags = new Set(previous);
      for (const word of at.args) {
        const flag = FLAGS.find((flag) => flag === lowercase(word)) ?? fail(at, `invalid value "${word}"`);
        const kind = flag.startsWith("samesite=") ? "samesite=" : flag;
        if ([...flags].some((other) => other.startsWith(kind))) warn(at, scope, `duplicate value "${word}"`);
        else flags.add(flag);
      }
      return flags;
    },
  }),
  userid_p3p: text({
    in: HTTP_LOCATION,
    syntax: "string | none",
    default: "none",
    doc: "The value of a P3P field that is sent along with the cookie.",
  }),
  userid_mark: text({
    in: HTTP_LOCATION,
    syntax: "letter | digit | = | off",
    default: "off",
    doc: "A character at the end of the cookie's value. A client whose cookie has another is given it anew with this one, and keeps its number.",
    check(value, at) {
      if (value !== "off" && !/^[0-9A-Za-z=]$/.test(value)) {
        refuse(at, 'value must be "off" or a single letter, digit or "="');
      }
    },
  }),
};

interface UserId {
  readonly state: "off" | "log" | "v1" | "on";
  readonly service: number | undefined;
  readonly name: string;
  /** The same in lower case. */
  readonly key: string;
  /** "" for none, as the next. */
  readonly mark: string;
  readonly p3p: string;
  readonly expires: number | "max" | "off";
  /** What stands behind the time in the cookie. */
  readonly attributes: string;
  /** $uid_reset; undefined where no cookies are set. */
  readonly resetting: Variable | undefined;
}

/** A client's number has 16 bytes. The last four are not 0. */
interface Uid {
  /** What the client has sent. */
  readonly got: Buffer | undefined;
  /** The cookie's value. */
  readonly cookie: string;
  /** What it is sent. */
  set: Buffer | undefined;
  /** It is given another number. */
  reset: boolean;
}

const UID = new ModuleContext<Uid>();

/** ngx_http_userid_filter_module. */
export const userid: HttpModule<UserId> = defineModule({
  name: "http_userid_filter",
  directives: specs,
  variables: {
    uid_got: { get: ({ main }) => shownGot(main), cached: true },
    uid_set: { get: ({ main }) => shownSet(main), cached: true },
    uid_reset: { get: () => "", changeable: true },
  },
  build(settings, { http }): UserId {
    const { userid: state } = settings;
    return {
      state,
      service: settings.userid_service,
      name: settings.userid_name,
      key: lowercase(settings.userid_name),
      mark: settings.userid_mark === "off" ? "" : settings.userid_mark,
      p3p: settings.userid_p3p === "none" ? "" : settings.userid_p3p,
      expires: settings.userid_expires,
      attributes: attributesOf(settings),
      resetting: state === "on" || state === "v1" ? http.variables.use("uid_reset") : undefined,
    };
  },
  headerFilters: { userid: (settings) => (settings.resetting === undefined ? undefined : sendCookie) },
});

function attributesOf(settings: SettingsOf<typeof specs>): string {
  const { userid_domain: domain, userid_path: path, userid_flags: set } = settings;
  const flags = FLAGS.filter((flag) => flag !== "off" && set.has(flag)).map((flag) => `; ${flag}`);
  return `${domain === "none" ? "" : `; domain=${domain}`}; path=${path}${flags.join("")}`;
}

/** What the main request has brought. */
function uidOf(request: Request, { key }: UserId): Uid {
  const known = UID.get(request);
  if (known !== undefined) return known;
  const uid = readCookie(request, key);
  UID.set(request, uid);
  return uid;
}

/** A mark follows the 22 characters of Base64. */
const DIGITS = 22;

function readCookie(request: Request, key: string): Uid {
  const { headers } = request;
  for (let at = headers.indexOf("cookie"); at >= 0; at = headers.indexOf("cookie", at + 1)) {
    const field = headers.value(at);
    const cookie = cookieValue(field, key);
    if (cookie === undefined) continue;
    return { got: decode(request, cookie, field), cookie, set: undefined, reset: false };
  }
  return { got: undefined, cookie: "", set: undefined, reset: false };
}

function decode(request: Request, cookie: string, field: string): Buffer | undefined {
  if (cookie.length < DIGITS) {
    logError(request, "error", `client sent too short userid cookie "${field}"`);
    return undefined;
  }
  const [digits] = cookie.slice(0, DIGITS).split("=", 1);
  if (digits.length % 4 === 1 || /[^A-Za-z0-9+/]/.test(digits)) {
    logError(request, "error", `client sent invalid userid cookie "${field}"`);
    return undefined;
  }
  const uid = Buffer.alloc(16);
  uid.write(digits, "base64");
  return uid.readUInt32LE(12) === 0 ? undefined : uid;
}

function shownGot(main: Request): string | undefined {
  const settings = userid.of(main.location);
  const { got } = settings.state === "off" ? NOBODY : uidOf(main, settings);
  return got === undefined ? undefined : shown(settings, got);
}

const NOBODY: Uid = { got: undefined, cookie: "", set: undefined, reset: false };

function shownSet(main: Request): string | undefined {
  const settings = userid.of(main.location);
  if (settings.resetting === undefined) return undefined;
  const uid = uidOf(main, settings);
  if (!decide(main, settings, settings.resetting, uid) || uid.set === undefined) return undefined;
  return shown(settings, uid.set);
}

/** As four numbers of this machine's byte order. */
function shown({ name }: UserId, uid: Buffer): string {
  let text = `${name}=`;
  for (let at = 0; at < 16; at += 4) text += uid.readUInt32LE(at).toString(16).toUpperCase().padStart(8, "0");
  return text;
}

/** Decides which number the client is sent, if any. False: that depends on a variable that has no value. */
function decide(request: Request, settings: UserId, resetting: Variable, uid: Uid): boolean {
  const { got, cookie } = uid;
  const { mark } = settings;
  if (uid.set !== undefined) return true;
  if (got !== undefined) {
    const reset = variableValue(request, resetting);
    if (reset === undefined) return false;
    if (reset === "" || reset === "0") {
      if (mark !== "" && !cookie.startsWith(`${mark}=`, DIGITS)) uid.set = got;
      return true;
    }
    uid.reset = true;
    if (reset === "log") logError(request, "notice", `userid cookie "${shown(settings, got)}" was reset`);
  }
  uid.set = settings.state === "v1" ? newUidV1(settings) : newUid(request, settings);
  return true;
}

/** Of this process: as many bits as there is room for of the microseconds at its start, and its number. */
const START = ((Math.floor(((performance.timeOrigin * 1000) % 1e6) / 20) << 16) | process.pid) >>> 0;
let sequencerV1 = 1;
const FIRST = 0x03030302;
let sequencer = FIRST;
const STEP = 0x100;

function newUidV1({ service = 0 }: UserId): Buffer {
  const uid = Buffer.alloc(16);
  uid.writeUInt32LE(service % 2 ** 32, 0);
  uid.writeUInt32LE(seconds() % 2 ** 32, 4);
  uid.writeUInt32LE(START, 8);
  uid.writeUInt32LE(sequencerV1, 12);
  sequencerV1 = (sequencerV1 + STEP) % 2 ** 32;
  return uid;
}

function newUid({ connection }: Request, { service }: UserId): Buffer {
  const uid = Buffer.alloc(16);
  if (service !== undefined) {
    uid.writeUInt32BE(service % 2 ** 32, 0);
  } else {
    const { ipv4, ipv6 } = keptClientAddress(connection.local);
    if (ipv6 !== undefined) uid.set(ipv6.subarray(12));
    else uid.writeUInt32BE(ipv4 ?? 0, 0);
  }
  uid.writeUInt32BE(seconds() % 2 ** 32, 4);
  uid.writeUInt32BE(START, 8);
  uid.writeUInt32BE(sequencer, 12);
  sequencer += STEP;
  if (sequencer >= 2 ** 32) sequencer = FIRST;
  return uid;
}

function seconds(): number {
  return Math.floor(wallAt(now()) / 1000);
}

function sendCookie(request: Request): number {
  const settings = userid.of(request.location);
  if (request !== request.main || settings.resetting === undefined) return OK;
  const uid = uidOf(request, settings);
  if (!decide(request, settings, settings.resetting, uid)) return ERROR;
  if (uid.set === undefined) return OK;
  const { name, mark, p3p, attributes } = settings;
  const { headers } = request.response;
  const digits = uid.got === undefined || uid.reset ? uid.set.toString("base64", 0, 16) : uid.cookie;
  const value = `${digits.slice(0, DIGITS)}${mark === "" ? "=" : mark}=`;
  headers.append("Set-Cookie", `${name}=${value}${expiry(settings)}${attributes}`);
  if (p3p !== "") headers.append("P3P", p3p);
  return OK;
}

function expiry({ expires }: UserId): string {
  if (expires === "off" || expires === 0) return "";
  if (expires === "max") return "; expires=Thu, 31-Dec-37 23:55:55 GMT";
  return `; expires=${cookieDateOf((seconds() + expires) * 1000)}`;
}
