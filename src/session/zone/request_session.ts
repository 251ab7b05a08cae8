import { DECLINED, DONE } from "../../http/core/codes.ts";
import { runPhases } from "../../http/core/engine.ts";
import { LastingContext } from "../../http/core/module_context.ts";
import type { Request } from "../../http/core/request.ts";
import { now, wallAt } from "../../sys/clock.ts";
import { cookieValues } from "../../wire/cookie.ts";
import { headText } from "../../wire/head_text.ts";
import type { Change } from "./change.ts";
import type { SessionUse } from "./directives.ts";
import type { Json, JsonObject } from "./merge.ts";
import { dropFields, withoutFields } from "./session_fields.ts";
import { idText, newId } from "./session_id.ts";
import type { SessionZone } from "./session_zone.ts";
import type { SessionChanger, SessionReader } from "./store.ts";
import type { StoredSession } from "./stored_session.ts";

/** What a location does with sessions. */
export interface LocationSessions {
  readonly zone: SessionZone;
  readonly use: SessionUse;
  /** The cookie's name in lower case. */
  readonly cookieKey: string;
}

const ID = headText("X-Session-Id");
const VERSION = headText("X-Session-Version");
const DATA = headText("X-Session-Data");
const SET_COOKIE = headText("Set-Cookie");

/** Of a main request. */
const SESSION = new LastingContext<RequestSession>();
/** The version that a request's server is told of. */
const TOLD = new LastingContext<number>();
/** The time of a session begins anew when it is used after this part of it: not with each request. */
const TOUCHED_AFTER = 1 / 32;
const TOUCH: Change = { kind: "touch" };
const NOBODY: SessionChanger = { onOutcome() {} };
/** So many cookies of the name are looked at: another host of the domain may have set one, but each costs a signature. */
const MOST_COOKIES = 8;

/** The session that a request has in a zone: in all locations with `session` that it comes to, and in those of its subrequests. */
export class RequestSession implements SessionReader {
  readonly sessions: LocationSessions;
  readonly main: Request;
  /** The session in another zone, where the request came to a location of that before. */
  readonly earlier: RequestSession | undefined;
  id: Buffer;
  /** Its client has no cookie with this id yet. */
  isNew: boolean;
  /** undefined: there is nothing under the id. */
  stored: StoredSession | undefined = undefined;
  /** The data as objects, once somebody has asked for a member. */
  #members: JsonObject | undefined = undefined;
  /** Requests that wait until it has been read; undefined once it has. */
  #waiting: Request[] | undefined;
  /** Within a call of the store: what it answers now needs nobody to go on with the request. */
  #calling = false;
  /** The head of the main request says what the session is. */
  #tellsMain = false;

  /** `id`: out of a cookie of ours. */
  constructor(main: Request, sessions: LocationSessions, id: Buffer | undefined, earlier: RequestSession | undefined) {
    this.main = main;
    this.sessions = sessions;
    this.id = id ?? newId();
    this.isNew = id === undefined;
    this.#waiting = id === undefined ? undefined : [];
    this.earlier = earlier;
  }

  get members(): JsonObject {
    this.#members ??= this.stored?.members ?? {};
    return this.#members;
  }

  /** Has it read, and the server of a request told of it. DONE: the request goes on when the store has answered. */
  begin(request: Request): number {
    if (this.#waiting === undefined) {
      this.#tell(request);
      return DECLINED;
    }
    this.#waiting.push(request);
    if (this.#waiting.length > 1) return DONE;
    this.#calling = true;
    this.sessions.zone.store.read(this.id, this);
    this.#calling = false;
    return this.#waiting === undefined ? DECLINED : DONE;
  }

  onSession(session: StoredSession | undefined, unknown: boolean): void {
    const waiting = this.#waiting ?? [];
    this.#waiting = undefined;
    this.stored = session;
    if (session === undefined && !unknown) this.#beginAnew();
    for (const request of waiting) {
      // Its lists of fields may be another request's by now.
      if (request.finalized) continue;
      this.#tell(request);
      if (!this.#calling) runPhases(request);
    }
  }

  /** Nobody is to have an id that somebody else may know from before. */
  #beginAnew(): void {
    this.id = newId();
    this.isNew = true;
  }

  /** Puts what a server is told into the request's head. */
  #tell(request: Request): void {
    if (this.stored === undefined && !this.isNew && TOLD.get(this.main) !== undefined) this.#beginAnew();
    const { stored, main } = this;
    if (request === main) {
      dropFields(request);
      this.#tellsMain = true;
    } else {
      request.headers = withoutFields(request.headers);
    }
    const version = stored?.version ?? 0;
    TOLD.set(request, version);
    const { headers } = request;
    headers.add(ID, "x-session-id", headText(idText(this.id)));
    headers.add(VERSION, "x-session-version", headText(String(version)));
    if (stored === undefined) return;
    if (stored.dataLength <= this.sessions.use.inline) headers.add(DATA, "x-session-data", stored.text);
  }

