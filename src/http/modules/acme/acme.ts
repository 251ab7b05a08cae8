import os from "node:os";
import { directive, refuse } from "../../../config/directives.ts";
import { refusalsOf, warn } from "../../../config/errors.ts";
import { fail, type Scope, valueIn } from "../../../config/schema.ts";
import type { Directive } from "../../../config/types.ts";
import { parseSize } from "../../../config/values.ts";
import { openMainLog } from "../../../runtime/log/directive.ts";
import { type DeclaredZone, declareZone } from "../../../shm/registry.ts";
import type { Zone } from "../../../shm/zone.ts";
import { headText } from "../../../wire/head_text.ts";
import { defineModule, type HttpBuild, type HttpModule } from "../../conf/module.ts";
import { serverDirectives } from "../../conf/server_directives.ts";
import { DECLINED, DONE, OK } from "../../core/codes.ts";
import { discardBody } from "../../core/discard_body.ts";
import { finalizeRequest, sendText } from "../../core/engine.ts";
import type { Request } from "../../core/request.ts";
import { once } from "../../core/script.ts";
import type { Handler } from "../../core/types.ts";
import { ACME_ZONE, CertificateZone } from "./certificate_zone.ts";
import { challengeKey, HTTP_PREFIX } from "./challenges.ts";
import { type Issuer, issuerOf } from "./issuer.ts";
import { checkIssuer, issuerDirectives } from "./issuer_directives.ts";
import {
  DEFAULT_KEY,
  type Identifier,
  identifiersOf,
  type KeyType,
  makeOrder,
  type Order,
  parseKeyType,
} from "./order.ts";
import { ServedCertificate } from "./record.ts";
import { AcmeService } from "./service.ts";
import { markServing } from "./serving.ts";
import { restoreCertificate } from "./state_directory.ts";
import { orderStatus } from "./status.ts";
import { tlsResponder } from "./tls_responder.ts";

/** One `acme_certificate`. */
interface CertificateSetting {
  readonly issuer: string;
  /** None: those of `server_name`. */
  readonly identifiers: readonly Identifier[];
  readonly key: KeyType;
  readonly at: Directive;
}

const DEFAULT_ZONE = { name: "ngx_acme_shared", size: 256 * 1024 } as const;
const LEAST_ZONE = 8 * 4096;

const specs = {
  acme_issuer: directive<readonly string[]>({
    in: ["http"],
    args: [1, 1],
    block: "acme_issuer",
    repeat: true,
    inherit: false,
    syntax: "name { … }",
    doc: "A CA that certificates are had from by the ACME protocol. It needs a `resolver` in the http block.",
    initial: () => [],
    read(at, _scope, previous = []) {
      const [name] = at.args;
      if (previous.includes(name)) refuse(at, "is duplicate");
      return [...previous, name];
    },
    close: checkIssuer,
  }),
  acme_shared_zone: directive<DeclaredZone, undefined>({
    in: ["http"],
    args: [1, 1],
    syntax: "zone=name:size",
    doc: "The shared memory in which workers find the certificates, keys and answers to challenges of all issuers.",
    defaultText: "zone=ngx_acme_shared:256k",
    initial: () => undefined,
    read(at, scope) {
      const [, zone] = /^zone=(.*)$/s.exec(at.args[0]) ?? fail(at, `"${at.name}" must have "zone" parameter`);
      const colon = zone.indexOf(":");
      const size = colon === -1 ? undefined : parseSize(zone.slice(colon + 1));
      if (size === undefined) fail(at, `${at.name}: invalid zone size "${zone}"`);
      const name = zone.slice(0, colon);
      if (size < LEAST_ZONE) fail(at, `${at.name}: zone ${name} is too small`);
      return declareZone(at, scope, ACME_ZONE, name, size);
    },
  }),
  acme_certificate: directive<CertificateSetting, undefined>({
    in: ["server"],
    args: [1, Number.POSITIVE_INFINITY],
    syntax: "issuer [identifier ...] [key=alg[:size]]",
    doc: "Has a certificate from an issuer, for names and IP addresses, or for those of `server_name` where none are given; regular expressions and wildcards among these cannot be. It is in `$acme_certificate` and `$acme_certificate_key` of this server, and renewed in time without a reload. The key is `ecdsa:256` (the default), `ecdsa:384`, `ecdsa:521`, `rsa:2048`, `rsa:3072` or `rsa:4096`.",
    initial: () => undefined,
    read: readCertificate,
  }),
};

function readCertificate(at: Directive): CertificateSetting {
  const [issuer, ...rest] = at.args;
  if (issuer === "") refuse(at, '"issuer" is missing');
  const identifiers: Identifier[] = [];
  let key = DEFAULT_KEY;
  for (const word of rest) {
    if (word.startsWith("key=")) {
      const type = parseKeyType(word.slice("key=".length)) ?? refuse(at, 'invalid "key" value');
      if ("error" in type) fail(at, `${at.name}: ${type.error}`);
      key = type;
      continue;
    }
    if (word === "") refuse(at, "invalid value");
    const found = identifiersOf(word);
    if (typeof found === "string") fail(at, `${at.name}: ${found}`);
    identifiers.push(...found);
  }
  return { issuer, identifiers, key, at };
}

/** What a location has of it. */
interface Acme {
  /** Of `acme_certificate`. */
  readonly certificate: ServedCertificate | undefined;
  /** Where the answers to http-01 are; undefined where nothing is asked for that way. */
  readonly challenges: CertificateZone | undefined;
}

