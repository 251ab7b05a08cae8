import { directive, flag, list, sec } from "../../../config/directives.ts";
import { fail, ownValue, type Scope, type SettingsOf } from "../../../config/schema.ts";
import type { Directive } from "../../../config/types.ts";
import { parseNumber, parseSize } from "../../../config/values.ts";
import { SESSION_CACHE, SessionCache } from "../../../net/tls/session_cache.ts";
import type { SessionSettings } from "../../../net/tls/sessions.ts";
import {
  parseTicketKey,
  SharedTicketKeys,
  TICKET_KEYS,
  TICKET_KEYS_BYTES,
  type TicketKeys,
  ticketKeysOf,
} from "../../../net/tls/ticket_keys.ts";
import type { Cycle } from "../../../runtime/cycle.ts";
import { openMainLog } from "../../../runtime/log/directive.ts";
import { type DeclaredZone, declareZone, LEAST_ZONE } from "../../../shm/registry.ts";
import { errnoCode, errnoText } from "../../../sys/errno.ts";
import { isReused, sessionIdOf } from "../../../sys/openssl/session.ts";
import { HTTP_SERVER } from "../../conf/contexts.ts";
import type { VariableSpec } from "../../core/script.ts";
import { ofTls } from "./of_tls.ts";

/** What of ngx_http_ssl_module lets clients resume sessions. */

/** `shared`: only the shared one (NGX_SSL_NO_BUILTIN_SCACHE). */
type Builtin = "off" | "none" | "default" | "shared" | number;

interface CacheSetting {
  readonly builtin?: Builtin;
  readonly shared?: DeclaredZone;
}

const sessionCache = directive<CacheSetting>({
  in: HTTP_SERVER,
  args: [1, 2],
  repeat: true,
  syntax: "off|none|[builtin[:number]] [shared:name:size]",
  defaultText: "none",
  doc: "Where sessions are kept that clients may resume. `shared`: in a zone for all workers, of which a mebibyte holds about 4,000 sessions; a reload keeps it. When it is full the oldest ones make room, as many as the next one needs. `builtin`: each worker keeps its own, as many as the number says, 20480 by default. `none`: nowhere, but clients are told that sessions may be resumed, and by tickets they can. `off`: clients are told that they may not.",
  initial: () => ({}),
  read: (at, scope, previous) => {
    let setting: CacheSetting = previous ?? {};
    for (const word of at.args) setting = { ...setting, ...readCache(at, scope, word) };
    return setting.shared !== undefined && setting.builtin === undefined ? { ...setting, builtin: "shared" } : setting;
  },
});

function readCache(at: Directive, scope: Scope, word: string): CacheSetting {
  if (word === "off" || word === "none") return { builtin: word };
  if (word === "builtin") return { builtin: "default" };
  const invalid = (): never => fail(at, `invalid session cache "${word}"`);
  if (word.startsWith("builtin:")) return { builtin: parseNumber(word.slice("builtin:".length)) ?? invalid() };
  const [, name, text] = /^shared:([^:]+):(.*)$/s.exec(word) ?? invalid();
  const size = parseSize(text) ?? invalid();
  if (size < LEAST_ZONE) fail(at, `session cache "${word}" is too small`);
  return { shared: declareZone(at, scope, SESSION_CACHE, name, size) };
}

export const sessionDirectives = {
  ssl_session_cache: sessionCache,
  ssl_session_timeout: sec({
    in: HTTP_SERVER,
    default: 300,
    doc: "For how long a client may resume a session.",
  }),
  ssl_session_tickets: flag({
    in: HTTP_SERVER,
    default: true,
    doc: "Gives clients their sessions to keep, encrypted, as tickets.",
  }),
  ssl_session_ticket_key: list<Directive>({
    in: HTTP_SERVER,
    args: [1, 1],
    syntax: "file",
    doc: "A file with the key that tickets are encrypted with, so that several machines can share it: 80 random bytes for AES-256, or 48 for AES-128. Repeated, only the first one encrypts, and all decrypt: that is how keys are changed. Without it, servers with a shared session cache have keys in common that are changed by themselves, and others one that lasts until a reload.",
    item: (at) => at,
  }),
  ssl_early_data: flag({
    in: HTTP_SERVER,
    default: false,
    doc: "Takes requests that clients of TLS 1.3 send before the handshake is complete, when they resume a session. Somebody who records such a request can send it again: pass on `$ssl_early_data` (`proxy_set_header Early-Data $ssl_early_data;`), and servers can answer 425. With `ssl_session_cache shared:…` each is taken once, whichever worker it comes to; what is sent again is only answered by whoever can complete the handshake. nginx takes all.",
  }),
};

