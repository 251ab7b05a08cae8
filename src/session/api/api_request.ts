import { isUtf8 } from "node:buffer";
import { DONE, OK } from "../../http/core/codes.ts";
import { discardBody } from "../../http/core/discard_body.ts";
import { finalizeRequest } from "../../http/core/engine.ts";
import { logError } from "../../http/core/log_context.ts";
import { type BodyReceiver, readBodyIntoMemory } from "../../http/core/memory_body.ts";
import type { Request } from "../../http/core/request.ts";
import { ESCAPE_URI, escapeUri } from "../../wire/escape.ts";
import { headText } from "../../wire/head_text.ts";
import type { Change, Outcome, Refusal } from "../zone/change.ts";
import { parseObject } from "../zone/json.ts";
import type { JsonObject } from "../zone/merge.ts";
import { idText, newId } from "../zone/session_id.ts";
import type { SessionZone } from "../zone/session_zone.ts";
import type { SessionChanger, SessionReader } from "../zone/store.ts";
import type { StoredSession } from "../zone/stored_session.ts";
import {
  answerDeleted,
  answerError,
  answerNotAllowed,
  answerNotModified,
  answerSession,
  secondsLeft,
} from "./answer.ts";
import { clientFields } from "./client_fields.ts";
import { type Condition, conditionIn, isNamed } from "./conditions.ts";

const JSON_TYPES = ["application/json"];
const PATCH_TYPES = ["application/merge-patch+json", ...JSON_TYPES];
const SESSION_ID = headText("X-Session-Id");
/** Spaces, and removed members of a patch, come on top of what a session may be. */
const SPARE = 1024;
/** A version that none was changed after. */
const LATEST = Number.MAX_SAFE_INTEGER;
/** A version of a session that must be there. */
const EXISTING = 1;

const STATUS: Readonly<Record<Exclude<Refusal, "conflict">, readonly [status: number, error: string]>> = {
  missing: [404, "there is no such session"],
  moved: [404, "the session was renewed, and goes on under another id"],
  "too large": [413, "the session would be larger than max_size of its zone"],
  full: [507, "the zone has no room for the session"],
  unavailable: [503, "the store of the sessions does not answer"],
};

const ONLY_NONE = "before a change, If-None-Match may be * alone: there must be no session";

/** How a body becomes a change. */
type MakeChange = (data: JsonObject) => Change;

/** One request to the session API, for the session `id`. `base`: the URI of the API, with a slash at its end. */
export class ApiRequest implements SessionReader, SessionChanger, BodyReceiver {
  readonly #request: Request;
  readonly #zone: SessionZone;
  readonly #base: string;
  #id: Buffer;
  readonly #ifMatch: Condition;
  readonly #ifNoneMatch: Condition;
  /** What a read is for. */
  #replacement: JsonObject | undefined = undefined;
  #make: MakeChange | undefined = undefined;
  #change: Change | undefined = undefined;
  /** The answer's code where there was one before the handler returned. */
  #code: number | undefined = undefined;
  #returned = false;

  constructor(
    request: Request,
    zone: SessionZone,
    base: string,
    id: Buffer,
    conditions: readonly [Condition, Condition],
  ) {
    this.#request = request;
    this.#zone = zone;
    this.#base = base;
    this.#id = id;
    [this.#ifMatch, this.#ifNoneMatch] = conditions;
  }

  /** `POST ID/renew`, `POST ID/touch` and all that is asked of the session itself. Returns what a content handler returns. */
  begin(action: string | undefined): number {
    this.#dispatch(action);
    this.#returned = true;
    return this.#code ?? DONE;
  }

  #dispatch(action: string | undefined): void {
    const { method } = this.#request;
    if (action === "new") this.#withBody((data) => ({ kind: "replace", data, base: 0 }));
    else if (action !== undefined) this.#act(action, method);
    else if (method === "GET" || method === "HEAD") this.#withoutBody(() => this.#read());
    else if (method === "PUT") this.#put();
    else if (method === "PATCH") this.#patch();
    else if (method === "DELETE") this.#withoutBody(() => this.#delete());
    else this.#end(answerNotAllowed(this.#request, "GET, HEAD, PUT, PATCH, DELETE"));
  }

