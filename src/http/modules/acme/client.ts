import { type AccountKey, externalAccountBinding } from "./jws.ts";
import { AcmeError, byteText, Problem, RateLimited } from "./problem.ts";
import {
  type Directory,
  directoryOf,
  type JsonObject,
  objectOf,
  type RenewalInfo,
  renewalInfoOf,
} from "./resources.ts";
import type { AcmeResponse, Transport } from "./transport.ts";
import { wait } from "./wait.ts";

/** Requests of RFC 8555: the directory, nonces, signed requests with their repetitions, the account. */

/** How often a request is repeated, after what the server says, or a second; as in nginx. */
const RETRIES = 3;
/** The same with another nonce, which needs no waiting. */
const NONCE_RETRIES = 10;
const RETRY_INTERVAL = 1000;
/** The longest time that is waited for a server within a request; ms. Who is asked for more comes back later. */
const MOST_PATIENCE = 60_000;
const MOST_REDIRECTS = 10;

export interface ExternalAccount {
  readonly kid: string;
  readonly key: Uint8Array;
}

/** What registers the account. */
export interface AccountOptions {
  readonly contacts: readonly string[];
  readonly acceptsTerms: boolean;
  readonly external: ExternalAccount | undefined;
}

export class AcmeClient {
  readonly key: AccountKey;
  readonly #uri: string;
  readonly #transport: Transport;
  readonly #signal: AbortSignal;
  readonly #nonces: string[] = [];
  #directory: Directory | undefined;
  #account: string | undefined;

  constructor(uri: string, key: AccountKey, transport: Transport, signal: AbortSignal) {
    this.#uri = uri;
    this.key = key;
    this.#transport = transport;
    this.#signal = signal;
  }

  async directory(): Promise<Directory> {
    this.#directory ??= parsed(directoryOf, await this.#get(this.#uri));
    return this.#directory;
  }

  /** The account's URL, once it is known. */
  get account(): string | undefined {
    return this.#account;
  }

  /** Finds the account that the key belongs to, or makes it. */
  async openAccount({ contacts, acceptsTerms, external }: AccountOptions): Promise<"created" | "found"> {
    const { newAccount, externalAccountRequired } = await this.directory();
    if (externalAccountRequired && external === undefined) throw new AccountRefused("external account key required");
    const payload = {
      ...(contacts.length > 0 ? { contact: contacts } : {}),
      ...(acceptsTerms ? { termsOfServiceAgreed: true } : {}),
      ...(external === undefined
        ? {}
        : { externalAccountBinding: externalAccountBinding(external.kid, external.key, newAccount, this.key) }),
    };
    const response = await this.post(newAccount, payload);
    const { status } = jsonOf(response);
    if (status !== "valid") throw new AccountRefused(`unexpected account status "${byteText(String(status))}"`);
    this.#account = response.headers.location ?? failed("no account URL in response");
    return response.status === 201 ? "created" : "found";
  }

  /** RFC 9773: when a certificate should be renewed, and in how many ms to ask again, undefined where that is not said. */
  async renewalInfo(identifier: string): Promise<RenewalInfo & { readonly retryAfter: number | undefined }> {
    const { renewalInfo } = await this.directory();
    if (renewalInfo === undefined) return failed("renewal information is not supported");
    const response = await this.#get(`${renewalInfo}/${identifier}`);
    const info = parsed(renewalInfoOf, response);
    if (!(info.start < info.end)) return failed("invalid renewal window");
    return { ...info, retryAfter: retryAfter(response) };
  }

  async #get(uri: string): Promise<AcmeResponse> {
    let url = uri;
    for (let i = 0; i < MOST_REDIRECTS; i++) {
      const response = await this.#transport.request("GET", url);
      const { status, headers } = response;
      if (status >= 200 && status < 300) return response;
      if (status < 300 || status >= 400) throw failureOf(response);
      if (headers.location === undefined) return failed("redirect failed: missing redirect URI");
      url = URL.parse(headers.location, url)?.href ?? failed("redirect failed: invalid redirect URI");
    }
    return failed("redirect failed: too many redirects");
  }

  async #newNonce(): Promise<string> {
    const { newNonce } = await this.directory();
    const { headers } = await this.#transport.request("HEAD", newNonce);
    return nonceOf(headers) ?? failed("cannot obtain replay nonce");
  }

  /** A signed request; without a payload it reads a resource. Rejects with AcmeError. */
  async post(url: string, payload?: JsonObject): Promise<AcmeResponse> {
    const text = payload === undefined ? "" : JSON.stringify(payload);
    let nonce = this.#nonces.pop() ?? (await this.#newNonce());
    for (let [left, nonces] = [RETRIES, NONCE_RETRIES]; ; ) {
      let response: AcmeResponse;
      try {
        const body = JSON.stringify(this.key.sign(url, nonce, this.#account, text));
        response = await this.#transport.request("POST", url, body);
      } catch (error) {
        if (left-- === 0 || this.#signal.aborted) throw error;
        await this.pause(RETRY_INTERVAL);
        // The server may have seen it.
        nonce = await this.#newNonce();
        continue;
      }
      const fresh = nonceOf(response.headers);
      if (response.status >= 200 && response.status < 300) {
        if (fresh !== undefined) this.#nonces.push(fresh);
        return response;
      }
      const error = failureOf(response);
      const type = error instanceof Problem ? error.type : "";
      const later = retryAfter(response) ?? RETRY_INTERVAL;
      if (type === "rateLimited" && later > MOST_PATIENCE) throw new RateLimited(later);
      if (type === "rateLimited" && left-- > 0) await this.pause(later);
      else if (type !== "badNonce" || nonces-- === 0) {
        if (fresh !== undefined) this.#nonces.push(fresh);
        throw error;
      }
      nonce = fresh ?? (await this.#newNonce());
    }
  }

  /** Waits, as long as a server may ask for. Rejects when all is to end. */
  async pause(ms: number): Promise<void> {
    await wait(Math.min(ms, MOST_PATIENCE), this.#signal);
    if (this.#signal.aborted) failed("stopped");
  }
}

/** No account can be had until the configuration is another. */
export class AccountRefused extends AcmeError {}

function failed(message: string): never {
  throw new AcmeError(message);
}

function nonceOf(headers: AcmeResponse["headers"]): string | undefined {
  const nonce = headers["replay-nonce"];
  return typeof nonce === "string" ? nonce : undefined;
}

function jsonOf({ body }: AcmeResponse): JsonObject {
  try {
    return objectOf(JSON.parse(body)) ?? failed("cannot deserialize response (no object)");
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    return failed(`cannot deserialize response (${byteText(error.message)})`);
  }
}

/** The resource in a response, as one of the functions of resources.ts reads it. */
export function parsed<T>(read: (json: JsonObject) => T, response: AcmeResponse): T {
  const json = jsonOf(response);
  try {
    return read(json);
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    return failed(`cannot deserialize response (${byteText(error.message)})`);
  }
}

function failureOf(response: AcmeResponse): AcmeError {
  if (/^application\/problem\+json\b/.test(response.headers["content-type"] ?? "")) {
    return new Problem(jsonOf(response));
  }
  return new AcmeError(`unexpected status code ${response.status} in response`);
}

/** ms until the time that Retry-After names. */
export function retryAfter({ headers }: AcmeResponse): number | undefined {
  const text = headers["retry-after"];
  if (text === undefined) return undefined;
  if (/^\d{1,9}$/.test(text)) return Number(text) * 1000;
  const date = Date.parse(text);
  return Number.isNaN(date) ? undefined : Math.max(0, date - Date.now());
}