  /** A request is in a location without it: its server is not told of it. */
  hideFrom(request: Request): void {
    if (request !== this.main) {
      request.headers = withoutFields(request.headers);
      return;
    }
    dropFields(request);
    this.#tellsMain = false;
  }

  /** It is this now, by the response to `request`. */
  become(session: StoredSession | undefined, request: Request): void {
    const { main } = this;
    this.stored = session;
    this.#members = undefined;
    // A subrequest has changed it before the main request is passed on (auth_request).
    if (request !== main && this.#tellsMain && (main.upstream === undefined || main.upstream.ended)) this.#tell(main);
  }

  /** Gives the client the cookie. */
  giveCookie(): void {
    const { zone, use } = this.sessions;
    if (zone.signer === undefined) return;
    this.#setCookie(`${use.cookie}=${zone.signer.cookie(this.id)}${use.attributes}`);
    this.isNew = false;
  }

  takeCookie(): void {
    const { use } = this.sessions;
    this.#setCookie(`${use.cookie}=${use.attributes}; Max-Age=0`);
  }

  /** The response to a subrequest has no client: the cookie is the main request's. */
  #setCookie(value: string): void {
    this.main.response.headers.add(SET_COOKIE, "set-cookie", headText(value));
  }

  /** Its time begins anew. */
  touch(): void {
    const { stored, sessions } = this;
    if (stored === undefined) return;
    const { store, settings } = sessions.zone;
    const used = stored.expires - settings.timeout;
    if (wallAt(now()) - used > settings.timeout * TOUCHED_AFTER) store.change(this.id, TOUCH, NOBODY);
  }
}

/** A request's session in a zone. */
export function sessionIn(request: Request, zone: SessionZone): RequestSession | undefined {
  let session = SESSION.get(request.main);
  while (session !== undefined && session.sessions.zone !== zone) session = session.earlier;
  return session;
}

/** The version that a request's server was told of. */
export function toldVersion(request: Request): number {
  return TOLD.get(request) ?? 0;
}

/** Gives a request its session (a handler of the preaccess phase). */
export function beginSession(request: Request, sessions: LocationSessions): number {
  const { main } = request;
  let session = sessionIn(request, sessions.zone);
  if (session === undefined) {
    session = new RequestSession(main, sessions, idOf(main, sessions), SESSION.get(main));
    SESSION.set(main, session);
  }
  return session.begin(request);
}

/** Has servers of a location without a session told of none (a handler of the preaccess phase). */
export function hideSession(request: Request): number {
  for (let session = SESSION.get(request.main); session !== undefined; session = session.earlier)
    session.hideFrom(request);
  return DECLINED;
}

function idOf({ headers }: Request, { cookieKey, zone }: LocationSessions): Buffer | undefined {
  let at = headers.indexOf("cookie");
  if (at < 0) return undefined;
  const { signer } = zone;
  let left = MOST_COOKIES;
  for (; at >= 0 && left > 0; at = headers.indexOf("cookie", at + 1)) {
    for (const value of cookieValues(headers.value(at), cookieKey, left)) {
      const id = signer?.idOf(value);
      if (id !== undefined) return id;
      left--;
    }
  }
  return undefined;
}

export function sessionId(request: Request): string | undefined {
  const session = SESSION.get(request.main);
  return session && idText(session.id);
}

export function isNewSession(request: Request): string | undefined {
  const session = SESSION.get(request.main);
  return session && (session.stored === undefined ? "1" : "");
}

/** A member of the session's data: a string as it is, anything else as JSON. */
export function sessionMember(request: Request, name: string): string | undefined {
  const members = SESSION.get(request.main)?.members;
  if (members === undefined || !Object.hasOwn(members, name)) return undefined;
  const value: Json = members[name];
  return Buffer.from(typeof value === "string" ? value : JSON.stringify(value), "utf8").latin1Slice();
}