export const sessionVariables: Readonly<Record<string, VariableSpec>> = {
  ssl_session_id: ofTls(sessionIdOf),
  ssl_session_reused: ofTls((ssl) => (isReused(ssl) ? "r" : ".")),
  // Not kept: it changes when the handshake is complete.
  ssl_early_data: {
    get: ({ connection: { tls } }) => (tls !== undefined && !tls.ssl.freed && tls.ssl.isUnfinished ? "1" : undefined),
  },
};

/**
 * Of a server. `idContext`: what it must have in common with one whose sessions it resumes. In nginx that is not by what clients
 * are verified, so that one whose certificate has been revoked goes on with its session.
 */
export function sessionSettings(
  settings: SettingsOf<typeof sessionDirectives>,
  scope: Scope,
  cycle: Cycle,
  idContext: readonly string[],
): SessionSettings {
  const { builtin = "none", shared } = cacheIn(scope);
  const zone = shared === undefined || builtin === "off" || builtin === "none" ? undefined : openZone(shared, cycle);
  const { ssl_session_timeout: timeout, ssl_session_tickets: tickets, ssl_session_ticket_key: files } = settings;
  return {
    cache:
      builtin === "off" || builtin === "none"
        ? builtin
        : { builtin: builtin === "shared" ? undefined : builtin, shared: zone?.cache },
    timeout,
    tickets,
    ticketKeys: files.length === 0 ? zone?.ticketKeys : readTicketKeys(files, cycle),
    idContext: ["HTTP", ...idContext],
  };
}

export function sharedCacheOf({ cache }: SessionSettings): SessionCache | undefined {
  return typeof cache === "object" ? cache.shared : undefined;
}

/** A server that says `builtin` alone has the shared cache of the http block as well. */
function cacheIn(scope: Scope): CacheSetting {
  let found: CacheSetting = {};
  for (let at: Scope | undefined = scope; at !== undefined; at = at.parent) {
    const own = ownValue(at, sessionCache);
    found = { builtin: found.builtin ?? own?.builtin, shared: found.shared ?? own?.shared };
  }
  return found;
}

interface OpenZone {
  readonly cache: SessionCache;
  readonly ticketKeys: TicketKeys;
}

/** What servers share, by the zone that they declare. */
const opened = new WeakMap<DeclaredZone, OpenZone>();

function openZone(declared: DeclaredZone, cycle: Cycle): OpenZone {
  let zone = opened.get(declared);
  if (zone === undefined) {
    const { kind, name, size } = declared;
    const log = openMainLog(cycle);
    zone = {
      cache: new SessionCache(cycle.zone({ kind, name, size }), (level, text) => log.write(level, text)),
      ticketKeys: new SharedTicketKeys(cycle.zone({ kind: TICKET_KEYS, name, size: TICKET_KEYS_BYTES })),
    };
    opened.set(declared, zone);
  }
  return zone;
}

function readTicketKeys(files: readonly Directive[], cycle: Cycle): TicketKeys {
  const keys = files.map((at) => {
    const path = cycle.path(at.args[0], "conf");
    let bytes: Uint8Array;
    try {
      bytes = cycle.readFile(path);
    } catch (error) {
      return fail(at, `open() "${path}" failed ${errnoText(errnoCode(error) ?? "EIO")}`);
    }
    return parseTicketKey(Buffer.from(bytes)) ?? fail(at, `"${path}" must be 48 or 80 bytes`);
  });
  return ticketKeysOf(keys);
}
