import { discardBodyForError } from "../../http/core/discard_body.ts";
import { sendHeader, sendText } from "../../http/core/engine.ts";
import type { Request } from "../../http/core/request.ts";
import { type HeadText, headText } from "../../wire/head_text.ts";
import type { JsonObject } from "../zone/merge.ts";
import type { StoredSession } from "../zone/stored_session.ts";

/** What the session API answers: JSON, which nobody is to keep. */

const JSON_TYPE = headText("application/json");
const NO_STORE = headText("no-store");
const CACHE_CONTROL = headText("Cache-Control");
const VERSION = headText("X-Session-Version");
const EXPIRES_IN = headText("X-Session-Expires-In");
const ALLOW = headText("Allow");
const RETRY_AFTER = headText("Retry-After");

/** Whole seconds that a session has left. */
export function secondsLeft({ expires }: StoredSession): number {
  return Math.max(0, Math.ceil((expires - Date.now()) / 1000));
}

/** Sends a session's data, or `body` about it. */
export function answerSession(request: Request, status: number, session: StoredSession, body?: JsonObject): number {
  describe(request, session);
  return send(request, status, body === undefined ? session.data.latin1Slice() : byteString(body));
}

/** Where what there is under the id is what the request knows already. */
export function answerNotModified(request: Request, session: StoredSession): number {
  describe(request, session);
  return sendHead(request, 304);
}

export function answerDeleted(request: Request): number {
  return sendHead(request, 204);
}

/** Answers an error; `session`: what there is under the id. */
export function answerError(request: Request, status: number, error: string, session?: StoredSession): number {
  discardBodyForError(request);
  if (session !== undefined) describe(request, session);
  if (status === 503) add(request, RETRY_AFTER, "retry-after", headText("1"));
  return send(request, status, byteString({ error, ...(session === undefined ? {} : { version: session.version }) }));
}

export function answerNotAllowed(request: Request, allowed: string): number {
  add(request, ALLOW, "allow", headText(allowed));
  return answerError(request, 405, `allowed here: ${allowed}`);
}

function describe(request: Request, session: StoredSession): void {
  request.response.etag = headText(`"${session.version}"`);
  add(request, VERSION, "x-session-version", headText(String(session.version)));
  add(request, EXPIRES_IN, "x-session-expires-in", headText(String(secondsLeft(session))));
}

function add({ response }: Request, name: HeadText, key: string, value: HeadText): void {
  response.headers.add(name, key, value);
}

function send(request: Request, status: number, body: string): number {
  prepare(request);
  return sendText(request, status, JSON_TYPE, body);
}

function sendHead(request: Request, status: number): number {
  prepare(request);
  request.response.status = status;
  request.headerOnly = true;
  return sendHeader(request);
}

function prepare(request: Request): void {
  add(request, CACHE_CONTROL, "cache-control", NO_STORE);
  // The conditions were for the session, and have been judged.
  request.disableNotModified = true;
}

function byteString(value: JsonObject): string {
  return `${Buffer.from(JSON.stringify(value), "utf8").latin1Slice()}\n`;
}
