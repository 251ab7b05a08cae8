import { isUtf8 } from "node:buffer";
import { DECLINED, DONE, OK } from "../../http/core/codes.ts";
import { runPhases } from "../../http/core/engine.ts";
import { logError } from "../../http/core/log_context.ts";
import { ModuleContext } from "../../http/core/module_context.ts";
import type { Request } from "../../http/core/request.ts";
import type { UpstreamPassage } from "../../http/core/upstream.ts";
import { now, wallAt } from "../../sys/clock.ts";
import { cookieValue } from "../../wire/cookie.ts";
import { headText } from "../../wire/head_text.ts";
import { FieldSet } from "../../wire/http1/field_set.ts";
import type { HeaderList } from "../../wire/http1/header_list.ts";
import { type Change, type Outcome, parseObject, type Refusal } from "./change.ts";
import type { SessionUse } from "./directives.ts";
import type { Json, JsonObject } from "./merge.ts";
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

/** Fields between proxy and servers: clients' are dropped, and servers' not passed on. In lower case. */
const NAMES = ["id", "version", "data", "new", "set", "delete", "renew", "strict", "conflict"];
export const SESSION_FIELDS: readonly string[] = NAMES.map((name) => `x-session-${name}`);

/** With `underscores_in_headers on` these come out of CGI as the same names. */
const DROPPED = new FieldSet(
  NAMES.flatMap((name) => [`x-session-${name}`, `x_session_${name}`, `x-session_${name}`, `x_session-${name}`]),
);

const ID = headText("X-Session-Id");
const VERSION = headText("X-Session-Version");
const DATA = headText("X-Session-Data");
const SET_COOKIE = headText("Set-Cookie");

const STATUS: Readonly<Record<Refusal, number>> = {
  missing: 409,
  conflict: 409,
  "too large": 413,
  full: 507,
  unavailable: 503,
};

const REASON: Readonly<Record<Refusal, string>> = {
  missing: "the session that the response changes is over",
  conflict: "another request has changed the session meanwhile, and the response asks for no merge (X-Session-Strict)",
  "too large": "the response makes the session larger than max_size",
  full: "there is no room for the session",
  unavailable: "the session could not be stored",
};

const SESSION = new ModuleContext<RequestSession>();
/** The time of a session begins anew when it is used after this part of it: not with each request. */
const TOUCHED_AFTER = 1 / 32;
const TOUCH: Change = { kind: "touch" };
const NOBODY: SessionChanger = { onOutcome() {} };

/** The session of a request, subrequests included, in a location with `session`. */
class RequestSession implements SessionReader, SessionChanger {
  readonly sessions: LocationSessions;
  id: Buffer;
  /** Its client has no cookie with this id yet. */
  isNew: boolean;
  /** undefined: there is nothing under the id. */
  stored: StoredSession | undefined = undefined;
  readonly #request: Request;
  /** The data as objects, once somebody has asked for a member. */
  #members: JsonObject | undefined = undefined;
  /** Within a call of the store: what it answers now needs nobody to go on with the request. */
  #calling = false;
  #answered = false;
  /** The response whose head waits for a change to be stored, and its passage. */
  #response: Request | undefined = undefined;
  #passage: UpstreamPassage | undefined = undefined;
  #change: Change | undefined = undefined;
  #code = OK;

  /** `id`: out of a cookie of ours. */
  constructor(request: Request, sessions: LocationSessions, id: Buffer | undefined) {
    this.#request = request;
    this.sessions = sessions;
    this.id = id ?? newId();
    this.isNew = id === undefined;
  }

  get members(): JsonObject {
    this.#members ??= this.stored?.members ?? {};
    return this.#members;
  }

  // ---- the request

  /** Has it read, and the server told of it. DONE: the request goes on when the store has answered. */
  begin(): number {
    if (this.isNew) {
      this.#tell();
      return DECLINED;
    }
    this.#calling = true;
    this.sessions.zone.store.read(this.id, this);
    this.#calling = false;
    return this.#answered ? DECLINED : DONE;
  }

