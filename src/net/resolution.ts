import type { ServiceRecord } from "../wire/dns.ts";
import type { Address } from "./address.ts";

/** What is said of names and their resolution, whoever resolves them. */

/** States as in ngx_resolver.c: DNS response codes, or 110 (ETIMEDOUT). */
export const SERVER_FAILURE = 2;
export const HOST_NOT_FOUND = 3;
export const TIMED_OUT = 110;

const STATES = ["Format error", "Server failure", "Host not found", "Unimplemented", "Operation refused"];

/** ngx_resolver_strerror */
export function resolutionText(state: number): string {
  return state === TIMED_OUT ? "Operation timed out" : (STATES[state - 1] ?? "Unknown error");
}

/** SRV records, or the name that it is an alias of, and the least TTL of all records, in seconds. */
export type ServiceAnswer =
  | { readonly services: readonly ServiceRecord[]; readonly cname: string | undefined; readonly ttl: number }
  | { readonly state: number };

/** Addresses without a port, or the name that it is an alias of, and the least TTL of all records, in seconds. */
export type NameAnswer =
  | { readonly addresses: readonly Address[]; readonly cname: string | undefined; readonly ttl: number }
  | { readonly state: number };

/**
 * Whether a name can be queried: labels of 1 to 63 bytes, 255 with their dots. c-ares and Node would transform other
 * characters (escapes, IDNA) and so query another name.
 */
export function isName(name: string): boolean {
  return name.length <= 255 && /^[-a-z0-9_*/]{1,63}(?:\.[-a-z0-9_*/]{1,63})*$/.test(name);
}
