import type { Binding } from "../../balancer/attempt.ts";
import { hostNotFound } from "../../balancer/definition.ts";
import { wrapMethod, wrapping } from "../../balancer/directives.ts";
import type { Peer } from "../../balancer/peer.ts";
import { directive } from "../../config/directives.ts";
import { warn } from "../../config/errors.ts";
import { type DirectiveSpec, fail, ownValue } from "../../config/schema.ts";
import type { Directive } from "../../config/types.ts";
import { parseSec } from "../../config/values.ts";
import { HTTP_LOCATION } from "../../http/conf/contexts.ts";
import { defineModule, type HttpModule } from "../../http/conf/module.ts";
import { DECLINED, OK } from "../../http/core/codes.ts";
import { ModuleContext } from "../../http/core/module_context.ts";
import type { Request } from "../../http/core/request.ts";
import type { Stickiness } from "../../http/core/upstream.ts";
import {
  readSessionCookie,
  type SessionCookie,
  type SessionStickySettings,
  writeSessionCookie,
} from "./session_cookie.ts";
import { md5Of } from "./sid.ts";

/** Tengine's module: stickiness by a cookie of the proxy, or by one that servers set. */

const spec = directive<SessionStickySettings, undefined>({
  in: ["upstream"],
  args: [0, Number.POSITIVE_INFINITY],
  syntax:
    "[cookie=name] [domain=domain] [path=path] [maxage=time] [mode=insert|rewrite|prefix] [option=direct|indirect] [maxidle=time] [maxlife=time] [fallback=on|off] [hash=md5|plain]",
  doc: "As in Tengine: passes the requests of one client to the server that a cookie (`route`) names, by the MD5 of its address or, with `hash=plain`, by its `route` or `id` or its address. `mode=insert` sends the client that cookie, once, for `maxage` (until the browser is closed), `path` (`/`) and `domain`; with `maxidle` or `maxlife` it holds the times of last and first use too, is renewed with each response, and is over after so much time without use, or in all. `mode=rewrite` puts the server's name in place of the value of the cookie where a server sets it, and binds no client without; `mode=prefix` puts the name and `~` in front of that value. `option=indirect`: servers do not see the cookie of `mode=insert`. With `fallback=off` a session whose server cannot be had gets no other one but 502. `indirect` and `mode=prefix` work in locations with `session_sticky_hide_cookie`. A server whose checks fail, or that `down`, `max_fails` or `max_conns` exclude, gets no session.",
  initial: () => undefined,
  read(at, scope) {
    const settings = readSettings(at);
    wrapMethod(at, scope);
    return settings;
  },
});

const WORDS: Readonly<Record<string, readonly string[]>> = {
  mode: ["insert", "prefix", "rewrite"],
  option: ["indirect", "direct"],
  fallback: ["on", "off"],
  hash: ["plain", "md5"],
};
const NAMES = ["cookie", "domain", "path", "maxage", "maxidle", "maxlife", ...Object.keys(WORDS)];

function readSettings(at: Directive): SessionStickySettings {
  const given = new Map<string, string>();
  for (const text of at.args) {
    const equals = text.indexOf("=");
    const name = NAMES.find((one) => one === text.slice(0, Math.max(0, equals))) ?? fail(at, "invalid argument");
    const value = text.slice(equals + 1);
    const words = WORDS[name];
    if (value === "" || words?.includes(value) === false) fail(at, `invalid ${name}${name === "hash" ? " mode" : ""}`);
    given.set(name, value);
  }
  const seconds = (name: string): number | undefined => {
    const text = given.get(name);
    return text === undefined ? undefined : (parseSec(text) ?? fail(at, `invalid ${name}`));
  };
  const [maxage, maxidle, maxlife] = ["maxage", "maxidle", "maxlife"].map(seconds);
  const never = Number.POSITIVE_INFINITY;
  const mode = given.get("mode");
  return {
    cookie: given.get("cookie") ?? "route",
    mode: mode === "prefix" || mode === "rewrite" ? mode : "insert",
    indirect: given.get("option") === "indirect",
    domain: given.get("domain") ?? "",
    path: given.get("path") ?? "/",
    maxage,
    times:
      maxidle === undefined && maxlife === undefined
        ? undefined
        : { maxidle: maxidle ?? never, maxlife: maxlife ?? never },
    fallback: given.get("fallback") !== "off",
    plain: given.get("hash") === "plain",
  };
}