  #act(action: string, method: string): void {
    if (action !== "renew" && action !== "touch") this.#error(404, "there is renew and touch below a session's id");
    else if (method !== "POST") this.#end(answerNotAllowed(this.#request, "POST"));
    else if (this.#ifMatch !== "none" || this.#ifNoneMatch !== "none")
      this.#error(400, `${action} takes no conditions`);
    else if (action === "touch") this.#withoutBody(() => this.#apply({ kind: "touch" }));
    else this.#withoutBody(() => this.#apply({ kind: "renew", to: newId(), patch: {}, base: EXISTING }));
  }

  // ---- what is asked

  #read(): void {
    this.#zone.store.read(this.#id, this);
  }

  #put(): void {
    const named = this.#ifMatch;
    if (this.#ifNoneMatch === "any") {
      this.#withBody((data) => ({ kind: "replace", data, base: 0 }));
    } else if (named === "none" || this.#ifNoneMatch !== "none") {
      this.#needsCondition("PUT replaces a session, and an old copy must not replace a newer one");
    } else if (named === "any") {
      this.#withBody(undefined);
    } else {
      const [base = -1] = named;
      this.#withBody((data) => ({ kind: "replace", data, base }));
    }
  }

  #patch(): void {
    const { version, strict } = clientFields(this.#request);
    const named = this.#ifMatch;
    if (this.#ifNoneMatch !== "none") {
      if (this.#ifNoneMatch !== "any") this.#error(400, ONLY_NONE);
      else this.#withBody((patch) => ({ kind: "patch", patch, base: 0, rule: "exact" }));
      return;
    }
    if (named !== "none") {
      const base = named === "any" ? LATEST : (named[0] ?? -1);
      const rule = named === "any" ? "merge" : "exact";
      this.#withBody((patch) => ({ kind: "patch", patch, base, rule }));
      return;
    }
    if (version === undefined) {
      this.#needsCondition(
        "PATCH needs the version that it was made from, X-Session-Version (0: there was no session)",
      );
      return;
    }
    const base = /^\d{1,16}$/.test(version) ? Number(version) : Number.NaN;
    if (!Number.isSafeInteger(base)) {
      this.#error(400, "X-Session-Version is no version");
      return;
    }
    const rule = strict !== undefined && strict !== "" && strict !== "0" ? "strict" : "merge";
    this.#withBody((patch) => ({ kind: "patch", patch, base, rule }));
  }

  #needsCondition(why: string): void {
    this.#error(428, `${why}: say If-Match with the version that you know, or If-None-Match: * where there was none`);
  }

  #delete(): void {
    if (this.#ifNoneMatch !== "none") {
      this.#error(400, "DELETE takes no If-None-Match");
      return;
    }
    const named = this.#ifMatch;
    const base = named === "none" || named === "any" ? undefined : (named[0] ?? -1);
    this.#apply({ kind: "delete", base });
  }

  // ---- bodies

  #withoutBody(work: () => void): void {
    const broken = discardBody(this.#request);
    if (broken === OK) work();
    else this.#end(broken);
  }

  /** `make` undefined: the version that there is gives way. */
  #withBody(make: MakeChange | undefined): void {
    const { headers, method, contentLength, chunked } = this.#request;
    const types = method === "PATCH" ? PATCH_TYPES : JSON_TYPES;
    const type = headers.get("content-type")?.split(";", 1)[0].trim().toLowerCase();
    if ((type === undefined || !types.includes(type)) && (contentLength > 0 || chunked)) {
      this.#error(415, `the body must be JSON, of the type ${types.join(" or ")}`);
      return;
    }
    this.#make = make;
    readBodyIntoMemory(this.#request, this.#zone.settings.maxSize * 2 + SPARE, this);
  }

  onWholeBody(body: Buffer | undefined): void {
    const make = this.#make;
    if (body === undefined) {
      this.#refused("too large", undefined);
      return;
    }
    const empty = body.length === 0 && this.#request.method === "POST";
    const data = empty ? {} : isUtf8(body) ? parseObject(body.toString("utf8")) : undefined;
    if (data === undefined) {
      this.#error(400, "the body is no JSON object in UTF-8, or nested too deep");
    } else if (make !== undefined) {
      this.#apply(make(data));
    } else {
      this.#replacement = data;
      this.#read();
    }
  }

  // ---- the store

  #apply(change: Change): void {
    this.#change = change;
    this.#zone.store.change(this.#id, change, this);
  }

  onSession(session: StoredSession | undefined, unknown: boolean): void {
    // Its client has gone: what the response is made of may be another request's by now.
    if (this.#request.finalized) return;
    const data = this.#replacement;
    if (unknown) this.#refused("unavailable", session);
    else if (session === undefined) this.#refused("missing", session);
    else if (data !== undefined) this.#apply({ kind: "replace", data, base: session.version });
    else if (this.#ifMatch !== "none" && !isNamed(this.#ifMatch, session.version)) this.#refused("conflict", session);
    else if (isNamed(this.#ifNoneMatch, session.version)) this.#end(answerNotModified(this.#request, session));
    else this.#end(answerSession(this.#request, 200, session));
  }

  onOutcome(outcome: Outcome): void {
    if (this.#request.finalized) return;
    if (!outcome.done) {
      this.#refused(outcome.refusal, outcome.session);
      return;
    }
    const { session, conflicts } = outcome;
    const change = this.#change;
    if (session === undefined) {
      this.#end(answerDeleted(this.#request));
      return;
    }
    const renewed = change?.kind === "renew";
    // The first version of a session is the time at which it was made.
    const created = change?.kind !== "touch" && session.version === session.created;
    if (renewed) this.#id = change.to;
    if (renewed || created) this.#announce();
    const cookie = renewed || created ? this.#zone.signer?.cookie(this.#id) : undefined;
    this.#end(
      answerSession(this.#request, renewed || created ? 201 : 200, session, {
        id: idText(this.#id),
        version: session.version,
        expires_in: secondsLeft(session),
        conflicts,
        ...(cookie === undefined ? {} : { cookie }),
      }),
    );
  }

  #announce(): void {
    const { response } = this.#request;
    const id = idText(this.#id);
    response.location = escapeUri(this.#base, ESCAPE_URI) + id;
    response.headers.add(SESSION_ID, "x-session-id", headText(id));
  }

  #refused(refusal: Refusal, session: StoredSession | undefined): void {
    if (refusal === "conflict" || (refusal === "missing" && this.#ifMatch !== "none")) {
      if (this.#change?.kind === "patch" && this.#change.rule === "strict") {
        this.#error(409, "members of the patch were changed meanwhile (X-Session-Strict)", session);
      } else if (session === undefined) {
        this.#error(412, "there is no such session any more");
      } else {
        const none = this.#ifNoneMatch === "any";
        this.#error(412, none ? "there is a session already" : "the session is another version than that", session);
      }
      return;
    }
    const [status, error] = STATUS[refusal];
    if (refusal !== "missing" && refusal !== "moved") {
      const level = refusal === "unavailable" ? "error" : "warn";
      logError(this.#request, level, `session zone "${this.#zone.settings.name}": ${error}`);
    }
    this.#error(status, error, session);
  }

  // ---- the end

  #error(status: number, error: string, session?: StoredSession): void {
    this.#end(answerError(this.#request, status, error, session));
  }

  #end(code: number): void {
    if (this.#returned) finalizeRequest(this.#request, code);
    else this.#code = code;
  }
}

/** Both conditions of a request; a text says what is wrong with them. */
export function conditionsOf({ headers, method }: Request): readonly [Condition, Condition] | string {
  const match = conditionIn(headers, "if-match");
  const noneMatch = conditionIn(headers, "if-none-match");
  if (match === undefined || noneMatch === undefined) return "If-Match or If-None-Match is malformed";
  if (typeof match !== "string" && match.length > 1 && method !== "GET" && method !== "HEAD") {
    return "a change is made from one version: If-Match has several";
  }
  return [match, noneMatch];
}
