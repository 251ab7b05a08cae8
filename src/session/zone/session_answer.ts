import { DONE, OK } from "../../http/core/codes.ts";
import { logError } from "../../http/core/log_context.ts";
import type { Request } from "../../http/core/request.ts";
import type { UpstreamPassage } from "../../http/core/upstream.ts";
import type { Change, Outcome, Refusal } from "./change.ts";
import { mergePatch } from "./merge.ts";
import { type LocationSessions, type RequestSession, sessionIn, toldVersion } from "./request_session.ts";
import { changeOf } from "./session_fields.ts";
import type { SessionChanger, SessionReader } from "./store.ts";
import type { StoredSession } from "./stored_session.ts";

/** What a server's response says of the session, and what becomes of that. */

const STATUS: Readonly<Record<Refusal, number>> = {
  missing: 409,
  moved: 409,
  conflict: 409,
  "too large": 413,
  full: 507,
  unavailable: 503,
};

const REASON: Readonly<Record<Refusal, string>> = {
  missing: "the session that the response changes is over",
  moved: "the session that the response changes was renewed meanwhile",
  conflict: "another request has changed the session meanwhile, and the response asks for no merge (X-Session-Strict)",
  "too large": "the response makes the session larger than max_size",
  full: "there is no room for the session",
  unavailable: "the session could not be stored",
};

const UNSTAMPED = { floor: 0, at: new Map<string, number>() };

/** Takes what a server has answered of the session (the `head` hook of an upstream). */
export function answerSession(request: Request, { zone }: LocationSessions): number {
  const session = sessionIn(request, zone);
  const head = request.upstream?.head;
  if (session === undefined || head === undefined) return OK;
  const change = changeOf(head.headers, toldVersion(request));
  if (typeof change === "string") {
    logError(request, "error", `upstream sent ${change} while reading response header from upstream`);
    return 502;
  }
  const possible = change && withoutCookie(request, session, change);
  if (possible !== undefined) return new SessionAnswer(request, session, possible).change();
  if (session.isNew && zone.backendsWrite && !session.main.headerSent) {
    return new SessionAnswer(request, session, undefined).lookFor();
  }
  session.touch();
  return OK;
}

/** A client whose response has begun gets no cookie any more: what needs one is not done for a subrequest. */
function withoutCookie(request: Request, { main, isNew }: RequestSession, change: Change): Change | undefined {
  const isRenewal = change.kind === "renew";
  if (!main.headerSent || change.kind === "delete" || !(isRenewal || isNew)) return change;
  const what = isRenewal ? "renew the session" : "begin a session";
  logError(
    request,
    "warn",
    `the response to a subrequest cannot ${what}: its client's response has begun, without a cookie`,
  );
  return isRenewal && !isNew ? { kind: "patch", patch: change.patch, base: change.base, rule: "merge" } : undefined;
}

/** A response that waits until it is known what becomes of its session. */
class SessionAnswer implements SessionReader, SessionChanger {
  readonly #request: Request;
  readonly #session: RequestSession;
  readonly #change: Change | undefined;
  readonly #passage: UpstreamPassage | undefined;
  /** Within a call of the store: what it answers now needs nobody to go on with the response. */
  #calling = false;
  #code: number | undefined = undefined;

  constructor(request: Request, session: RequestSession, change: Change | undefined) {
    this.#request = request;
    this.#session = session;
    this.#change = change;
    this.#passage = request.upstream;
  }

  /** Has the change stored. DONE: the passage is told to proceed or to finalize later. */
  change(): number {
    const change = this.#change;
    if (change === undefined) return OK;
    // What is meant for one session is not for others.
    this.#request.cache?.end(0);
    const { sessions, id } = this.#session;
    this.#calling = true;
    sessions.zone.store.change(id, change, this);
    this.#calling = false;
    return this.#code ?? DONE;
  }

  /** While it answered, the server may have made the session in another way than by this response. */
  lookFor(): number {
    const { sessions, id } = this.#session;
    this.#calling = true;
    sessions.zone.store.read(id, this);
    this.#calling = false;
    return this.#code ?? DONE;
  }

  onSession(session: StoredSession | undefined): void {
    if (this.#isOver) return;
    if (session !== undefined) {
      this.#request.cache?.end(0);
      this.#session.become(session, this.#request);
      this.#session.giveCookie();
    }
    this.#goOn(OK);
  }

  onOutcome(outcome: Outcome): void {
    if (this.#isOver) return;
    if (outcome.done) this.#goOn(this.#changed(outcome));
    else if (outcome.refusal === "moved" && this.#change?.kind === "renew") this.#beginFrom(this.#change);
    else this.#goOn(this.#refused(outcome.refusal));
  }

  /** Nobody waits for the store any more. What the response is made of may be another request's by now: nothing touches it. */
  get #isOver(): boolean {
    const passage = this.#passage;
    return this.#code !== undefined || passage === undefined || passage.ended || passage !== this.#request.upstream;
  }

  #goOn(code: number): void {
    this.#code = code;
    if (this.#calling) return;
    if (code === OK) this.#passage?.proceed();
    else this.#passage?.finalize(code);
  }

  #changed({ session, conflicts }: Extract<Outcome, { done: true }>): number {
    const change = this.#change;
    if (conflicts.length > 0) {
      const which = conflicts.map((pointer) => `"${pointer}"`).join(", ");
      logError(this.#request, "info", `session members ${which} were changed meanwhile, and keep their values`);
    }
    if (change?.kind === "delete") return this.#ended();
    const renewed = change?.kind === "renew";
    if (renewed) this.#session.id = change.to;
    this.#session.become(session, this.#request);
    if (this.#session.isNew || renewed) this.#session.giveCookie();
    return OK;
  }

  /** There is no session any more. */
  #ended(): number {
    if (!this.#session.main.headerSent) this.#session.takeCookie();
    this.#session.become(undefined, this.#request);
    return OK;
  }

  /**
   * The session was renewed while the server answered, and its answer renews it too. Who sent this request may have known the old id and
   * not the new one, and must not come to the new session: his goes on from what this request knew.
   */
  #beginFrom({ to, patch }: Extract<Change, { kind: "renew" }>): void {
    const { stored, sessions } = this.#session;
    const { data } = mergePatch(stored?.members ?? {}, UNSTAMPED, patch, 0, 1);
    sessions.zone.store.change(to, { kind: "replace", data, base: 0 }, this);
  }

  #refused(refusal: Refusal): number {
    // It has ended by itself, or by another request: there is nothing left to do.
    if (refusal === "missing" && this.#change?.kind === "delete") return this.#ended();
    const { name } = this.#session.sessions.zone.settings;
    const level = refusal === "unavailable" ? "error" : "warn";
    logError(this.#request, level, `session zone "${name}": ${REASON[refusal]}`);
    return STATUS[refusal];
  }
}
