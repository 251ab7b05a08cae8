import assert from "node:assert/strict";
import { createHash, createHmac, createPublicKey, randomBytes, verify, X509Certificate } from "node:crypto";
import { request as httpRequest, type IncomingMessage, ServerResponse } from "node:http";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import type { TestContext } from "node:test";
import { connect } from "node:tls";
import { namesOf, TestCa } from "./acme_ca.ts";
import { selfSigned } from "./certificates.ts";

/**
 * An ACME server (RFC 8555, RFC 8737, RFC 9773) that takes nothing on trust: it checks every signature, nonce and URL, fetches
 * the answers to its challenges, and has `openssl` sign what it issues. `faults` make it refuse.
 */
export interface AcmeServerOptions {
  /** Where http-01 and tls-alpn-01 look, ports of 127.0.0.1, whatever the identifier is. */
  readonly httpPort?: number;
  readonly tlsPort?: number;
  /** The MAC keys of accounts that are known outside ACME: without one no account is made. */
  readonly externalAccounts?: Readonly<Record<string, Buffer>>;
  readonly profiles?: readonly string[];
  readonly termsOfService?: boolean;
  /** Whether it says when to renew. */
  readonly renewalInfo?: boolean;
  /** `https://NAME`, for which its own certificate is. Default: localhost. */
  readonly name?: string;
}

/** What it refuses next: the problem to answer a request for that resource with. Each is used once. */
export interface Fault {
  readonly resource: string;
  readonly status?: number;
  /** "lost": does what is asked, and breaks the connection off before it answers. */
  readonly type: string;
  readonly detail?: string;
  readonly retryAfter?: string;
}

/** A public key as JSON (RFC 7517). */
type Jwk = Readonly<Record<string, string>>;

interface Account {
  readonly url: string;
  readonly jwk: Jwk;
  readonly contact: readonly string[];
  readonly external: string | undefined;
}

interface Authorization {
  readonly identifier: { readonly type: string; readonly value: string };
  readonly token: string;
  status: "pending" | "valid" | "invalid";
  error: object | undefined;
}

interface Order {
  readonly account: Account;
  readonly authorizations: readonly number[];
  readonly identifiers: readonly Authorization["identifier"][];
  readonly profile: string | undefined;
  readonly replaces: string | undefined;
  certificate: string | undefined;
  /** How often it is still "processing" when it is asked for. */
  processing: number;
}

class Refusal extends Error {
  readonly fault: Omit<Fault, "resource">;

  constructor(type: string, detail: string, status = 400) {
    super(detail);
    this.fault = { type, detail, status };
  }
}

export class AcmeServer {
  readonly ca: TestCa;
  /** PEM, to verify its own certificate with. */
  readonly trusted: string;
  readonly accounts: Account[] = [];
  readonly orders: Order[] = [];
  readonly faults: Fault[] = [];
  /** Requests by resource. */
  readonly asked: string[] = [];
  /** Certificates in the order issued, PEM without their chain, and what was requested. */
  readonly issued: string[] = [];
  readonly requests: string[] = [];
  /** When to renew, by RFC 9773's identifier, ms since 1970. Default: in 30 days. */
  readonly windows = new Map<string, { readonly start: number; readonly end: number }>();
  /** What requests for a resource wait for. */
  hold: { readonly resource: string; readonly until: Promise<void> } | undefined;
  /** How many requests for a nonce's use are answered with badNonce. */
  badNonces = 0;
  readonly #options: AcmeServerOptions;
  readonly #authorizations: Authorization[] = [];
  readonly #nonces = new Set<string>();
  #port = 0;

  private constructor(t: TestContext, options: AcmeServerOptions, trusted: string) {
    this.#options = options;
    this.ca = new TestCa(t);
    this.trusted = trusted;
  }

