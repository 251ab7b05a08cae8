import assert from "node:assert/strict";
import type { IncomingMessage, ServerResponse } from "node:http";
import { constants } from "node:http2";
import { connect, createServer, type Socket } from "node:net";
import { type TestContext, test } from "node:test";
import { h2Request, h2Session } from "../support/h2.ts";
import { noRedis, startRedis } from "../support/redis.ts";
import { patch, type Shop, sessionOf, startShop } from "../support/shop.ts";
import { RawConnection, type RawResponse } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

/**
 * Clients that go while the store of a group is asked. What their requests and responses were made of serves others by the time it
 * answers, and nobody is to find anything of theirs in it.
 */

const KEY = "0123456789abcdef".repeat(4);

/** What stands between Holdfast and Redis, and can keep what Redis is asked. */
interface Gate {
  readonly port: number;
  shut(): void;
  /** What is kept. */
  waiting(): string;
  open(): void;
}

async function startGate(t: TestContext, redis: number): Promise<Gate> {
  const sockets = new Set<Socket>();
  let kept: (readonly [to: Socket, bytes: Buffer])[] = [];
  let isShut = false;
  const server = createServer((from) => {
    const to = connect(redis, "127.0.0.1");
    for (const [one, other] of [[from, to] as const, [to, from] as const]) {
      sockets.add(one);
      one.on("error", () => {});
      one.on("close", () => other.destroy());
    }
    from.on("data", (bytes: Buffer) => {
      if (isShut) kept.push([to, bytes]);
      else to.write(bytes);
    });
    to.pipe(from);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  const address = server.address();
  return {
    port: typeof address === "object" && address !== null ? address.port : 0,
    shut() {
      isShut = true;
    },
    waiting: () => kept.map(([, bytes]) => bytes.toString("latin1")).join(""),
    open() {
      isShut = false;
      for (const [to, bytes] of kept) to.write(bytes);
      kept = [];
    },
  };
}

interface Stage {
  readonly gate: Gate;
  readonly shop: Shop;
  /** The fields, by name, of each request to `/look` that a server has got. */
  readonly looks: readonly (readonly [name: string, value: string])[][];
  /** Answers to `/plain` that have not been given yet. */
  readonly plain: (() => void)[];
}

/** A shop behind one worker. */
async function setStage(t: TestContext): Promise<Stage> {
  const gate = await startGate(t, (await startRedis(t)).port);
  const looks: (readonly [string, string])[][] = [];
  const plain: (() => void)[] = [];
  const shop = await startShop(t, {
    answer(incoming: IncomingMessage, response: ServerResponse) {
      const { rawHeaders: raw, url } = incoming;
      if (url === "/plain") {
        plain.push(() => response.end("plain"));
        return;
      }
      if (url === "/look") {
        looks.push(raw.flatMap((name, at) => (at % 2 === 0 ? [[name.toLowerCase(), raw[at + 1]] as const] : [])));
      }
      const [, name] = /^\/call\/(\w+)$/.exec(url ?? "") ?? [];
      if (name !== undefined) patch(response, { name });
      response.end(JSON.stringify(sessionOf(incoming)));
    },
    workers: 1,
    servers: 1,
    files: { "conf/keys": KEY },
    http: "session_timeout 60s;",
    zone: `4m store=redis://127.0.0.1:${gate.port} keys=keys`,
    server: `http2 on; location /api/ { session_api carts; allow all; }
      location /plain { proxy_pass http://shop; }`,
  });
  return { gate, shop, looks, plain };
}

interface Visitor {
  readonly cookie: string;
  readonly id: string;
}

/** Somebody whose session has his name. */
async function visitor(shop: Shop, name: string): Promise<Visitor> {
  const shopper = shop.shopper();
  assert.equal((await shopper.send(`/call/${name}`)).status, 200);
  const value = shopper.cookies.get("HFSESSION") ?? "";
  return { cookie: `Cookie: HFSESSION=${value}\r\n`, id: value.split(".")[0] };
}

const ask = (path: string, fields = ""): string => `GET ${path} HTTP/1.1\r\nHost: a\r\n${fields}\r\n`;

/** Asks, and goes when `kept` is what the store is asked. */
async function leave({ gate, shop }: Stage, request: string, kept: string): Promise<void> {
  gate.shut();
  const gone = connect(shop.holdfast.port, "127.0.0.1", () => gone.write(request));
  await waitFor(() => gate.waiting().includes(kept), `the store to be asked for ${kept}`);
  gone.resetAndDestroy();
  await shop.holdfast.waitForLog(/" 499 /, "logs/access.log");
}

/** The answer to a request for which the store is asked too, behind what it was asked before. */
async function follow({ gate, shop }: Stage, request: string, kept: string): Promise<RawResponse> {
  const stays = await RawConnection.open(shop.holdfast.port);
  stays.write(request);
  await waitFor(() => gate.waiting().includes(kept), `the store to be asked for ${kept}`);
  gate.open();
  const response = await stays.readResponse();
  stays.close();
  return response;
}

const fieldsOf = ({ headers }: RawResponse, field: string): string[] =>
  headers.filter(([name]) => name === field).map(([, value]) => value);

test("a server is told of its client's session, and of no other's that was asked for before", {
  skip: noRedis,
}, async (t) => {
  const at = await setStage(t);
  const [ann, bob] = [await visitor(at.shop, "Ann"), await visitor(at.shop, "Bob")];
  await leave(at, ask("/look", ann.cookie), ann.id);
  const response = await follow(at, ask("/look", bob.cookie), bob.id);
  assert.equal(response.body, '{"name":"Bob"}');
  assert.equal(at.looks.length, 1);
  const told = at.looks[0].filter(([name]) => name.startsWith("x-session-"));
  assert.deepEqual(
    told.map(([name]) => name),
    ["x-session-id", "x-session-version", "x-session-data"],
  );
  assert.equal(told[0][1], bob.id);
});

test("a client gets no cookie of another's session that was stored when its client had gone", {
  skip: noRedis,
}, async (t) => {
  const at = await setStage(t);
  // Redis knows the script from then on, and is asked but once.
  await visitor(at.shop, "Bob");
  await leave(at, ask("/call/Ann"), '{"name":"Ann"}');
  const stays = await RawConnection.open(at.shop.holdfast.port);
  stays.write(ask("/plain"));
  await waitFor(() => at.plain.length > 0, "the request to reach its server");
  const [, key] = /holdfast:carts:([\w-]{22})\r\n/.exec(at.gate.waiting()) ?? [];
  // Asked for behind the change, over the same connection: with this answer the change has been dealt with too.
  const api = await follow(at, ask(`/api/${key}`), `GET\r\n$37\r\nholdfast:carts:${key}`);
  assert.equal(api.body, '{"name":"Ann"}');
  for (const answer of at.plain) answer();
  const response = await stays.readResponse();
  stays.close();
  assert.equal(response.body, "plain");
  assert.deepEqual(fieldsOf(response, "set-cookie"), []);
});

test("the session API answers with what was asked for, and nothing of what was before", {
  skip: noRedis,
}, async (t) => {
  const at = await setStage(t);
  const [ann, bob] = [await visitor(at.shop, "Ann"), await visitor(at.shop, "Bob")];
  await leave(at, ask(`/api/${ann.id}`), ann.id);
  const response = await follow(at, ask(`/api/${bob.id}`), bob.id);
  assert.equal(response.body, '{"name":"Bob"}');
  for (const field of ["etag", "x-session-version", "content-type"]) assert.equal(fieldsOf(response, field).length, 1);
});

test("streams of HTTP/2 that are reset leave nothing to those that follow", { skip: noRedis }, async (t) => {
  const { gate, shop, looks } = await setStage(t);
  const [ann, bob] = [await visitor(shop, "Ann"), await visitor(shop, "Bob")];
  const session = h2Session(t, shop.holdfast.url);
  const fieldsFor = (path: string, { cookie }: Visitor) => ({ ":path": path, cookie: cookie.slice(8).trim() });
  for (const [round, path] of ["/look", "/api/"].entries()) {
    const pathOf = ({ id }: Visitor): string => (path === "/api/" ? path + id : path);
    gate.shut();
    const gone = session.request(fieldsFor(pathOf(ann), ann));
    await waitFor(() => gate.waiting().includes(ann.id), "the store to be asked");
    gone.close(constants.NGHTTP2_CANCEL);
    await waitFor(() => shop.holdfast.accessLog().split('" 499 ').length > round + 1, "the stream to have ended");
    const follows = h2Request(session, fieldsFor(pathOf(bob), bob));
    await waitFor(() => gate.waiting().includes(bob.id), "the store to be asked again");
    gate.open();
    const { status, headers, body } = await follows;
    assert.equal(status, 200);
    assert.equal(body, '{"name":"Bob"}');
    assert.ok(!String(headers.etag).includes(","), String(headers.etag));
  }
  assert.equal(looks.length, 1);
  assert.deepEqual(
    looks[0].filter(([name]) => name === "x-session-id").map(([, value]) => value),
    [bob.id],
  );
});
