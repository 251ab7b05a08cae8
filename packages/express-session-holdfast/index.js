import { createHash } from "node:crypto";
import { EventEmitter } from "node:events";
import { mergePatch } from "./patch.js";

const MERGE_PATCH = "application/merge-patch+json";
/** Where a session carries what was read of it: session middleware copies enumerable members, and JSON leaves this one out. */
const READ = "__holdfast";

/** What the store had of a session when it was read or written last. */
class Read {
  /**
   * @param {string} sid
   * @param {string} version
   * @param {Record<string, unknown>} data
   */
  constructor(sid, version, data) {
    this.sid = sid;
    this.version = version;
    this.data = data;
  }

  toJSON() {
    return undefined;
  }
}

/** The session could not be read or changed. `code`: EMISSING, ECONFLICT, ETOOLARGE, EFULL, EUNAVAILABLE or EREFUSED. */
export class HoldfastStoreError extends Error {
  /**
   * @param {string} message
   * @param {string} code
   * @param {number} [status]
   * @param {unknown} [cause]
   */
  constructor(message, code, status, cause) {
    super(message, { cause });
    this.name = "HoldfastStoreError";
    this.code = code;
    this.status = status;
  }
}

const CODES = new Map([
  [404, "EMISSING"],
  [409, "ECONFLICT"],
  [412, "ECONFLICT"],
  [413, "ETOOLARGE"],
  [503, "EUNAVAILABLE"],
  [507, "EFULL"],
]);

/**
 * Keeps sessions in a session zone of Holdfast, through its session API (`session_api`). Only what a request has changed is sent,
 * with the version that the request has read: so requests that run at the same time do not undo one another's changes.
 */
export class HoldfastStore extends EventEmitter {
  #url;
  #headers;
  #timeout;
  #strict;

  /** @param {import("./index.js").HoldfastStoreOptions} options */
  constructor({ url, session, headers = {}, timeout = 2000, strict = false }) {
    super();
    this.#url = String(url).replace(/\/*$/, "/");
    this.#headers = headers;
    this.#timeout = timeout;
    this.#strict = strict;
    if (session !== undefined) {
      // What express-session asks of a store besides keeping sessions, with its own classes.
      const { createSession, load, regenerate } = session.Store.prototype;
      Object.assign(this, { createSession, load, regenerate });
    }
  }

  /**
   * The id under which Holdfast has a session: the session's own where that is one of Holdfast's, else a digest of it.
   * @param {string} sid
   */
  idOf(sid) {
    const isId = /^[\w-]{22}$/.test(sid) && Buffer.from(sid, "base64url").toString("base64url") === sid;
    return isId ? sid : createHash("sha256").update(sid).digest().subarray(0, 16).toString("base64url");
  }

  createSession() {
    throw new TypeError('express-session needs the option "session" of HoldfastStore: what express-session exports');
  }

  get(sid, callback) {
    answer(this.#get(sid), callback);
  }

  set(sid, session, callback) {
    answer(this.#set(sid, session), callback);
  }

  destroy(sid, callback) {
    answer(this.#destroy(sid), callback);
  }

  /** Has the session's time begin anew. */
  touch(sid, _session, callback) {
    answer(this.#touch(sid), callback);
  }

  async #get(sid) {
    const response = await this.#ask("GET", sid);
    if (response.status === 404) return null;
    await check(response);
    const text = await response.text();
    const session = JSON.parse(text);
    session[READ] = new Read(sid, versionOf(response), JSON.parse(text));
    return session;
  }

  async #set(sid, session) {
    const data = JSON.parse(JSON.stringify(session));
    const read = session[READ];
    const known = read instanceof Read && read.sid === sid ? read : undefined;
    const response = known === undefined ? await this.#put(sid, data) : await this.#patch(sid, known, data);
    if (response === undefined) return;
    await check(response);
    const { conflicts } = await response.json();
    const value = new Read(sid, versionOf(response), data);
    if (Object.hasOwn(session, READ)) session[READ] = value;
    else Object.defineProperty(session, READ, { value, configurable: true, writable: true });
    if (conflicts.length > 0) this.emit("conflict", sid, conflicts);
  }

  /** A session that was not read from here. */
  async #put(sid, data) {
    const body = JSON.stringify(data);
    const headers = { "Content-Type": "application/json" };
    const made = await this.#ask("PUT", sid, { ...headers, "If-None-Match": "*" }, body);
    if (made.status !== 412) return made;
    // It is there all the same: who sets it without having read it means it.
    await made.body?.cancel();
    return this.#ask("PUT", sid, { ...headers, "If-Match": "*" }, body);
  }

  async #patch(sid, { version, data: before }, data) {
    const patch = mergePatch(before, data);
    if (patch === undefined) return this.#touch(sid);
    const strict = this.#strict ? { "X-Session-Strict": "1" } : {};
    const headers = { "Content-Type": MERGE_PATCH, "X-Session-Version": version, ...strict };
    return this.#ask("PATCH", sid, headers, JSON.stringify(patch));
  }

  async #destroy(sid) {
    const response = await this.#ask("DELETE", sid);
    if (response.status !== 404) await check(response);
    await response.body?.cancel();
  }

  async #touch(sid) {
    const response = await this.#ask("POST", sid, {}, undefined, "/touch");
    if (response.status !== 404) await check(response);
    await response.body?.cancel();
  }

  async #ask(method, sid, headers = {}, body = undefined, action = "") {
    const url = this.#url + this.idOf(sid) + action;
    const ask = () =>
      fetch(url, {
        method,
        headers: { ...this.#headers, ...headers },
        body,
        redirect: "error",
        signal: AbortSignal.timeout(this.#timeout),
      });
    try {
      // A kept connection may be closed just as it is used. What is asked for is the same the second time.
      return await ask().catch((error) => (error.name === "TimeoutError" ? Promise.reject(error) : ask()));
    } catch (error) {
      const why = error.cause?.message ?? error.message;
      throw new HoldfastStoreError(
        `the session API at ${this.#url} does not answer: ${why}`,
        "EUNAVAILABLE",
        undefined,
        error,
      );
    }
  }
}

function versionOf(response) {
  return response.headers.get("x-session-version") ?? "0";
}

async function check(response) {
  if (response.ok) return;
  const text = await response.text();
  let sentence = text;
  try {
    sentence = JSON.parse(text).error;
  } catch {
    // It is none of the API's answers.
  }
  const code = CODES.get(response.status) ?? "EREFUSED";
  throw new HoldfastStoreError(`the session API has answered ${response.status}: ${sentence}`, code, response.status);
}

/** Callbacks run outside of the promise: what they throw is theirs. */
function answer(promise, callback = () => {}) {
  promise.then(
    (value) => process.nextTick(callback, null, value),
    (error) => process.nextTick(callback, error),
  );
}
