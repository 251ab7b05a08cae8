/** What an ACME server sends, looked at field by field (RFC 8555 section 7.1, RFC 9773). */

export type JsonObject = Readonly<Record<string, unknown>>;

export interface Directory {
  readonly newNonce: string;
  readonly newAccount: string;
  readonly newOrder: string;
  readonly renewalInfo: string | undefined;
  readonly externalAccountRequired: boolean;
  readonly termsOfService: string | undefined;
  readonly profiles: readonly string[];
}

export interface OrderResource {
  readonly status: string;
  readonly authorizations: readonly string[];
  readonly finalize: string;
  readonly certificate: string | undefined;
  readonly error: JsonObject | undefined;
}

export interface Challenge {
  readonly type: string;
  readonly url: string;
  readonly status: string;
  readonly token: string;
  readonly error: JsonObject | undefined;
}

export interface Authorization {
  readonly status: string;
  readonly identifier: string;
  readonly challenges: readonly Challenge[];
}

export interface RenewalInfo {
  /** ms since 1970 */
  readonly start: number;
  readonly end: number;
  readonly explanation: string | undefined;
}

/** An object, undefined for any other value. */
export function objectOf(value: unknown): JsonObject | undefined {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? { ...value } : undefined;
}

/** The objects in an array; none where it is no array. */
export function objectsOf(value: unknown): readonly JsonObject[] {
  const all: readonly unknown[] = Array.isArray(value) ? value : [];
  return all.map(objectOf).filter((each) => each !== undefined);
}

function stringOf(value: unknown): string | undefined {
  return typeof value === "string" ? value : undefined;
}

/** Throws TypeError, as all below, where a field is missing that there must be. */
function required(from: JsonObject, name: string): string {
  return stringOf(from[name]) ?? missing(name);
}

function missing(name: string): never {
  throw new TypeError(`missing field "${name}"`);
}

export function directoryOf(json: JsonObject): Directory {
  const meta = objectOf(json.meta) ?? {};
  return {
    newNonce: required(json, "newNonce"),
    newAccount: required(json, "newAccount"),
    newOrder: required(json, "newOrder"),
    renewalInfo: stringOf(json.renewalInfo),
    externalAccountRequired: meta.externalAccountRequired === true,
    termsOfService: stringOf(meta.termsOfService),
    profiles: Object.keys(objectOf(meta.profiles) ?? {}),
  };
}

export function orderOf(json: JsonObject): OrderResource {
  const { authorizations } = json;
  return {
    status: required(json, "status"),
    authorizations: Array.isArray(authorizations) ? authorizations.flatMap((url: unknown) => stringOf(url) ?? []) : [],
    finalize: required(json, "finalize"),
    certificate: stringOf(json.certificate),
    error: objectOf(json.error),
  };
}

export function challengeOf(json: JsonObject): Challenge {
  return {
    type: required(json, "type"),
    url: required(json, "url"),
    status: required(json, "status"),
    // Some types have none.
    token: stringOf(json.token) ?? "",
    error: objectOf(json.error),
  };
}

export function authorizationOf(json: JsonObject): Authorization {
  return {
    status: required(json, "status"),
    identifier: required(objectOf(json.identifier) ?? missing("identifier"), "value"),
    challenges: objectsOf(json.challenges).map(challengeOf),
  };
}

export function renewalInfoOf(json: JsonObject): RenewalInfo {
  const window = objectOf(json.suggestedWindow) ?? missing("suggestedWindow");
  return {
    start: Date.parse(required(window, "start")),
    end: Date.parse(required(window, "end")),
    explanation: stringOf(json.explanationURL),
  };
}
