import { type JsonObject, objectOf, objectsOf } from "./resources.ts";

/** What goes wrong between us and an ACME server. Messages are byte strings, for the log. */

/** Anything that does not follow the protocol, or does not get there. */
export class AcmeError extends Error {}

/** The server asks to come back later. */
export class RateLimited extends AcmeError {
  /** ms */
  readonly retryAfter: number;

  constructor(retryAfter: number) {
    super(`rate limit exceeded, next attempt in ${Math.ceil(retryAfter / 1000)}s`);
    this.retryAfter = retryAfter;
  }
}

const NAMESPACE = "urn:ietf:params:acme:error:";

const BAD_ACCOUNT = [
  "accountDoesNotExist",
  "badPublicKey",
  "badSignatureAlgorithm",
  "externalAccountRequired",
  "invalidContact",
  "malformed",
  "unsupportedContact",
  "userActionRequired",
];

const BAD_ORDER = ["badCSR", "caa", "invalidProfile", "malformed", "rejectedIdentifier", "unsupportedIdentifier"];

/** Errors of an order that have nothing to do with the certificate that it says it replaces. */
const NOT_OF_REPLACES = [
  "badNonce",
  "caa",
  "invalidProfile",
  "rateLimited",
  "rejectedIdentifier",
  "unsupportedIdentifier",
  "userActionRequired",
];

/** A problem document (RFC 9457, RFC 8555 section 6.7). */
export class Problem extends AcmeError {
  /** Its type, without the namespace of ACME's own. */
  readonly type: string;

  constructor(document: JsonObject) {
    super(byteText(textOf(document)));
    const { type } = document;
    this.type = typeof type === "string" && type.startsWith(NAMESPACE) ? type.slice(NAMESPACE.length) : "";
  }

  /** The account will be refused until the configuration is another. */
  get badAccount(): boolean {
    return BAD_ACCOUNT.includes(this.type);
  }

  /** So will the order. */
  get badOrder(): boolean {
    return BAD_ORDER.includes(this.type);
  }

  /** It may be due to the order's `replaces`. */
  get badReplaces(): boolean {
    return !NOT_OF_REPLACES.includes(this.type);
  }
}

function textOf({ type, detail, instance, subproblems }: JsonObject): string {
  let text = `${typeof type === "string" ? type : "about:blank"}: ${typeof detail === "string" ? detail : ""}`;
  if (type === `${NAMESPACE}userActionRequired` && typeof instance === "string") text += `(${instance})`;
  for (const each of objectsOf(subproblems).slice(0, 10)) {
    const { value } = objectOf(each.identifier) ?? {};
    text += `; ${typeof value === "string" ? `${value}: ` : ""}${typeof each.detail === "string" ? each.detail : ""}`;
  }
  return text;
}

/** What JavaScript has as UTF-16, as the bytes of its UTF-8. */
export function byteText(text: string): string {
  return Buffer.from(text).latin1Slice();
}
