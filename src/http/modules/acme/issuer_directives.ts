import { isUtf8 } from "node:buffer";
import { directive, failAtEnd, flag, list, refuse, text } from "../../../config/directives.ts";
import { defineDirectives, fail, type Scope } from "../../../config/schema.ts";
import type { Directive } from "../../../config/types.ts";
import type { ChallengeType } from "./challenges.ts";
import { DEFAULT_KEY, type KeyType, parseKeyType } from "./order.ts";

/** The directives of an `acme_issuer` block. */

const IN = ["acme_issuer"] as const;

const CHALLENGES: Readonly<Record<string, ChallengeType>> = {
  http: "http-01",
  "http-01": "http-01",
  "tls-alpn": "tls-alpn-01",
  "tls-alpn-01": "tls-alpn-01",
};

/** `external_account_key`; `key` as written: a file, or `data:` and the key itself. */
interface ExternalAccountSetting {
  readonly kid: string;
  readonly key: string;
  readonly at: Directive;
}

export const issuerDirectives = defineDirectives("http_acme", {
  uri: text({
    in: IN,
    syntax: "uri",
    doc: "The URL of the CA's directory (RFC 8555 section 7.1.1). There must be one.",
    check: (value, at) => {
      if (!isUtf8(bytesOf(value))) refuse(at, "contains invalid UTF-8 sequence");
      if (!URL.canParse(utf8Of(value))) refuse(at, "invalid value");
    },
  }),
  account_key: directive<KeyType | { readonly file: string; readonly at: Directive }>({
    in: IN,
    args: [1, 1],
    syntax: "alg[:size] | file",
    doc: "The account's key: the type of one to make (`ecdsa:256`, `ecdsa:384`, `ecdsa:521`, `rsa:2048`, `rsa:3072`, `rsa:4096`), or the file of one that there is. One that was made is kept in `state_path`; without that it lasts over reloads only.",
    defaultText: "ecdsa:256",
    initial: () => DEFAULT_KEY,
    read(at) {
      const [written] = at.args;
      const type = parseKeyType(written);
      if (type === undefined) return { file: written, at };
      return "error" in type ? fail(at, `account_key: ${type.error}`) : type;
    },
  }),
  challenge: directive<ChallengeType>({
    in: IN,
    args: [1, 1],
    syntax: "http-01 | http | tls-alpn-01 | tls-alpn",
    doc: "How the CA is shown that names belong here: `http-01` answers a request on port 80, in whatever server it comes to, before anything else; `tls-alpn-01` answers a handshake on port 443.",
    defaultText: "http-01",
    initial: () => "http-01",
    read(at) {
      const [written] = at.args;
      return Object.hasOwn(CHALLENGES, written) ? CHALLENGES[written] : fail(at, `unsupported challenge: ${written}`);
    },
  }),
  common_name_in_csr: flag({
    in: IN,
    default: false,
    doc: "Names the first identifier in the request's subject too. Some CAs refuse that.",
  }),
  contact: list<string>({
    in: IN,
    args: [1, 1],
    syntax: "URL",
    doc: "Where the CA can reach who is responsible for the account; without a scheme an address for mail.",
    item(at) {
      const [written] = at.args;
      if (written === "") refuse(at, "invalid value");
      return utf8(at, /^[a-z][a-z0-9+.-]*:/i.test(written) ? written : `mailto:${written}`);
    },
  }),
  external_account_key: directive<ExternalAccountSetting, undefined>({
    in: IN,
    args: [2, 2],
    syntax: "kid file | kid data:key",
    doc: "The identifier and the MAC key of an account that one has with the CA outside ACME (RFC 8555 section 7.3.4); the key is in base64url, in a file or behind `data:`.",
    initial: () => undefined,
    read(at) {
      const [kid, key] = at.args;
      if (kid === "" || key === "") refuse(at, "invalid value");
      return { kid: utf8(at, kid), key, at };
    },
  }),
  preferred_chain: directive<string, undefined>({
    in: IN,
    args: [1, 1],
    syntax: "name",
    doc: "Where the CA offers several chains, takes the one whose topmost certificate is issued by this common name; its default chain where there is none.",
    initial: () => undefined,
    read: (at) => utf8(at, at.args[0]),
  }),
  profile: directive<{ readonly name: string; readonly required: boolean }, undefined>({
    in: IN,
    args: [1, 2],
    syntax: "name [require]",
    doc: "The certificate profile to ask for. With `require` nothing is ordered from a CA that does not have it.",
    initial: () => undefined,
    read(at) {
      const [name, require] = at.args;
      if (require !== undefined && require !== "require") refuse(at, "invalid value");
      return { name: utf8(at, name), required: require !== undefined };
    },
  }),
  ssl_trusted_certificate: directive<{ readonly file: string; readonly at: Directive }, undefined>({
    in: IN,
    args: [1, 1],
    syntax: "file",
    doc: "Certificates in PEM, by which the ACME server's own is verified.",
    defaultText: "the system's",
    initial: () => undefined,
    read: (at) => ({ file: at.args[0], at }),
  }),
  ssl_verify: flag({ in: IN, default: true, doc: "Verifies the ACME server's own certificate." }),
  state_path: text({
    in: IN,
    syntax: "path | off",
    defaultText: "acme_NAME",
    doc: "The directory where the account's key and the certificates are kept over restarts, with mode 0600; `off` keeps none. Its files are named as nginx's.",
  }),
  accept_terms_of_service: directive<boolean>({
    in: IN,
    args: [0, 0],
    syntax: "",
    doc: "Agrees to the terms of service of the CA, which many want before they have one as a client.",
    initial: () => false,
    read: () => true,
  }),
});

/** Checks a block when it has been read. */
export function checkIssuer(block: Scope): void {
  const { uri } = issuerDirectives.in(block);
  if (uri === undefined || URL.parse(utf8Of(uri))?.host === "") failAtEnd(block, 'acme_issuer: "uri" is missing');
}

function utf8(at: Directive, value: string): string {
  return isUtf8(bytesOf(value)) ? utf8Of(value) : refuse(at, "invalid value");
}

const bytesOf = (value: string): Buffer => Buffer.from(value, "latin1");

/** The text that a byte string is in UTF-8. */
export const utf8Of = (value: string): string => bytesOf(value).toString();
