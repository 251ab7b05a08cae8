import { EventEmitter } from "node:events";

export interface HoldfastStoreOptions {
  /** The session API: "http://127.0.0.1:8081/session-api/". */
  readonly url: string | URL;
  /** What express-session exports. Not needed by @fastify/session. */
  readonly session?: { readonly Store: { readonly prototype: object } };
  /** Fields of each request to the API, such as Authorization. */
  readonly headers?: Readonly<Record<string, string>>;
  /** How long the API may take to answer, ms (2000). */
  readonly timeout?: number;
  /** A session is not saved where another request has changed the same member meanwhile (ECONFLICT), rather than that the newer value stays. */
  readonly strict?: boolean;
}

export type HoldfastStoreCode = "EMISSING" | "ECONFLICT" | "ETOOLARGE" | "EFULL" | "EUNAVAILABLE" | "EREFUSED";

export class HoldfastStoreError extends Error {
  readonly code: HoldfastStoreCode;
  /** The status of the API's answer; undefined without one. */
  readonly status: number | undefined;
}

/** What a store keeps: whatever JSON has, under "cookie" what the session's cookie is like. */
// biome-ignore lint/suspicious/noExplicitAny: express-session and @fastify/session each have a type of their own for it.
type SessionData = any;

interface Events {
  /** Members (JSON Pointers) that another request had changed meanwhile, and that keep their newer values. */
  conflict: [sid: string, members: readonly string[]];
}

export class HoldfastStore extends EventEmitter<Events> {
  constructor(options: HoldfastStoreOptions);
  /** The id under which Holdfast has a session. */
  idOf(sid: string): string;
  get(sid: string, callback: (error: unknown, session?: SessionData | null) => void): void;
  set(sid: string, session: SessionData, callback?: (error?: unknown) => void): void;
  destroy(sid: string, callback?: (error?: unknown) => void): void;
  touch(sid: string, session: SessionData, callback?: (error?: unknown) => void): void;
  /** Of express-session's Store, where `session` was given. */
  createSession(request: SessionData, session: SessionData): SessionData;
  load(sid: string, callback: (error: unknown, session?: SessionData) => void): void;
  regenerate(request: SessionData, callback: (error?: unknown) => void): void;
}
