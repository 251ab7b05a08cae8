import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { type TestContext, test } from "node:test";
import { AcmeClient } from "../../../../src/http/modules/acme/client.ts";
import { AccountKey } from "../../../../src/http/modules/acme/jws.ts";
import { AcmeError, Problem, RateLimited } from "../../../../src/http/modules/acme/problem.ts";
import { Transport } from "../../../../src/http/modules/acme/transport.ts";
import { Resolver } from "../../../../src/net/resolver.ts";

/** An ACME server may send anything: every answer becomes a result or an AcmeError, in bounded time and memory. */

type Answer = (request: IncomingMessage, response: ServerResponse) => void;

const key = new AccountKey(generateKeyPairSync("ec", { namedCurve: "prime256v1" }).privateKey);

/** A client of a server that answers so. `url`: of its root. */
async function clientOf(
  t: TestContext,
  answer: Answer,
): Promise<{ client: AcmeClient; url: string; stop: AbortController }> {
  const server = createServer(answer);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const stop = new AbortController();
  const resolver = new Resolver({ servers: [], valid: 0, ipv4: true, ipv6: true, log: () => {} });
  const { signal } = stop;
  const transport = new Transport({ resolver, resolverTimeout: 1000, verify: true, trusted: undefined, signal });
  return { client: new AcmeClient(`${url}/directory`, key, transport, signal), url, stop };
}

/** The message of the AcmeError that a promise rejects with. */
async function failure(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
  } catch (error) {
    assert.ok(error instanceof AcmeError, String(error));
    return error.message;
  }
  return assert.fail("it was taken");
}

const json =
  (value: unknown): Answer =>
  (_request, response) => {
    response.end(JSON.stringify(value));
  };

test("a directory that is none", async (t) => {
  const whole = { newNonce: "http://a/", newAccount: "http://a/", newOrder: "http://a/" };
  const answers: readonly (readonly [Answer, RegExp])[] = [
    [json([]), /^cannot deserialize response \(no object\)$/],
    [json("text"), /no object/],
    [json({}), /^cannot deserialize response \(missing field "newNonce"\)$/],
    [json({ ...whole, newOrder: 1 }), /missing field "newOrder"/],
    [(_, response) => response.end("<html>"), /^cannot deserialize response \(Unexpected token/],
    [(_, response) => response.writeHead(503).end("<html>"), /^unexpected status code 503 in response$/],
    [(_, response) => response.writeHead(302).end(), /^redirect failed: missing redirect URI$/],
    [(_, response) => response.writeHead(302, { Location: "/" }).end(), /^redirect failed: too many redirects$/],
    [(_, response) => response.writeHead(302, { Location: "file:///etc/passwd" }).end(), /^invalid uri: "file:/],
    [
      (_, response) => response.writeHead(302, { Location: "http://[" }).end(),
      /^redirect failed: invalid redirect URI$/,
    ],
    [(_, response) => response.end("x".repeat(65_537)), /length limit exceeded/],
    [(request) => request.socket.end("rubbish"), /^127\.0\.0\.1: Parse Error/],
    [(request) => request.socket.destroy(), /socket hang up/],
  ];
  for (const [answer, expected] of answers) {
    const { client } = await clientOf(t, answer);
    assert.match(await failure(client.directory()), expected);
  }
  const { client } = await clientOf(
    t,
    json({ ...whole, meta: { profiles: { a: 1 }, externalAccountRequired: "yes" } }),
  );
  assert.deepEqual(await client.directory(), {
    ...whole,
    renewalInfo: undefined,
    externalAccountRequired: false,
    termsOfService: undefined,
    profiles: ["a"],
  });
});

/** Gives out nonces, and answers what is posted. */
function posts(answer: Answer): Answer {
  return (request, response) => {
    response.setHeader("Replay-Nonce", "n");
    const base = `http://${request.headers.host}`;
    if (request.url === "/directory") {
      json({ newNonce: `${base}/nonce`, newAccount: `${base}/account`, newOrder: base })(request, response);
    } else if (request.url === "/nonce") response.end();
    else answer(request, response);
  };
}

const problem =
  (document: unknown, headers: Readonly<Record<string, string>> = {}): Answer =>
  (_request, response) => {
    response.writeHead(400, { "Content-Type": "application/problem+json", ...headers }).end(JSON.stringify(document));
  };

test("problems are told by their type, and shown whatever they consist of", async (t) => {
  const type = "urn:ietf:params:acme:error:rejectedIdentifier";
  const subproblems = [{ detail: "no", identifier: { type: "dns", value: "a.test" } }, 1, null, { identifier: 2 }];
  const cases: readonly (readonly [unknown, string, string])[] = [
    [{ type, detail: "not you", subproblems }, "rejectedIdentifier", `${type}: not you; a.test: no; `],
    [{ type: 1, detail: {} }, "", "about:blank: "],
    [{ type: "urn:other", detail: "\u2026" }, "", `urn:other: ${Buffer.from("\u2026").toString("latin1")}`],
  ];
  for (const [document, known, text] of cases) {
    const { client, url } = await clientOf(t, posts(problem(document)));
    await assert.rejects(client.post(`${url}/x`), (error) => {
      assert.ok(error instanceof Problem);
      assert.deepEqual([error.type, error.message], [known, text]);
      return true;
    });
  }
});

test("who is asked to come back later is told when, and nonces are not tried for ever", async (t) => {
  const limited = { type: "urn:ietf:params:acme:error:rateLimited" };
  const { client, url } = await clientOf(t, posts(problem(limited, { "Retry-After": "86400" })));
  await assert.rejects(
    client.post(`${url}/x`),
    (error) => error instanceof RateLimited && error.retryAfter === 86_400_000,
  );
  let asked = 0;
  const counted = posts((request, response) => {
    asked++;
    problem({ type: "urn:ietf:params:acme:error:badNonce" })(request, response);
  });
  const other = await clientOf(t, counted);
  assert.match(await failure(other.client.post(`${other.url}/x`)), /badNonce/);
  assert.equal(asked, 11);
});

test("an account that is none, and a window that is none", async (t) => {
  const options = { contacts: [], acceptsTerms: true, external: undefined };
  for (const [account, headers, expected] of [
    [{ status: "revoked" }, { Location: "http://a/" }, /^unexpected account status "revoked"$/],
    [{ status: "valid" }, {}, /^no account URL in response$/],
  ] as const) {
    const { client } = await clientOf(
      t,
      posts((_request, response) => {
        response.writeHead(201, headers).end(JSON.stringify(account));
      }),
    );
    assert.match(await failure(client.openAccount(options)), expected);
  }
  const windows: readonly unknown[] = [
    {},
    { start: "a", end: "b" },
    { start: "2026-01-02T00:00:00Z", end: "2026-01-01T00:00:00Z" },
  ];
  for (const suggestedWindow of windows) {
    const { client } = await clientOf(t, (request, response) => {
      const base = `http://${request.headers.host}`;
      const directory = { newNonce: base, newAccount: base, newOrder: base, renewalInfo: `${base}/renewal` };
      json(request.url === "/directory" ? directory : { suggestedWindow })(request, response);
    });
    assert.match(await failure(client.renewalInfo("id")), /missing field "start"|invalid renewal window/);
  }
});

test("a server that does not answer is left when all is to end", async (t) => {
  const { client, url, stop } = await clientOf(
    t,
    posts(() => stop.abort()),
  );
  assert.match(await failure(client.post(`${url}/x`)), /aborted/);
  assert.match(await failure(client.pause(60_000)), /^stopped$/);
});