  onSession(session: StoredSession | undefined, unknown: boolean): void {
    if (this.#response !== undefined) {
      this.#made(this.#response, session);
      return;
    }
    const request = this.#request;
    // Its lists of fields may be another request's by now.
    if (request.finalized) return;
    this.#answered = true;
    this.stored = session;
    if (session === undefined && !unknown) {
      // Nobody is to have an id that somebody else may know from before.
      this.id = newId();
      this.isNew = true;
    }
    this.#tell();
    if (!this.#calling) runPhases(request);
  }

  /** Puts what the server is told into the request's head. */
  #tell(): void {
    const { headers } = this.#request;
    const { stored } = this;
    headers.add(ID, "x-session-id", headText(idText(this.id)));
    headers.add(VERSION, "x-session-version", headText(String(stored?.version ?? 0)));
    if (stored === undefined) return;
    const { data } = stored;
    if (data.length <= this.sessions.use.inline) headers.add(DATA, "x-session-data", headText(data.toString("base64")));
  }

  // ---- the response

  /** Takes what a server's answer says of the session. DONE: `response.upstream.proceed()` or `finalize` follows. */
  answer(response: Request, fields: HeaderList): number {
    const change = changeOf(fields, this.stored?.version ?? 0);
    if (typeof change === "string") {
      logError(response, "error", `upstream sent ${change} while reading response header from upstream`);
      return 502;
    }
    if (change === undefined) {
      if (this.isNew && this.sessions.zone.backendsWrite) return this.#lookFor(response);
      this.#touch();
      return OK;
    }
    // What is meant for one session is not for others.
    response.cache?.end(0);
    this.#change = change;
    this.#response = response;
    this.#passage = response.upstream;
    this.#calling = true;
    this.#answered = false;
    this.sessions.zone.store.change(this.id, change, this);
    this.#calling = false;
    return this.#answered ? this.#code : DONE;
  }

  /** While it answered, the server may have made the session in another way than by this response. */
  #lookFor(response: Request): number {
    this.#response = response;
    this.#passage = response.upstream;
    this.#calling = true;
    this.#answered = false;
    this.sessions.zone.store.read(this.id, this);
    this.#calling = false;
    return this.#answered ? this.#code : DONE;
  }

  #made(response: Request, session: StoredSession | undefined): void {
    if (this.#isOver(response)) return;
    if (session !== undefined) {
      response.cache?.end(0);
      this.stored = session;
      this.#members = undefined;
      this.#tellClient(response);
    }
    this.#goOn(OK);
  }

  /** Gives the client the cookie. */
  #tellClient(response: Request): void {
    const { zone, use } = this.sessions;
    if (zone.signer === undefined) return;
    setCookie(response, `${use.cookie}=${zone.signer.cookie(this.id)}${use.attributes}`);
    this.isNew = false;
  }

  /** Nobody waits for the store any more. What the response is made of may be another request's by now: nothing touches it. */
  #isOver(response: Request): boolean {
    const over = this.#passage === undefined || this.#passage.ended || this.#passage !== response.upstream;
    if (over) this.#response = undefined;
    return over;
  }

  #goOn(code: number): void {
    const passage = this.#passage;
    this.#answered = true;
    this.#response = undefined;
    this.#passage = undefined;
    this.#code = code;
    if (this.#calling || passage === undefined) return;
    if (code === OK) passage.proceed();
    else passage.finalize(code);
  }

  /** Its time begins anew. */
  #touch(): void {
    const { stored, sessions } = this;
    if (stored === undefined) return;
    const { store, settings } = sessions.zone;
    const used = stored.expires - settings.timeout;
    if (wallAt(now()) - used > settings.timeout * TOUCHED_AFTER) store.change(this.id, TOUCH, NOBODY);
  }

  onOutcome(outcome: Outcome): void {
    const response = this.#response;
    if (response === undefined || this.#isOver(response)) return;
    this.#goOn(outcome.done ? this.#changed(response, outcome) : this.#refused(response, outcome.refusal));
  }

  #changed(response: Request, { session, conflicts }: Extract<Outcome, { done: true }>): number {
    const change = this.#change;
    this.stored = session;
    this.#members = undefined;
    if (conflicts.length > 0) {
      const which = conflicts.map((pointer) => `"${pointer}"`).join(", ");
      logError(response, "info", `session members ${which} were changed meanwhile, and keep their values`);
    }
    if (change?.kind === "renew") this.id = change.to;
    const { use } = this.sessions;
    if (change?.kind === "delete") setCookie(response, `${use.cookie}=${use.attributes}; Max-Age=0`);
    else if (this.isNew || change?.kind === "renew") this.#tellClient(response);
    return OK;
  }

  #refused(response: Request, refusal: Refusal): number {
    const { name } = this.sessions.zone.settings;
    logError(response, refusal === "unavailable" ? "error" : "warn", `session zone "${name}": ${REASON[refusal]}`);
    return STATUS[refusal];
  }
}

