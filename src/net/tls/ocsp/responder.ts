import { boundary } from "../../../sys/guard.ts";
import { type Address, withPort } from "../../address.ts";
import { parseUrl, type Target } from "../../parse_url.ts";
import { HOST_NOT_FOUND, resolutionText } from "../../resolution.ts";
import type { Lookup, Resolver } from "../../resolver.ts";

/** Where the status of certificates is asked for: what a URL says. */
export interface Responder {
  /** As written, without the port. */
  readonly host: string;
  readonly uri: string;
  readonly target: Target;
}

const SCHEME = "http://";
const HTTP_PORT = 80;

/** A string is what nginx says of a URL that it does not take. */
export function parseResponder(url: string): Responder | string {
  if (url.slice(0, SCHEME.length).toLowerCase() !== SCHEME || url.length === SCHEME.length) {
    return `invalid URL prefix in OCSP responder "${url}"`;
  }
  const rest = url.slice(SCHEME.length);
  // It may come from a certificate, and goes into a request.
  if (!/^[\x21-\x7e]*$/.test(rest)) return `invalid URL in OCSP responder "${rest}"`;
  const end = rest.search(/[/?]|$/);
  const target = parseUrl(rest.slice(0, end), HTTP_PORT);
  if (typeof target === "string" || "path" in target) {
    return `${typeof target === "string" ? target : "invalid host"} in OCSP responder "${rest}"`;
  }
  return { host: rest.slice(0, end).replace(/:\d+$/, ""), uri: rest.slice(end) || "/", target };
}

/** How the name of a responder becomes addresses. */
export interface ResponderNames {
  readonly resolver: Resolver | undefined;
  /** resolver_timeout, ms */
  readonly timeout: number;
  /** What is asked where there is no resolver. Without it such a name has no address. */
  readonly system: ((host: string) => Promise<readonly Address[]>) | undefined;
}

/** The addresses of a responder, while they are looked for. */
export class ResponderLookup {
  private lookup: Lookup | undefined = undefined;
  private over = false;

  /** `done`: addresses, or why there are none. It may be called before this returns, and is not after `cancel`. */
  start(responder: Responder, names: ResponderNames, done: (found: readonly Address[] | string) => void): void {
    const { host, target } = responder;
    if ("family" in target) {
      done([target]);
      return;
    }
    const { resolver, timeout, system } = names;
    const finish = (found: { readonly addresses: readonly Address[] } | { readonly state: number }): void => {
      if (this.over) return;
      this.over = true;
      if ("addresses" in found) done(found.addresses.map((address) => withPort(address, target.port)));
      else done(`${host} could not be resolved (${found.state}: ${resolutionText(found.state)})`);
    };
    if (resolver !== undefined) this.lookup = resolver.resolve(host, timeout, finish);
    else if (system === undefined) done(`no resolver defined to resolve ${host}`);
    else {
      system(host).then(
        boundary(this, (addresses) => finish(addresses.length > 0 ? { addresses } : { state: HOST_NOT_FOUND })),
      );
    }
  }

  cancel(): void {
    this.over = true;
    this.lookup?.cancel();
  }
}