const NOTHING: Acme = { certificate: undefined, challenges: undefined };

const served = new WeakMap<CertificateSetting, ServedCertificate>();
const challengesOf = new WeakMap<HttpBuild, CertificateZone>();

/** ngx_http_acme_module: certificates from a CA that speaks ACME (RFC 8555). The checker has them issued (service.ts). */
export const acme: HttpModule<Acme> = defineModule({
  name: "http_acme",
  directives: { ...issuerDirectives.specs, ...specs },
  variables: {
    acme_certificate: once(({ location }) => acme.of(location).certificate?.chain),
    acme_certificate_key: once(({ location }) => acme.of(location).certificate?.key),
  },
  setup,
  build({ acme_certificate: setting }, { http }): Acme {
    const challenges = challengesOf.get(http);
    const certificate = setting && served.get(setting);
    return challenges === undefined && certificate === undefined ? NOTHING : { certificate, challenges };
  },
  postRead: ({ challenges }): Handler | undefined => challenges && ((request) => answerHttp(request, challenges)),
});

const TEXT_PLAIN = headText("text/plain");

function answerHttp(request: Request, challenges: CertificateZone): number {
  if (!request.uri.startsWith(HTTP_PREFIX) || request.method !== "GET") return DECLINED;
  const answer = challenges.read(challengeKey("http-01", request.uri.slice(HTTP_PREFIX.length)));
  if (answer === undefined) return DECLINED;
  const broken = discardBody(request);
  if (broken !== OK) return broken;
  request.keepalive = false;
  finalizeRequest(request, sendText(request, 200, TEXT_PLAIN, answer.text));
  return DONE;
}

function setup(http: HttpBuild): void {
  const { cycle, scope, workers, checkers, responders, certificates } = http;
  const blocks = scope.children.filter(({ context }) => context === "acme_issuer");
  const settingOf = (server: Scope) =>
    server.context === "server" ? valueIn(server, specs.acme_certificate) : undefined;
  if (blocks.length === 0 && scope.children.every((child) => settingOf(child) === undefined)) return;
  const refusals = refusalsOf(scope);
  const log = openMainLog(cycle);
  const issuers = new Map<string, Issuer & { readonly orders: Order[] }>();
  for (const block of blocks) {
    const issuer = refusals.attempt(() => issuerOf(block, http, log), "complete");
    if (issuer !== undefined) issuers.set(issuer.name, { ...issuer, orders: [] });
  }
  const settings = new Map<CertificateSetting, Order>();
  for (const server of scope.children) {
    const setting = settingOf(server);
    const order = setting && refusals.attempt(() => orderOf(setting, server, issuers), "complete");
    if (setting !== undefined && order !== undefined) settings.set(setting, order);
  }
  if (settings.size === 0) return;
  const { kind, name, size } =
    valueIn(scope, specs.acme_shared_zone) ??
    declareZone(blocks[0].directive, scope, ACME_ZONE, DEFAULT_ZONE.name, DEFAULT_ZONE.size);
  const migrate = (old: Zone, fresh: Zone): void => new CertificateZone(old).copyTo(new CertificateZone(fresh));
  const zone = new CertificateZone(cycle.zone({ kind, name, size, migrate }));
  const all = [...issuers.values()];
  // With that the first handshakes are answered. Who builds first does it: the master, or a child where a reload keeps the zone.
  for (const issuer of all) for (const order of issuer.orders) restoreCertificate(zone, issuer, order, log);
  for (const [setting, order] of settings) served.set(setting, new ServedCertificate(zone, order));
  const challenges = new Set(all.filter(({ orders }) => orders.length > 0).map(({ challenge }) => challenge));
  if (challenges.has("http-01")) challengesOf.set(http, zone);
  if (challenges.has("tls-alpn-01")) responders.push(tlsResponder(zone));
  certificates.push(() => all.flatMap(({ orders }) => orders.map((order) => orderStatus(zone, order))));
  const { generation } = cycle.data;
  workers.push(markServing(zone, generation));
  checkers.push({ name: "http_acme", check: (previous) => new AcmeService(all, zone, generation, log, previous) });
}

/** What a server orders, put among its issuer's orders. Throws ConfigError. */
function orderOf(
  { issuer: name, identifiers, key, at }: CertificateSetting,
  server: Scope,
  issuers: ReadonlyMap<string, { readonly orders: Order[] }>,
): Order {
  const order = makeOrder(name, identifiers.length > 0 ? identifiers : serverIdentifiers(server, at), key);
  const { orders } = issuers.get(name) ?? fail(at, `issuer "${name}" is missing`);
  const known = orders.find(({ id }) => id === order.id);
  if (known !== undefined) return known;
  orders.push(order);
  return order;
}

function serverIdentifiers(server: Scope, at: Directive): readonly Identifier[] {
  const identifiers: Identifier[] = [];
  for (const word of serverDirectives.in(server).server_name.flatMap(({ args }) => args)) {
    if (word.startsWith("~")) {
      warn(at, server, `"acme_certificate": unsupported regular expression in server_name: ${word}`);
      continue;
    }
    if (word === "") continue;
    const found = identifiersOf(word.toLowerCase() === "$hostname" ? os.hostname() : word);
    if (typeof found === "string") fail(at, `"acme_certificate": ${found}`);
    identifiers.push(...found);
  }
  if (identifiers.length === 0) fail(at, '"acme_certificate": no identifiers found in "server_name"');
  return identifiers;
}
