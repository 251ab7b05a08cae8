import assert from "node:assert/strict";
import type { ServerResponse } from "node:http";
import { test } from "node:test";
import { tcpBackend } from "../support/backend.ts";
import { cachedSite } from "../support/cached_site.ts";
import { startHoldfast } from "../support/holdfast.ts";
import { get, RawConnection } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

/** Requests for the same key while one of them is passed on. */

const LOCK = "proxy_cache_lock on; proxy_cache_lock_timeout 1m; proxy_cache_lock_age 1m; proxy_cache_valid 1m;";
const CLIENTS = 40;

/** The server's answers, to be given when the test says so. */
class Held {
  readonly responses: ServerResponse[] = [];
  readonly pids: number[] = [];
  readonly take = ({ headers }: { headers: NodeJS.Dict<string | string[]> }, response: ServerResponse) => {
    this.responses.push(response);
    this.pids.push(Number(headers["x-pid"]));
  };

  reach(count: number): Promise<boolean> {
    return waitFor(() => this.responses.length === count, `${count} requests`);
  }
}

const PID = "proxy_set_header X-Pid $pid;";

test("of many requests at once, over all workers, one is passed on", async (t) => {
  const held = new Held();
  const { ask, asked } = await cachedSite(t, held.take, { location: LOCK, workers: 3 });
  const answers = Array.from({ length: CLIENTS }, () => ask("/a"));
  await held.reach(1);
  // Others come to wait meanwhile.
  await Promise.all([ask("/b?").catch(() => ""), held.reach(2).then(() => held.responses[1].end("b"))]);
  held.responses[0].end("answer");
  const all = (await Promise.all(answers)).sort();
  assert.deepEqual(all, [...Array.from({ length: CLIENTS - 1 }, () => "HIT answer"), "MISS answer"]);
  assert.deepEqual(asked, ["GET /a", "GET /b?"]);
});

test("when the one's worker is killed, another of those that wait is passed on", async (t) => {
  const held = new Held();
  const { ask, holdfast } = await cachedSite(t, held.take, { location: LOCK + PID, workers: 2 });
  const answers = Array.from({ length: CLIENTS }, () => ask("/a").catch(() => "reset"));
  await held.reach(1);
  process.kill(held.pids[0], "SIGKILL");
  await held.reach(2);
  assert.notEqual(held.pids[1], held.pids[0]);
  held.responses[1].end("answer");
  const all = await Promise.all(answers);
  assert.equal(all.filter((answer) => answer === "MISS answer").length, 1);
  const hits = all.filter((answer) => answer === "HIT answer").length;
  assert.equal(hits + 1 + all.filter((answer) => answer === "reset").length, CLIENTS);
  await holdfast.waitForLog(/exited on signal 9/);
  assert.equal(await ask("/a"), "HIT answer");
});

test("when the one's client leaves, its answer is kept all the same", async (t) => {
  const held = new Held();
  const { ask, holdfast } = await cachedSite(t, held.take, { location: LOCK });
  const leaving = await RawConnection.open(holdfast.port);
  leaving.write("GET /a HTTP/1.1\r\nHost: a\r\n\r\n");
  await held.reach(1);
  const answers = [ask("/a"), ask("/a"), ask("/a"), ask("/a")];
  leaving.close();
  held.responses[0].end("answer");
  assert.deepEqual(await Promise.all(answers), Array(4).fill("HIT answer"));
  assert.equal(held.responses.length, 1);
});

test("an answer that is not kept has the next of those that wait passed on", async (t) => {
  const held = new Held();
  const { ask, asked } = await cachedSite(t, held.take, { location: LOCK });
  const answers = [ask("/a"), ask("/a"), ask("/a")];
  await held.reach(1);
  held.responses[0].writeHead(200, { "Cache-Control": "no-store" }).end("1");
  await held.reach(2);
  held.responses[1].destroy();
  await held.reach(3);
  held.responses[2].end("3");
  const all = await Promise.all(answers);
  assert.deepEqual(all.map((answer) => answer.replace(/<.*/s, "page")).sort(), ["MISS 1", "MISS 3", "MISS page"]);
  assert.equal(asked.length, 3);
});

test("an answer that is not buffered keeps nobody waiting", async (t) => {
  const held = new Held();
  const { ask, holdfast } = await cachedSite(t, held.take, {
    location: LOCK,
  });
  const first = await RawConnection.open(holdfast.port);
  t.after(() => first.close());
  first.write("GET /a HTTP/1.1\r\nHost: a\r\n\r\n");
  await held.reach(1);
  const second = ask("/a");
  held.responses[0].writeHead(200, { "X-Accel-Buffering": "no" }).write("begins");
  await held.reach(2);
  held.responses[1].end("2");
  assert.equal(await second, "MISS 2");
  held.responses[0].end();
});

test("a connection that is upgraded keeps nobody waiting", async (t) => {
  let connections = 0;
  const { address } = await tcpBackend(t, async (connection) => {
    await connection.readHeader();
    connection.write(
      ++connections === 1
        ? "HTTP/1.1 101 Switching Protocols\r\nUpgrade: own\r\nConnection: upgrade\r\n\r\n"
        : "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n2",
    );
  });
  const fields = "proxy_http_version 1.1; proxy_set_header Upgrade own; proxy_set_header Connection upgrade;";
  const { port } = await startHoldfast(t, {
    config: ([port]) =>
      `user root; http { proxy_cache_path cache keys_zone=one:1m; server { listen 127.0.0.1:${port};
        location / { proxy_pass http://${address}; proxy_cache one; ${LOCK} ${fields} } } }`,
  });
  const first = await RawConnection.open(port);
  t.after(() => first.close());
  first.write("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: own\r\n\r\n");
  await first.until((received) => received.startsWith("HTTP/1.1 101 "));
  assert.equal((await get(port, "/")).body, "2");
});

test("who has waited long enough is passed on, and what it gets is not kept", async (t) => {
  const held = new Held();
  const { ask, asked, holdfast } = await cachedSite(t, held.take, {
    location: "proxy_cache_lock on; proxy_cache_lock_timeout 50ms; proxy_cache_lock_age 1m; proxy_cache_valid 1m;",
  });
  const [first, second] = [ask("/a"), ask("/a")];
  await held.reach(2);
  held.responses[1].end("2");
  await Promise.race([first, second]);
  await holdfast.waitForLog(/cache lock timeout/);
  held.responses[0].end("1");
  assert.deepEqual((await Promise.all([first, second])).sort(), ["MISS 1", "MISS 2"]);
  assert.equal(await ask("/a"), "HIT 1");
  assert.equal(asked.length, 2);
});

test("an update that takes longer than the age of its lock is another's", async (t) => {
  const held = new Held();
  const { ask, asked } = await cachedSite(t, held.take, {
    location: "proxy_cache_lock on; proxy_cache_lock_timeout 1m; proxy_cache_lock_age 50ms; proxy_cache_valid 1m;",
  });
  const [first, second] = [ask("/a"), ask("/a")];
  await held.reach(2);
  held.responses[1].end("2");
  await Promise.race([first, second]);
  assert.equal(await ask("/a"), "HIT 2");
  held.responses[0].end("1");
  assert.deepEqual((await Promise.all([first, second])).sort(), ["MISS 1", "MISS 2"]);
  assert.match(await ask("/a"), /^HIT [12]$/);
  assert.equal(asked.length, 2);
});
