import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { httpBackend } from "../support/backend.ts";
import { startHoldfast } from "../support/holdfast.ts";
import { noRedis, startRedis } from "../support/redis.ts";
import { newShopper, patch, sessionOf } from "../support/shop.ts";

/** Requests that come to more than one server: subrequests, and answers that others take the place of. */

interface Asked {
  readonly path: string;
  readonly id: unknown;
  readonly data: unknown;
}

async function startSite(t: TestContext, zone = "4m") {
  const asked: Asked[] = [];
  const shop = await httpBackend(t, (incoming, response) => {
    const path = incoming.url ?? "";
    asked.push({ path, id: incoming.headers["x-session-id"], data: sessionOf(incoming) });
    const [, action] = /^\/(?:auth|redirect|missing|part)\/(\w+)/.exec(path) ?? [];
    if (path.startsWith("/redirect/")) response.setHeader("X-Accel-Redirect", "/then");
    if (path.startsWith("/missing/")) response.statusCode = 404;
    if (action === "set" || path === "/set") patch(response, { [action ?? "main"]: 1 });
    if (action === "renew") patch(response, { user: "me" }).setHeader("X-Session-Renew", "1");
    if (action === "delete") response.setHeader("X-Session-Delete", "1");
    const parts = ["a", "b", "c"].map((name) => `<!--# include virtual="/part/set?${name}" -->`);
    response.setHeader("Content-Type", "text/html").end(path === "/parts" ? parts.join("") : "x");
  });
  const stranger = await httpBackend(t, (incoming, response) => {
    const fields = incoming.rawHeaders.filter((name) => /^x-session/i.test(name));
    asked.push({ path: `stranger ${fields.join()}`, id: undefined, data: undefined });
    patch(response, { stranger: 1 }).end("x");
  });
  const holdfast = await startHoldfast(t, {
    config: ([port]) => `worker_processes 1; http { session_zone carts:${zone}; session_zone other:1m;
      ssi on; proxy_intercept_errors on;
      server { listen 127.0.0.1:${port};
        location / { session carts; proxy_pass http://${shop.address}; }
        ${["set", "renew", "delete"].map((action) => `location /guarded/${action} { session carts; auth_request /auth/${action}; proxy_pass http://${shop.address}/${action}; }`).join("\n")}
        location /outside/ { auth_request /auth/set; proxy_pass http://${stranger.address}; }
        location /watched/ { session carts; auth_request /stranger; proxy_pass http://${shop.address}; }
        location /zones/ { session carts; auth_request /other; proxy_pass http://${shop.address}/set; }
        location = /other { session other; proxy_pass http://${shop.address}/auth/set; }
        location /missing/ { session carts; error_page 404 = /stranger; proxy_pass http://${shop.address}; }
        location /stranger { proxy_pass http://${stranger.address}; }
      } }`,
  });
  const shopper = () => newShopper(() => holdfast.port);
  /** What the session has become. */
  const contents = async (one: ReturnType<typeof shopper>) => {
    await one.send("/");
    return asked.at(-1)?.data;
  };
  return { holdfast, asked, shopper, contents };
}

for (const store of ["embedded", "Redis"]) {
  const skip = store === "Redis" ? noRedis : false;
  test(`a subrequest's change is known to the request that waits for it, and its cookie comes (${store})`, {
    skip,
  }, async (t) => {
    const zone = store === "Redis" ? `4m store=redis://127.0.0.1:${(await startRedis(t)).port}` : "4m";
    const site = await startSite(t, zone);
    const shopper = site.shopper();
    await shopper.send("/guarded/set");
    assert.deepEqual(
      site.asked.map(({ path, data }) => [path, data]),
      [
        ["/auth/set", {}],
        ["/set", { set: 1 }],
      ],
    );
    assert.equal(site.asked[0].id, site.asked[1].id);
    assert.deepEqual(await site.contents(shopper), { set: 1, main: 1 });

    const before = new Map(shopper.cookies);
    await shopper.send("/guarded/renew");
    assert.notDeepEqual(shopper.cookies, before);
    assert.deepEqual(await site.contents(shopper), { set: 1, main: 1, user: "me" });
    const old = newShopper(() => site.holdfast.port, before);
    assert.deepEqual(await site.contents(old), {});

    const ended = new Map(shopper.cookies);
    await shopper.send("/guarded/delete");
    assert.equal(shopper.cookies.size, 0);
    assert.deepEqual(await site.contents(newShopper(() => site.holdfast.port, ended)), {});
  });

  test(`a request without a session waits for its subrequest that has one (${store})`, { skip }, async (t) => {
    const zone = store === "Redis" ? `4m store=redis://127.0.0.1:${(await startRedis(t)).port}` : "4m";
    const site = await startSite(t, zone);
    const shopper = site.shopper();
    for (let i = 0; i < 2; i++) assert.equal((await shopper.send("/outside/x")).status, 200);
    assert.deepEqual(
      site.asked.map(({ path, data }) => [path, data]),
      [
        ["/auth/set", {}],
        ["stranger ", undefined],
        ["/auth/set", { set: 1 }],
        ["stranger ", undefined],
      ],
    );
  });
}

test("parts of a page that change the session at the same time all come, and so do their changes", async (t) => {
  const site = await startSite(t);
  const shopper = site.shopper();
  await shopper.send("/set");
  assert.equal((await shopper.send("/parts")).body, "xxx");
  assert.deepEqual(await site.contents(shopper), { main: 1, set: 1 });
  // Who has no cookie yet gets none in the middle of a page: nothing is stored that nobody could find.
  const stranger = site.shopper();
  assert.equal((await stranger.send("/parts")).body, "xxx");
  assert.equal(stranger.cookies.size, 0);
  await site.holdfast.waitForLog(/\[warn\].* the response to a subrequest cannot begin a session: /);
});

test("changes come with an answer that X-Accel-Redirect or an error page takes the place of", async (t) => {
  const site = await startSite(t);
  const shopper = site.shopper();
  await shopper.send("/redirect/set");
  assert.deepEqual(
    site.asked.slice(-2).map(({ path, data }) => [path, data]),
    [
      ["/redirect/set", {}],
      ["/then", { set: 1 }],
    ],
  );
  assert.deepEqual(await site.contents(shopper), { set: 1 });
  await shopper.send("/missing/renew");
  assert.deepEqual(await site.contents(shopper), { set: 1, user: "me" });
  const ended = new Map(shopper.cookies);
  await shopper.send("/redirect/delete");
  assert.equal(shopper.cookies.size, 0);
  assert.deepEqual(await site.contents(newShopper(() => site.holdfast.port, ended)), {});
});

test("a location without the session neither tells its servers of it nor takes anything from them", async (t) => {
  const site = await startSite(t);
  const shopper = site.shopper();
  await shopper.send("/set");
  await shopper.send("/watched/");
  assert.deepEqual(
    site.asked.slice(-2).map(({ path, data }) => [path, data]),
    [
      ["stranger ", undefined],
      ["/watched/", { main: 1 }],
    ],
  );
  await shopper.send("/missing/x");
  assert.equal(site.asked.at(-1)?.path, "stranger ");
  assert.deepEqual(await site.contents(shopper), { main: 1 });
});

test("sessions of two zones in one request are two", async (t) => {
  const site = await startSite(t);
  const shopper = site.shopper();
  await shopper.send("/zones/");
  assert.deepEqual(
    site.asked.map(({ path, data }) => [path, data]),
    [
      ["/auth/set", {}],
      ["/set", {}],
    ],
  );
  assert.notEqual(site.asked[0].id, site.asked[1].id);
});
