import assert from "node:assert/strict";
import type { IncomingMessage, ServerResponse } from "node:http";
import { test } from "node:test";
import { noRedis, startRedis } from "../support/redis.ts";
import { patch, sessionOf, startShop } from "../support/shop.ts";
import { RawConnection, request } from "../support/tcp.ts";

/** What clients and servers may try with sessions. */

for (const store of ["embedded", "Redis"]) {
  test(`who planted a session does not get the one that it becomes at login, whatever requests of his are under way (${store})`, {
    skip: store === "Redis" ? noRedis : false,
  }, async (t) => {
    const zone = store === "Redis" ? `4m store=redis://127.0.0.1:${(await startRedis(t)).port}` : "4m";
    const begun: (() => void)[] = [];
    const shop = await startShop(t, {
      zone,
      workers: 1,
      answer(incoming, response) {
        const [, user] = /^\/login\/(.+)$/.exec(incoming.url ?? "") ?? [];
        if (incoming.url === "/set") patch(response, { cart: "full" });
        const answer = (): void => void response.end(JSON.stringify(sessionOf(incoming)));
        if (user === undefined) return answer();
        patch(response, { user }).setHeader("X-Session-Renew", "1");
        if (user === "thief") begun.shift()?.();
        incoming.on("end", answer).resume();
      },
    });
    const thief = shop.shopper();
    await thief.send("/set");
    const planted = thief.cookies.get("HFSESSION") ?? "";
    const slow = await RawConnection.open(shop.holdfast.port);
    const reached = new Promise<void>((resolve) => begun.push(resolve));
    slow.write(
      `POST /login/thief HTTP/1.1\r\nHost: a\r\nCookie: HFSESSION=${planted}\r\nTransfer-Encoding: chunked\r\n\r\n`,
    );
    slow.write("1\r\na\r\n");
    // With buffering its session was read before its body has come.
    const victim = shop.shopper(new Map([["HFSESSION", planted]]));
    await victim.send("/");
    await victim.send("/login/victim");
    slow.write("0\r\n\r\n");
    await reached;
    const cookie = (await slow.readResponse()).header("set-cookie") ?? "";
    thief.cookies.set("HFSESSION", /=([^;]*)/.exec(cookie)?.[1] ?? "");
    assert.deepEqual(await thief.cart(), { cart: "full", user: "thief" });
    assert.deepEqual(await victim.cart(), { cart: "full", user: "victim" });
  });
}

test("who logs out twice, or has no session any more, is logged out", async (t) => {
  const shop = await startShop(t, {
    answer(incoming, response) {
      if (incoming.url === "/logout") response.setHeader("X-Session-Delete", "1");
      if (incoming.url === "/set") patch(response, { a: 1 });
      response.end();
    },
  });
  const shopper = shop.shopper();
  assert.equal((await shopper.send("/logout")).status, 200);
  await shopper.send("/set");
  const other = shop.shopper(new Map(shopper.cookies));
  for (const one of [shopper, other]) {
    assert.equal((await one.send("/logout")).status, 200);
    assert.equal(one.cookies.size, 0);
  }
});

test("a cookie of that name that another host of the domain has set hides nobody's session", async (t) => {
  const shop = await startShop(t);
  const shopper = shop.shopper();
  await shopper.send("/add/apple");
  const own = `HFSESSION=${shopper.cookies.get("HFSESSION")}`;
  const strange = `HFSESSION=${"A".repeat(22)}.${"A".repeat(22)}`;
  const cart = async (cookies: string) =>
    (await request(shop.holdfast.port, `GET / HTTP/1.1\r\nHost: a\r\n${cookies}\r\nConnection: close\r\n\r\n`)).body;
  const one = '{"apple":1}';
  assert.equal(await cart(`Cookie: HFSESSION=x; ${own}`), one);
  assert.equal(await cart(`Cookie: HFSESSION=; a=b; ${strange}; ${own}; ${strange}`), one);
  assert.equal(await cart(`Cookie: ${strange}\r\nCookie: ${own}`), one);
  assert.equal(await cart(`Cookie: ${`${strange}; `.repeat(100)}${own}`), "{}", "so many are not tried");
});

test("a client's Connection takes no field of its session away, nor is one of its own taken for ours", async (t) => {
  const names = ({ rawHeaders }: IncomingMessage, response: ServerResponse): void => {
    patch(response, { a: 1 }).end(
      JSON.stringify(rawHeaders.filter((_, at) => at % 2 === 0).filter((name) => /session/i.test(name))),
    );
  };
  const shop = await startShop(t, {
    http: "ignore_invalid_headers off; underscores_in_headers on;",
    answer: names,
  });
  const shopper = shop.shopper();
  await shopper.send("/");
  const fields = ["X.Session.Data", "X_Session-Data", "x-SESSION-new", "X-Session.Id", "X-Session-Conflict"];
  const { body } = await shopper.send(
    "/",
    `${fields.map((name) => `${name}: e30=\r\n`).join("")}Connection: X-Session-Data, X-Session-Id, x-session-version\r\n`,
  );
  assert.deepEqual(JSON.parse(body), ["X-Session-Id", "X-Session-Version", "X-Session-Data"]);
});

test("what a server says of a session twice, or of a version that is none, is refused", async (t) => {
  const encoded = (value: unknown) => Buffer.from(JSON.stringify(value)).toString("base64");
  const shop = await startShop(t, {
    workers: 1,
    answer(incoming, response) {
      if (incoming.url === "/twice") response.setHeader("X-Session-Set", [encoded({ a: 1 }), encoded({ b: 1 })]);
      const [, version] = /^\/version(.*)$/.exec(incoming.url ?? "") ?? [];
      if (version !== undefined) patch(response, { a: 1 }).setHeader("X-Session-Version", version);
      response.end();
    },
  });
  const status = async (path: string) => (await shop.shopper().send(path)).status;
  assert.equal(await status("/twice"), 502);
  await shop.holdfast.waitForLog(
    /\[error\].* upstream sent several X-Session-Set fields while reading response header/,
  );
  for (const version of ["", "-1", "0x0", "1e3", "1.5", "99999999999999999"]) {
    assert.equal(await status(`/version${version}`), 502, version);
  }
  assert.equal(await status("/version0"), 200);
});

test("numbers stay what they are, however many digits they have", async (t) => {
  const shop = await startShop(t, {
    answer(incoming, response) {
      const text = '{"id":12345678901234567890,"small":[1.5,1e400],"key":"12345678901234567890"}';
      if (incoming.url === "/set") response.setHeader("X-Session-Set", Buffer.from(text).toString("base64"));
      if (incoming.url === "/more") patch(response, { more: 1 });
      response.end(Buffer.from(String(incoming.headers["x-session-data"] ?? ""), "base64"));
    },
  });
  const shopper = shop.shopper();
  await shopper.send("/set");
  await shopper.send("/more");
  assert.equal(
    (await shopper.send("/")).body,
    '{"id":12345678901234567890,"small":[1.5,1e400],"key":"12345678901234567890","more":1}',
  );
});