function setCookie({ response }: Request, value: string): void {
  response.headers.add(SET_COOKIE, "set-cookie", headText(value));
}

/** What a server's answer wants done; a text says what is wrong with it. */
function changeOf(fields: HeaderList, version: number): Change | string | undefined {
  const set = fields.get("x-session-set");
  const renew = isSet(fields.get("x-session-renew"));
  if (isSet(fields.get("x-session-delete"))) return { kind: "delete", base: undefined };
  if (set === undefined && !renew) return undefined;
  const patch = set === undefined ? {} : decode(set);
  if (patch === undefined) return "an X-Session-Set that is not the Base64 of a JSON object";
  const based = fields.get("x-session-version");
  const base = based === undefined ? version : Number(based);
  if (!Number.isSafeInteger(base) || base < 0) return "an invalid X-Session-Version";
  if (renew) return { kind: "renew", to: newId(), patch, base };
  return { kind: "patch", patch, base, rule: isSet(fields.get("x-session-strict")) ? "strict" : "merge" };
}

function isSet(value: string | undefined): boolean {
  return value !== undefined && value !== "" && value !== "0";
}

const BASE64 = /^[\w+/-]*={0,2}$/;

function decode(text: string): JsonObject | undefined {
  if (!BASE64.test(text)) return undefined;
  const bytes = Buffer.from(text, "base64");
  return isUtf8(bytes) ? parseObject(bytes.toString("utf8")) : undefined;
}

/** Gives a request its session (a handler of the preaccess phase). */
export function beginSession(request: Request, sessions: LocationSessions): number {
  const { main } = request;
  const known = SESSION.get(main);
  if (known?.sessions.zone === sessions.zone) return DECLINED;
  dropFields(main);
  const session = new RequestSession(main, sessions, idOf(main, sessions));
  SESSION.set(main, session);
  return session.begin();
}

/** Clients say nothing of sessions: these fields are between proxy and servers. */
export function dropFields({ headers }: Request): void {
  headers.removeAll(DROPPED);
}

function idOf({ headers }: Request, { cookieKey, zone }: LocationSessions): Buffer | undefined {
  for (let at = headers.indexOf("cookie"); at >= 0; at = headers.indexOf("cookie", at + 1)) {
    const value = cookieValue(headers.value(at), cookieKey);
    const id = value === undefined ? undefined : zone.signer?.idOf(value);
    if (id !== undefined) return id;
  }
  return undefined;
}

/** Takes what a server has answered of the session (the `head` hook of an upstream). */
export function answerSession(request: Request): number {
  const session = SESSION.get(request.main);
  const head = request.upstream?.head;
  if (session === undefined || head === undefined) return OK;
  return session.answer(request, head.headers);
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
