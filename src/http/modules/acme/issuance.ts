import type { KeyObject, X509Certificate } from "node:crypto";
import { crypto } from "../../../sys/builtin.ts";
import { certificateRequest } from "./certificate_request.ts";
import type { CertificateZone } from "./certificate_zone.ts";
import { answerChallenge, type ChallengeType, forgetChallenge } from "./challenges.ts";
import { type AcmeClient, parsed, retryAfter } from "./client.ts";
import { generateKey, keyPem } from "./keys.ts";
import type { Order } from "./order.ts";
import { AcmeError, byteText, Problem, RateLimited } from "./problem.ts";
import { type Authorization, authorizationOf, challengeOf, type OrderResource, orderOf } from "./resources.ts";
import type { AcmeResponse } from "./transport.ts";

/** The way from an order to its certificate (RFC 8555 section 7.4). */

/** How long the server may take to validate one identifier, and to issue; ms. It is asked again after 1, 1, 2, 3, 5, 8, 8 … s. */
const AUTHORIZATION_TIMEOUT = 60_000;
const FINALIZE_TIMEOUT = 60_000;
const MOST_INTERVAL = 8000;

export interface IssuanceOptions {
  readonly challenge: ChallengeType;
  /** Where the answers to challenges go. */
  readonly zone: CertificateZone;
  readonly commonName: boolean;
  /** preferred_chain */
  readonly chain: string | undefined;
  readonly profile: string | undefined;
  /** What the certificate replaces (RFC 9773 section 5). */
  readonly replaces: string | undefined;
  /** Called where the server refuses that, and is asked without it. */
  readonly replacesRefused: (error: Problem) => void;
  /** Called before the server is asked to issue: what it has issued should not be lost. */
  readonly finalizing: () => void;
}

export interface Issued {
  /** PEM: the certificate and its chain, and its key. */
  readonly chain: string;
  readonly key: string;
}

export async function issue(client: AcmeClient, order: Order, options: IssuanceOptions): Promise<Issued> {
  const { newOrder } = await client.directory();
  const request = { identifiers: order.identifiers, ...(options.profile && { profile: options.profile }) };
  let response: AcmeResponse;
  try {
    response = await client.post(newOrder, { ...request, ...(options.replaces && { replaces: options.replaces }) });
  } catch (error) {
    if (options.replaces === undefined || !(error instanceof Problem) || !error.badReplaces) throw error;
    options.replacesRefused(error);
    response = await client.post(newOrder, request);
  }
  const url = response.headers.location ?? failed("invalid or missing order URL");
  const key = await generateKey(order.key);
  const { authorizations } = parsed(orderOf, response);
  // One for each identifier, usually; a client is not to rely on that (RFC 8555 section 7.1.3).
  if (authorizations.length > 4 * order.identifiers.length) failed("too many authorizations");
  for (const authorization of authorizations) await authorize(client, authorization, key, options);
  // Those that validate need not be those that know the order.
  const ready = await follow(client, url, await client.post(url), ["pending"], AUTHORIZATION_TIMEOUT);
  if (ready.status !== "ready") throw orderFailure(ready);
  const csr = certificateRequest(order, key, options.commonName).toString("base64url");
  options.finalizing();
  const finalized = await finalize(client, url, ready.finalize, csr);
  const done = await follow(client, url, finalized, ["ready", "processing"], FINALIZE_TIMEOUT);
  if (done.status !== "valid") throw orderFailure(done);
  const certificate = done.certificate ?? failed("no certificate in the completed order");
  const chain = await download(client, certificate, options.chain);
  return { chain, key: keyPem(key) };
}

async function finalize(client: AcmeClient, url: string, finalizeUrl: string, csr: string): Promise<AcmeResponse> {
  try {
    return await client.post(finalizeUrl, { csr });
  } catch (error) {
    if (error instanceof RateLimited || (error instanceof Problem && error.badOrder)) throw error;
    // A request that was repeated, or whose answer was lost, may have been taken.
    const response = await client.post(url);
    if (!["processing", "valid"].includes(parsed(orderOf, response).status)) throw error;
    return response;
  }
}

/** Asks for an order until its status is another. */
async function follow(
  client: AcmeClient,
  url: string,
  first: AcmeResponse,
  statuses: readonly string[],
  timeout: number,
): Promise<OrderResource> {
  const wait = patience(client, timeout);
  let response = first;
  for (;;) {
    const order = parsed(orderOf, response);
    if (!statuses.includes(order.status) || !(await wait(response))) return order;
    response = await client.post(url);
  }
}

