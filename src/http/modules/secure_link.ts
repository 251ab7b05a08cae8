import { failAtEnd, text } from "../../config/directives.ts";
import { ownValue, type Scope } from "../../config/schema.ts";
import { parseNumber } from "../../config/values.ts";
import { crypto } from "../../sys/builtin.ts";
import { now, wallAt } from "../../sys/clock.ts";
import { HTTP_LOCATION } from "../conf/contexts.ts";
import { defineModule, type HttpModule } from "../conf/module.ts";
import { ModuleContext } from "../core/module_context.ts";
import type { Request } from "../core/request.ts";
import { oneTemplate, type Template } from "../core/script.ts";

const specs = {
  secure_link: oneTemplate({
    in: HTTP_LOCATION,
    syntax: "value",
    doc: "Where a link's checksum is found, and after a comma the time in seconds since 1970 until which the link may be followed: `$arg_md5,$arg_expires`. `$secure_link` is `1` where the link is right, `0` where its time is over, and else empty.",
  }),
  secure_link_md5: oneTemplate({
    in: HTTP_LOCATION,
    syntax: "value",
    doc: "What the checksum of `secure_link` is made of: its MD5 in Base64 for URLs. It should hold a secret: `$secure_link_expires$uri secret`.",
  }),
  secure_link_secret: text({
    in: HTTP_LOCATION,
    syntax: "word",
    doc: "The secret of links `/prefix/checksum/link`: the checksum is the MD5, in hexadecimal, of the link and the secret, and `$secure_link` is the link where it is right. Not together with `secure_link`.",
  }),
};

interface SecureLink {
  readonly link: Template | undefined;
  readonly md5: Template | undefined;
  /** A byte string; undefined where links are checked as `secure_link` says. */
  readonly secret: string | undefined;
}

/** $secure_link_expires */
const EXPIRES = new ModuleContext<string>();

/** ngx_http_secure_link_module: whether a link was made by somebody who knows the secret, and may still be followed. */
export const secureLink: HttpModule<SecureLink> = defineModule({
  name: "http_secure_link",
  configure: "--with-http_secure_link_module",
  directives: specs,
  variables: {
    secure_link: { get: checkLink, cached: true },
    secure_link_expires: { get: (request) => EXPIRES.get(request), cached: true },
  },
  build: (_, { http, scope }): SecureLink => settingsIn(scope, http.scope),
});

/** A secret replaces what outer levels have of the other two directives, and either of these an outer level's secret. */
function settingsIn(scope: Scope, http: Scope): SecureLink {
  const own = {
    link: ownValue(scope, specs.secure_link),
    md5: ownValue(scope, specs.secure_link_md5),
    secret: ownValue(scope, specs.secure_link_secret),
  };
  const { parent } = scope;
  if (parent === undefined || scope === http) return own;
  if (own.secret !== undefined) {
    if (own.link === undefined && own.md5 === undefined) return own;
    failAtEnd(http, '"secure_link_secret" cannot be mixed with "secure_link" and "secure_link_md5"');
  }
  const outer = settingsIn(parent, http);
  const link = own.link ?? outer.link;
  const md5 = own.md5 ?? outer.md5;
  return { link, md5, secret: link === undefined && md5 === undefined ? outer.secret : undefined };
}

/** $secure_link */
function checkLink(request: Request): string | undefined {
  const { link, md5, secret } = secureLink.of(request.location);
  if (secret !== undefined) return linkBehindChecksum(request.unparsedUri, secret);
  if (link === undefined || md5 === undefined) return undefined;
  const value = link.render(request);
  const comma = value.indexOf(",");
  let expires = 0;
  if (comma >= 0) {
    const text = value.slice(comma + 1);
    expires = parseNumber(text) ?? 0;
    if (expires === 0) return undefined;
    EXPIRES.set(request, text);
  }
  const checksum = comma < 0 ? value : value.slice(0, comma);
  if (!CHECKSUM.test(checksum) || !isMd5(Buffer.from(checksum, "base64url"), md5.render(request))) return undefined;
  return expires !== 0 && expires < Math.floor(wallAt(now()) / 1000) ? "0" : "1";
}

/** 16 bytes in Base64 for URLs; behind its end may be one byte of any kind. */
const CHECKSUM = /^[\w-]{22}(?:=.?)?$/s;

/** Of a URI `/prefix/checksum/link`, the link. */
function linkBehindChecksum(uri: string, secret: string): string | undefined {
  const start = uri.indexOf("/", 1) + 1;
  const end = start === 0 ? -1 : uri.indexOf("/", start);
  if (end < 0) return undefined;
  const checksum = uri.slice(start, end);
  const link = uri.slice(end + 1);
  if (!/^[0-9a-f]{32}$/i.test(checksum) || link === "") return undefined;
  return isMd5(Buffer.from(checksum, "hex"), link + secret) ? link : undefined;
}

/** Whether it is the MD5 of a byte string, in a time that does not tell where they differ. */
function isMd5(checksum: Uint8Array, text: string): boolean {
  const md5 = crypto().hash("md5", Buffer.from(text, "latin1"), "buffer");
  return crypto().timingSafeEqual(checksum, md5);
}
