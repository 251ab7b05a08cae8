import type { Binding } from "../../balancer/attempt.ts";
import type { Peer } from "../../balancer/peer.ts";
import { refuse } from "../../config/directives.ts";
import { fail, type Scope } from "../../config/schema.ts";
import type { Directive } from "../../config/types.ts";
import { parseSec } from "../../config/values.ts";
import type { Request } from "../../http/core/request.ts";
import { headTemplate, type Template } from "../../http/core/script.ts";
import type { Stickiness } from "../../http/core/upstream.ts";
import { cookieDateOf, now, wallAt } from "../../sys/clock.ts";
import { type HeadText, headText } from "../../wire/head_text.ts";
import { Lookup } from "./lookup.ts";

/** `sticky cookie name [parameters]`: the cookie says which server the client is bound to. */

/** What `expires=max` stands for, in seconds since 1970: as far as old clients can count. */
const MAX = 2_145_916_555;
const EXPIRES_MAX = "; expires=Thu, 31-Dec-37 23:55:55 GMT; max-age=315360000";

interface Attributes {
  domain: Template<HeadText> | undefined;
  path: string | undefined;
  /** Seconds. */
  expires: number | undefined;
  httponly: boolean;
  secure: boolean;
  samesite: Template<HeadText> | undefined;
}

export function readCookie(at: Directive, scope: Scope): Stickiness {
  const [, name, ...parameters] = at.args;
  if (name === "") refuse(at, "empty cookie name");
  const attributes: Attributes = {
    domain: undefined,
    path: undefined,
    expires: undefined,
    httponly: false,
    secure: false,
    samesite: undefined,
  };
  for (const text of parameters) {
    const [word] = /^(?:domain|path|expires|samesite)(?==)|^(?:httponly|secure)$/.exec(text) ?? unknown(at, text);
    readAttribute(attributes, word, text.slice(word.length + 1), at, scope);
  }
  const lookup = new Lookup();
  lookup.add(at, scope, `cookie_${name}`);
  const cookie = new Cookie(headText(name), attributes);
  return { begin: (request) => new CookieBinding(request, lookup, cookie) };
}

function unknown(at: Directive, text: string): never {
  return fail(at, `unknown parameter "${text}"`);
}

function readAttribute(into: Attributes, word: string, value: string, at: Directive, scope: Scope): void {
  const once = (set: unknown): void => {
    if (set !== undefined && set !== false) refuse(at, `parameter "${word}" is duplicate`);
  };
  switch (word) {
    case "domain":
      once(into.domain);
      if (value === "") refuse(at, 'no value for "domain"');
      into.domain = headTemplate(scope, at, value);
      break;
    case "path":
      once(into.path);
      if (value === "") refuse(at, 'no value for "path"');
      into.path = headText(value);
      break;
    case "expires":
      once(into.expires);
      into.expires = value === "max" ? MAX : (parseSec(value) ?? refuse(at, 'invalid "expires" parameter value'));
      break;
    case "samesite":
      once(into.samesite);
      into.samesite = headTemplate(scope, at, value);
      if (into.samesite.constant !== undefined && !isSameSite(value)) {
        refuse(at, 'invalid "samesite" parameter value');
      }
      break;
    case "httponly":
      once(into.httponly);
      into.httponly = true;
      break;
    default:
      once(into.secure);
      into.secure = true;
  }
}

function isSameSite(value: string): boolean {
  return /^(?:strict|lax|none)$/i.test(value);
}

/** The text of the cookie, as nginx puts it together. */
class Cookie {
  readonly #name: string;
  readonly #attributes: Attributes;
  /** It differs from request to request. */
  readonly #varies: boolean;
  readonly #texts = new Map<string, HeadText>();
  #second = 0;

  constructor(name: string, attributes: Attributes) {
    const { domain, samesite } = attributes;
    this.#name = name;
    this.#attributes = attributes;
    this.#varies = [domain, samesite].some((template) => template !== undefined && template.constant === undefined);
  }

  /** There are as many as servers, so those that do not vary are kept, for a second where they have a time in them. */
  text(sid: string, request: Request): HeadText {
    if (this.#varies) return this.#make(sid, request);
    const { expires } = this.#attributes;
    if (expires !== undefined && expires !== MAX) {
      const second = Math.floor(wallAt(now()) / 1000);
      if (second !== this.#second) this.#texts.clear();
      this.#second = second;
    }
    let text = this.#texts.get(sid);
    if (text === undefined) {
      text = this.#make(sid, request);
      this.#texts.set(sid, text);
    }
    return text;
  }

  #make(sid: string, request: Request): HeadText {
    const { domain, path, expires, httponly, secure, samesite } = this.#attributes;
    let text = `${this.#name}=${sid}`;
    if (expires === MAX) text += EXPIRES_MAX;
    else if (expires !== undefined) {
      text += `; expires=${cookieDateOf(wallAt(now()) + expires * 1000)}; max-age=${expires}`;
    }
    const host = domain?.render(request) ?? "";
    if (host !== "") text += `; domain=${host}`;
    if (httponly) text += "; httponly";
    if (secure) text += "; secure";
    const site = samesite?.render(request) ?? "";
    if (site !== "") text += `; samesite=${isSameSite(site) ? site : "strict"}`;
    if (path !== undefined) text += `; path=${path}`;
    return headText(text);
  }
}

const SET_COOKIE = headText("Set-Cookie");

class CookieBinding implements Binding {
  readonly only = false;
  readonly #request: Request;
  readonly #cookie: Cookie;
  readonly #id: string;
  /** Where the cookie is among the response's fields; -1 before a server was chosen. */
  #at = -1;

  constructor(request: Request, lookup: Lookup, cookie: Cookie) {
    this.#request = request;
    this.#cookie = cookie;
    this.#id = lookup.of(request);
  }

  wanted(): string {
    return this.#id;
  }

  /** The cookie stands before what the server sends, and in the place of that of a server tried before. */
  chosen({ sid }: Peer): void {
    const { headers } = this.#request.response;
    const text = this.#cookie.text(sid, this.#request);
    if (this.#at === -1) {
      this.#at = headers.count;
      headers.add(SET_COOKIE, "set-cookie", text);
    } else {
      headers.replace(this.#at, text);
    }
  }

  header(): void {}

  released(): void {}
}