function hideCookie(doc: string): DirectiveSpec<Directive | undefined> {
  return directive<Directive, undefined>({
    in: HTTP_LOCATION,
    args: [1, 1],
    syntax: "upstream=name",
    doc,
    initial: () => undefined,
    read(at, scope) {
      if (!at.args[0].startsWith("upstream=")) fail(at, `invalid argument of "${at.args[0]}"`);
      if (at.name === "session_sticky_header") {
        warn(
          at,
          scope,
          'the "session_sticky_header" directive is deprecated, use "session_sticky_hide_cookie" instead',
        );
      }
      return at;
    },
  });
}

const specs = {
  session_sticky: spec,
  session_sticky_hide_cookie: hideCookie(
    "Hides the cookie of an upstream's `session_sticky` from its servers: with `option=indirect` all of it, in `mode=prefix` what was put in front of its value.",
  ),
  session_sticky_header: hideCookie("The old name of `session_sticky_hide_cookie`."),
};

/** What is known of one request's session. */
interface Session {
  readonly settings: SessionStickySettings;
  readonly cookie: SessionCookie;
  /** Servers do not see the cookie. */
  readonly hidden: boolean;
  /** The server that has the request; "" before one was chosen. */
  server: string;
}

const SESSION = new ModuleContext<Session>();

interface LocationSettings {
  /** The upstream whose cookie is hidden, once all upstreams are known. */
  hides: SessionStickySettings | undefined;
  /** Some upstream has `session_sticky`. */
  readonly used: boolean;
}

export const sessionSticky: HttpModule<LocationSettings> = defineModule({
  name: "http_upstream_session_sticky",
  configure: "--add-module=ngx_http_upstream_session_sticky_module",
  directives: specs,
  setup({ scope, upstreams }) {
    for (const block of scope.children) {
      if (block.context !== "upstream" || wrapping(block)?.name !== "session_sticky") continue;
      const entry = upstreams.named(block.directive.args[0]);
      const settings = ownValue(block, spec);
      if (entry === undefined || settings === undefined) continue;
      entry.sticky = stickiness(settings);
      entry.group.identify((peer) => sidOf(peer, settings));
    }
  },
  build(settings, { http }): LocationSettings {
    const blocks = http.scope.children.filter((block) => wrapping(block)?.name === "session_sticky");
    const at = settings.session_sticky_hide_cookie ?? settings.session_sticky_header;
    const made: LocationSettings = { hides: undefined, used: blocks.length > 0 };
    if (at === undefined) return made;
    const name = at.args[0].slice("upstream=".length).toLowerCase();
    if (http.upstreams.named(name) === undefined) fail(at, hostNotFound(name));
    const block = blocks.find(({ directive: { args } }) => args[0].toLowerCase() === name);
    const hides = block && ownValue(block, spec);
    return { ...made, hides: hides?.mode === "rewrite" ? undefined : hides };
  },
  preaccess: ({ hides }) => hides && ((request) => hide(request, hides)),
  headerFilters: { session_sticky: ({ used }) => (used ? answer : undefined) },
});

function sidOf({ route, name }: Peer, { plain }: SessionStickySettings): string {
  if (!plain) return md5Of(name);
  return route === "" ? name : route;
}

function hide(request: Request, settings: SessionStickySettings): number {
  if (SESSION.get(request)?.settings !== settings) begin(request, settings, true);
  return DECLINED;
}

function begin(request: Request, settings: SessionStickySettings, hidden: boolean): Session {
  const cookie = readSessionCookie(request.headers, settings, hidden);
  const session = { settings, cookie, hidden, server: "" };
  SESSION.set(request, session);
  return session;
}

function stickiness(settings: SessionStickySettings): Stickiness {
  return {
    begin(request) {
      const known = SESSION.get(request);
      return new SessionBinding(known?.settings === settings ? known : begin(request, settings, false));
    },
  };
}

class SessionBinding implements Binding {
  readonly only: boolean;
  readonly #session: Session;

  constructor(session: Session) {
    this.#session = session;
    this.only = !session.settings.fallback;
  }

  wanted(): string {
    return this.#session.cookie.sid;
  }

  chosen({ sid }: Peer): void {
    this.#session.server = sid;
  }

  header(): void {}

  released(): void {}
}

/** Header filter: tells the client which server it has. */
function answer(request: Request): number {
  const session = SESSION.get(request);
  if (session === undefined || session.server === "" || request.response.status >= 400) return OK;
  const { settings, cookie, hidden, server } = session;
  // A cookie that the server would see, but must not, is not set.
  if (!hidden && (settings.mode === "prefix" || settings.indirect)) return OK;
  const known = { sid: server, firstSeen: cookie.firstSeen };
  writeSessionCookie(request.response.headers, settings, known, server !== cookie.sid);
  return OK;
}