async function authorize(
  client: AcmeClient,
  url: string,
  key: KeyObject,
  { challenge: type, zone }: IssuanceOptions,
): Promise<void> {
  const authorization = parsed(authorizationOf, await client.post(url));
  if (authorization.status === "valid") return;
  if (authorization.status !== "pending") throw new AcmeError(statusText("authorization", authorization.status));
  const challenge = authorization.challenges.find((each) => each.type === type);
  if (challenge === undefined) throw new AcmeError("no supported challenges");
  const { identifier } = authorization;
  const { token } = challenge;
  if (!/^[\w-]{1,255}$/.test(token)) throw new AcmeError("invalid challenge token");
  const asked = { type, identifier, token };
  answerChallenge(zone, asked, `${token}.${client.key.thumbprint}`, key);
  try {
    const response = await client.post(challenge.url, {});
    const { status } = parsed(challengeOf, response);
    // Why it is invalid, the authorization tells.
    if (!["pending", "processing", "valid", "invalid"].includes(status)) {
      throw new AcmeError(statusText("challenge", status));
    }
    await validated(client, url, response, type);
  } finally {
    forgetChallenge(zone, asked);
  }
}

async function validated(client: AcmeClient, url: string, first: AcmeResponse, type: string): Promise<void> {
  const wait = patience(client, AUTHORIZATION_TIMEOUT);
  let response = first;
  let result: Authorization;
  do {
    if (!(await wait(response))) throw new AcmeError("the authorization took too long");
    response = await client.post(url);
    result = parsed(authorizationOf, response);
  } while (result.status === "pending");
  if (result.status === "valid") return;
  const error = result.challenges.find((challenge) => challenge.type === type)?.error;
  throw error === undefined ? new AcmeError(statusText("authorization", result.status)) : new Problem(error);
}

/**
 * Waits each time it is called, as long as the response says or a little longer each time. Resolves to false at once when
 * `timeout` has passed.
 */
function patience(client: AcmeClient, timeout: number): (response: AcmeResponse) => Promise<boolean> {
  const end = performance.now() + timeout;
  let before = 0;
  let interval = 1000;
  return async (response) => {
    if (performance.now() >= end) return false;
    await client.pause(retryAfter(response) ?? interval);
    [before, interval] = [interval, Math.min(before + interval, MOST_INTERVAL)];
    return true;
  };
}

/** The certificate with the chain that is preferred, where the server has it. */
async function download(client: AcmeClient, url: string, preferred: string | undefined): Promise<string> {
  const response = await client.post(url);
  const fallback = chainOf(response);
  if (preferred === undefined || issuedFrom(fallback, preferred)) return pemOf(fallback);
  for (const link of alternates(response.headers.link)) {
    const alternate = URL.parse(link, url);
    if (alternate === null) continue;
    const chain = chainOf(await client.post(alternate.href));
    if (issuedFrom(chain, preferred)) return pemOf(chain);
  }
  return pemOf(fallback);
}

/** The targets of a Link field with rel="alternate" (RFC 8288). */
function alternates(field: string | readonly string[] | undefined): readonly string[] {
  const links = [field ?? []].flat().join(", ");
  return [...links.matchAll(/<([^>]+)>((?:\s*;\s*[\w*-]+\s*=\s*(?:"[^"]*"|[^",;\s]+))*)/g)]
    .filter(([, , parameters]) => /;\s*rel\s*=\s*(?:"(?:[^"]*\s)?alternate(?:\s[^"]*)?"|alternate\b)/i.test(parameters))
    .slice(0, 10)
    .map(([, target]) => target);
}

const CERTIFICATE = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;

function chainOf({ body }: AcmeResponse): readonly X509Certificate[] {
  try {
    const chain = (body.match(CERTIFICATE) ?? []).map((pem) => new (crypto().X509Certificate)(pem));
    return chain.length > 0 ? chain : failed("no certificate in the completed order");
  } catch (error) {
    if (error instanceof AcmeError) throw error;
    throw new AcmeError(`invalid certificate in the completed order: ${byteText(String(error))}`);
  }
}

const pemOf = (chain: readonly X509Certificate[]): string =>
  chain.map((certificate) => certificate.toString()).join("");

/** Whether the topmost certificate is issued by that common name. */
function issuedFrom(chain: readonly X509Certificate[], commonName: string): boolean {
  return chain[chain.length - 1].issuer.split("\n").includes(`CN=${commonName}`);
}

function orderFailure({ status, error }: OrderResource): AcmeError {
  return error === undefined ? new AcmeError(statusText("order", status)) : new Problem(error);
}

function statusText(what: string, status: string): string {
  return `unexpected ${what} status "${byteText(status)}"`;
}

function failed(message: string): never {
  throw new AcmeError(message);
}