  static async start(t: TestContext, options: AcmeServerOptions = {}): Promise<AcmeServer> {
    const { certificate, key } = selfSigned(options.name ?? "localhost");
    const server = new AcmeServer(t, options, certificate);
    const listening = createServer({ cert: certificate, key }, (request, response) => {
      server.#handle(request, response).catch((error: unknown) => {
        response.destroy();
        if (!request.destroyed) t.diagnostic(`ACME server: ${String(error)}`);
      });
    });
    await new Promise<void>((resolve) => listening.listen(0, "127.0.0.1", resolve));
    server.#port = (listening.address() as AddressInfo).port;
    t.after(() => {
      listening.closeAllConnections();
      listening.close();
    });
    return server;
  }

  /** The directory. */
  get url(): string {
    return this.#url("directory");
  }

  /** How often a resource was asked for. */
  count(resource: string): number {
    return this.asked.filter((each) => each === resource).length;
  }

  #url(path: string): string {
    return `https://${this.#options.name ?? "localhost"}:${this.#port}/${path}`;
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const [, resource = "", id = ""] = (request.url ?? "").split("/");
    this.asked.push(resource);
    if (resource === this.hold?.resource) await this.hold.until;
    const body = await textOf(request);
    const nonce = randomBytes(12).toString("base64url");
    this.#nonces.add(nonce);
    response.setHeader("Replay-Nonce", nonce);
    try {
      const fault = this.faults.findIndex((each) => each.resource === resource);
      const [refused] = fault < 0 ? [] : this.faults.splice(fault, 1);
      if (refused?.type === "lost") {
        this.#signed(request, new ServerResponse(request), resource, id, body);
        request.socket.destroy();
      } else if (refused !== undefined) this.#refuse(response, refused);
      else if (request.method === "POST") this.#signed(request, response, resource, id, body);
      else this.#plain(response, resource, id);
    } catch (error) {
      if (error instanceof Refusal) this.#refuse(response, error.fault);
      else this.#refuse(response, { type: "serverInternal", status: 500, detail: String(error) });
    }
  }

  #refuse(
    response: ServerResponse,
    { type, status = 400, detail = "as it was told", retryAfter }: Omit<Fault, "resource">,
  ): void {
    if (retryAfter !== undefined) response.setHeader("Retry-After", retryAfter);
    const problem = { type: `urn:ietf:params:acme:error:${type}`, detail };
    response.writeHead(status, { "Content-Type": "application/problem+json" }).end(JSON.stringify(problem));
  }

  #plain(response: ServerResponse, resource: string, id: string): void {
    if (resource === "directory") answer(response, 200, this.#directory());
    else if (resource === "nonce") response.writeHead(200, { "Cache-Control": "no-store" }).end();
    else if (resource === "renewal") this.#renewal(response, id);
    else throw new Refusal("malformed", `no ${resource}`, 404);
  }

  #directory(): object {
    const { externalAccounts, profiles, termsOfService, renewalInfo } = this.#options;
    return {
      newNonce: this.#url("nonce"),
      newAccount: this.#url("new-account"),
      newOrder: this.#url("new-order"),
      ...(renewalInfo ? { renewalInfo: this.#url("renewal") } : {}),
      meta: {
        ...(externalAccounts ? { externalAccountRequired: true } : {}),
        ...(termsOfService ? { termsOfService: this.#url("terms") } : {}),
        ...(profiles ? { profiles: Object.fromEntries(profiles.map((name) => [name, "a profile"])) } : {}),
      },
    };
  }

  #renewal(response: ServerResponse, identifier: string): void {
    const day = 86_400_000;
    const { start, end } = this.windows.get(identifier) ?? { start: Date.now() + 30 * day, end: Date.now() + 31 * day };
    response.setHeader("Retry-After", "21600");
    const suggestedWindow = { start: new Date(start).toISOString(), end: new Date(end).toISOString() };
    answer(response, 200, { suggestedWindow, explanationURL: "https://localhost/why" });
  }

  #signed(request: IncomingMessage, response: ServerResponse, resource: string, id: string, body: string): void {
    if (request.headers["content-type"] !== "application/jose+json")
      throw new Refusal("malformed", "content type", 415);
    const jws = JSON.parse(body);
    const header = JSON.parse(base64url(jws.protected).toString());
    if (this.badNonces > 0) {
      this.badNonces--;
      throw new Refusal("badNonce", "told to refuse it");
    }
    if (!this.#nonces.delete(header.nonce)) throw new Refusal("badNonce", `nonce ${header.nonce} was not given out`);
    if (header.url !== this.#url((request.url ?? "").slice(1))) throw new Refusal("unauthorized", `url ${header.url}`);
    const account = this.accounts.find(({ url }) => url === header.kid);
    const jwk = resource === "new-account" ? header.jwk : account?.jwk;
    if (jwk === undefined) throw new Refusal("accountDoesNotExist", `kid ${header.kid}`);
    checkSignature(jws, header.alg, jwk);
    const payload = jws.payload === "" ? undefined : JSON.parse(base64url(jws.payload).toString());
    if (resource === "new-account") this.#newAccount(response, jwk, payload);
    else if (account === undefined) throw new Refusal("accountDoesNotExist", "no account");
    else if (resource === "new-order") this.#newOrder(response, account, payload);
    else if (resource === "authorization") answer(response, 200, this.#authorizationJson(Number(id)));
    else if (resource === "challenge") this.#challenge(response, account, Number(id), payload);
    else if (resource === "order") this.#order(response, Number(id));
    else if (resource === "finalize") this.#finalize(response, Number(id), payload);
    else if (resource === "certificate" || resource === "alternate") this.#certificate(response, resource, Number(id));
    else throw new Refusal("malformed", `no ${resource}`, 404);
  }

  #newAccount(response: ServerResponse, jwk: Jwk, payload: Record<string, unknown>): void {
    const { externalAccounts, termsOfService } = this.#options;
    let account = this.accounts.find((each) => thumbprint(each.jwk) === thumbprint(jwk));
    const status = account === undefined ? 201 : 200;
    if (account === undefined) {
      if (termsOfService && payload.termsOfServiceAgreed !== true) {
        throw new Refusal("userActionRequired", "the terms of service are to be agreed to", 403);
      }
      const binding = payload.externalAccountBinding;
      const external = externalAccounts && this.#external(binding, jwk, externalAccounts);
      const contact = Array.isArray(payload.contact) ? payload.contact : [];
      account = { url: this.#url(`account/${this.accounts.length}`), jwk, contact, external };
      this.accounts.push(account);
    }
    response.setHeader("Location", account.url);
    answer(response, status, { status: "valid", contact: account.contact });
  }

  #external(binding: unknown, jwk: Jwk, known: Readonly<Record<string, Buffer>>): string {
    if (typeof binding !== "object" || binding === null) throw new Refusal("externalAccountRequired", "no binding");
    const jws = binding as Record<string, string>;
    const { alg, kid, url } = JSON.parse(base64url(jws.protected).toString());
    assert.deepEqual({ alg, url }, { alg: "HS256", url: this.#url("new-account") });
    const mac = createHmac("sha256", known[kid] ?? "")
      .update(`${jws.protected}.${jws.payload}`)
      .digest("base64url");
    if (mac !== jws.signature)
      throw new Refusal("unauthorized", `the binding to ${kid} is not signed with its key`, 403);
    assert.deepEqual(JSON.parse(base64url(jws.payload).toString()), jwk);
    return kid;
  }

  #newOrder(response: ServerResponse, account: Account, payload: Record<string, unknown>): void {
    const identifiers = payload.identifiers as Authorization["identifier"][];
    const authorizations = identifiers.map((identifier) => {
      const token = randomBytes(16).toString("base64url");
      return this.#authorizations.push({ identifier, token, status: "pending", error: undefined }) - 1;
    });
    const profile = payload.profile === undefined ? undefined : String(payload.profile);
    if (profile !== undefined && !this.#options.profiles?.includes(profile)) {
      throw new Refusal("invalidProfile", `no profile "${profile}"`);
    }
    const replaces = payload.replaces === undefined ? undefined : String(payload.replaces);
    this.orders.push({
      account,
      authorizations,
      identifiers,
      profile,
      replaces,
      certificate: undefined,
      processing: 1,
    });
    this.#order(response, this.orders.length - 1, 201);
  }

  #order(response: ServerResponse, id: number, status = 200): void {
    const order = this.orders[id];
    response.setHeader("Location", this.#url(`order/${id}`));
    const statuses = order.authorizations.map((each) => this.#authorizations[each].status);
    let state = statuses.includes("invalid") ? "invalid" : statuses.includes("pending") ? "pending" : "ready";
    if (order.certificate !== undefined) {
      state = order.processing-- > 0 ? "processing" : "valid";
      response.setHeader("Retry-After", "0");
    }
    answer(response, status, {
      status: state,
      identifiers: order.identifiers,
      authorizations: order.authorizations.map((each) => this.#url(`authorization/${each}`)),
      finalize: this.#url(`finalize/${id}`),
      ...(state === "valid" ? { certificate: this.#url(`certificate/${id}`) } : {}),
    });
  }

  #authorizationJson(id: number): object {
    const { identifier, status } = this.#authorizations[id];
    const types = identifier.value.startsWith("*.") ? ["dns-01"] : ["dns-01", "http-01", "tls-alpn-01"];
    return { identifier, status, challenges: types.map((type) => this.#challengeJson(type, id)) };
  }

  #challengeJson(type: string, id: number): object {
    const { token, status, error } = this.#authorizations[id];
    return { type, url: this.#url(`challenge/${id}/${type}`), token, status, ...(error ? { error } : {}) };
  }

  /** Looks at once: a server may also do that later, and does where `status` is asked for again. */
  #challenge(response: ServerResponse, account: Account, id: number, payload: unknown): void {
    assert.deepEqual(payload, {});
    const authorization = this.#authorizations[id];
    const type = response.req.url?.split("/")[3] ?? "";
    const expected = `${authorization.token}.${thumbprint(account.jwk)}`;
    const looking =
      type === "http-01" ? this.#lookHttp(authorization, expected) : this.#lookTls(authorization, expected);
    looking.then(
      () => {
        authorization.status = "valid";
      },
      (error: unknown) => {
        authorization.status = "invalid";
        authorization.error = { type: "urn:ietf:params:acme:error:unauthorized", detail: String(error), status: 403 };
      },
    );
    response.setHeader("Retry-After", "0");
    answer(response, 200, this.#challengeJson(type, id));
  }

  async #lookHttp({ identifier, token }: Authorization, expected: string): Promise<void> {
    const path = `/.well-known/acme-challenge/${token}`;
    const headers = { Host: identifier.value };
    const response = await new Promise<IncomingMessage>((resolve, reject) => {
      httpRequest({ host: "127.0.0.1", port: this.#options.httpPort, path, headers, agent: false }, resolve)
        .on("error", reject)
        .end();
    });
    assert.equal(`${response.statusCode} ${(await textOf(response)).trimEnd()}`, `200 ${expected}`);
  }

  /** RFC 8737 section 3 */
  async #lookTls({ identifier }: Authorization, expected: string): Promise<void> {
    const { type, value } = identifier;
    const servername = type === "dns" ? value : `${value.split(".").reverse().join(".")}.in-addr.arpa`;
    const port = this.#options.tlsPort ?? 0;
    const socket = connect({
      host: "127.0.0.1",
      port,
      servername,
      ALPNProtocols: ["acme-tls/1"],
      rejectUnauthorized: false,
    });
    await new Promise((resolve, reject) => socket.once("secureConnect", resolve).once("error", reject));
    const { raw } = socket.getPeerX509Certificate() ?? assert.fail("no certificate");
    const protocol = socket.alpnProtocol;
    socket.destroy();
    assert.equal(protocol, "acme-tls/1");
    const shown = new X509Certificate(raw);
    assert.equal(shown.subjectAltName, type === "dns" ? `DNS:${value}` : `IP Address:${value}`);
    // id-pe-acmeIdentifier, critical, an octet string within an octet string.
    const digest = createHash("sha256").update(expected).digest("hex");
    assert.ok(raw.toString("hex").includes(`06082b0601050507011f0101ff042204 20${digest}`.replace(" ", "")));
    assert.ok(shown.verify(shown.publicKey), "signed by itself");
  }

  #finalize(response: ServerResponse, id: number, payload: Record<string, unknown>): void {
    const order = this.orders[id];
    if (order.authorizations.some((each) => this.#authorizations[each].status !== "valid")) {
      throw new Refusal("orderNotReady", "there are authorizations to come", 403);
    }
    if (order.certificate !== undefined) throw new Refusal("orderNotReady", "it has been finalized", 403);
    const request = base64url(String(payload.csr));
    this.requests.push(this.ca.describe(request));
    const certificate = this.ca.sign(request);
    const wanted = order.identifiers.map(({ type, value }) =>
      type === "dns" ? `DNS:${value}` : `IP Address:${value}`,
    );
    if (namesOf(certificate) !== wanted.join(", ")) throw new Refusal("badCSR", `names ${namesOf(certificate)}`);
    this.issued.push(certificate);
    order.certificate = certificate;
    this.#order(response, id);
  }

  #certificate(response: ServerResponse, resource: string, id: number): void {
    const { certificate = "" } = this.orders[id];
    response.setHeader("Link", [`<${this.url}>;rel="index"`, `<${this.#url(`alternate/${id}`)}>;rel="alternate"`]);
    response.writeHead(200, { "Content-Type": "application/pem-certificate-chain" });
    response.end(certificate + (resource === "alternate" ? this.ca.crossSigned : this.ca.certificate));
  }
}

function answer(response: ServerResponse, status: number, json: object): void {
  response.writeHead(status, { "Content-Type": "application/json" }).end(JSON.stringify(json));
}

async function textOf(message: IncomingMessage): Promise<string> {
  const pieces: Buffer[] = [];
  for await (const piece of message) pieces.push(piece);
  return Buffer.concat(pieces).toString();
}

function base64url(text: string): Buffer {
  if (!/^[\w-]*$/.test(text)) throw new Refusal("malformed", "not base64url");
  return Buffer.from(text, "base64url");
}

const HASHES: Readonly<Record<string, string>> = { ES256: "sha256", ES384: "sha384", ES512: "sha512", RS256: "sha256" };

function checkSignature(jws: Readonly<Record<string, string>>, alg: string, jwk: Jwk): void {
  const key = createPublicKey({ key: jwk, format: "jwk" });
  const input = Buffer.from(`${jws.protected}.${jws.payload}`);
  const hash = HASHES[alg] ?? assert.fail(`alg ${alg}`);
  if (!verify(hash, input, { key, dsaEncoding: "ieee-p1363" }, base64url(jws.signature))) {
    throw new Refusal("malformed", "the signature is wrong");
  }
}

/** RFC 7638 */
function thumbprint({ kty, crv, x, y, e, n }: Jwk): string {
  const members = kty === "EC" ? { crv, kty, x, y } : { e, kty, n };
  return createHash("sha256").update(JSON.stringify(members)).digest("base64url");
}
