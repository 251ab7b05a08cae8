/** limit_req and limit_conn: what nginx does, exact over all workers, whatever becomes of one of them. */
import assert from "node:assert/strict";
import type { ServerResponse } from "node:http";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { httpBackend } from "../support/backend.ts";
import { have } from "../support/have.ts";
import { bundled, type Running, startHoldfast, startNginx } from "../support/holdfast.ts";
import { get, RawConnection } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

const DYING = fileURLToPath(new URL("../support/dying_main.ts", import.meta.url));

function times<T>(count: number, make: (i: number) => T): T[] {
  return Array.from({ length: count }, (_, i) => make(i));
}

function count<T>(all: readonly T[], what: T): number {
  return all.filter((each) => each === what).length;
}

async function statuses(port: number, paths: readonly string[]): Promise<number[]> {
  return Promise.all(paths.map(async (path) => (await get(port, path)).status));
}

/** Which workers wrote that in the error log. */
function workers(holdfast: Running, text: string): Set<string> {
  return new Set([...holdfast.errorLog().matchAll(new RegExp(`#(\\d+): \\*\\d+ ${text}`, "g"))].map(([, id]) => id));
}

/** A backend that holds every answer back until it is released. */
async function holdingBackend(t: TestContext) {
  const held: ServerResponse[] = [];
  const backend = await httpBackend(t, (_, response) => held.push(response));
  const release = (): void => {
    for (const response of held.splice(0)) response.end("held");
  };
  return { held, release, address: backend.address };
}

/** Waits until so many requests in all have been answered with 200, and what they held was given back. */
async function whenFreed(holdfast: Running, requests: number): Promise<void> {
  // Lines reach the log at the end of the turn in which a request is freed.
  await waitFor(() => holdfast.accessLog().split('" 200 ').length > requests, `${requests} lines in the access log`);
}

const QUIET = "access_log off; root html;";

test("limit_req lets as many requests through as it says, whichever workers they come to", async (t) => {
  const holdfast = await startHoldfast(t, {
    files: { "html/index.html": "in" },
    config: ([port]) => `worker_processes 4; http { ${QUIET}
      limit_req_zone $arg_k zone=one:1m rate=1r/m;
      server { listen 127.0.0.1:${port}; limit_req zone=one burst=9 nodelay; }
    }`,
  });
  const found = await statuses(
    holdfast.port,
    times(60, () => "/?k=a"),
  );
  assert.deepEqual([count(found, 200), count(found, 503)], [10, 50]);
  assert.ok(workers(holdfast, "limiting requests, excess: ").size > 1, "more than one worker took part");
  assert.equal((await get(holdfast.port, "/?k=b")).status, 200);
});

test("limit_conn lets as many connections through as it says, whichever workers they come to", async (t) => {
  const backend = await holdingBackend(t);
  const holdfast = await startHoldfast(t, {
    config: ([port]) => `worker_processes 4; http { root html;
      limit_conn_zone $server_port zone=one:1m;
      server { listen 127.0.0.1:${port}; limit_conn one 10; location / { proxy_pass http://${backend.address}; } }
    }`,
  });
  // Twice, since what was taken must have been given back.
  for (let round = 0; round < 2; round++) {
    const answers = times(40, async () => {
      const { status } = await get(holdfast.port, "/");
      return status;
    });
    const refused = await waitFor(async () => {
      const settled = await Promise.all(answers.map((answer) => Promise.race([answer, "waits" as const])));
      return count(settled, 503) === 30 && backend.held.length === 10 && settled;
    }, "ten to wait and thirty to be refused");
    assert.equal(count(refused, "waits"), 10);
    backend.release();
    assert.equal(count(await Promise.all(answers), 200), 10);
    await whenFreed(holdfast, 10 * (round + 1));
  }
  assert.ok(workers(holdfast, 'limiting connections by zone "one"').size > 1, "more than one worker took part");
});

test("workers that a reload adds count in the entries that are there", async (t) => {
  const backend = await holdingBackend(t);
  const config = (port: number, workers: number) => `worker_processes ${workers}; http { root html;
    limit_conn_zone $server_port zone=one:1m;
    server { listen 127.0.0.1:${port}; limit_conn one 20; location / { proxy_pass http://${backend.address}; } } }`;
  const holdfast = await startHoldfast(t, { config: ([port]) => config(port, 1) });
  const { port } = holdfast;
  const first = times(2, async () => (await get(port, "/")).status);
  await waitFor(() => backend.held.length === 2, "two to be held");
  assert.ok(await holdfast.reload(config(port, 4)));
  const more = times(18, async () => (await get(port, "/")).status);
  await waitFor(() => backend.held.length === 20, "eighteen more to be held");
  assert.equal((await get(port, "/")).status, 503);
  backend.release();
  assert.equal(count(await Promise.all([...first, ...more]), 200), 20);
  await whenFreed(holdfast, 20);
  const again = times(20, async () => (await get(port, "/")).status);
  await waitFor(() => backend.held.length === 20, "twenty to be held");
  backend.release();
  assert.equal(count(await Promise.all(again), 200), 20);
});

test("a connection that one limit refuses counts in none", async (t) => {
  const backend = await holdingBackend(t);
  const holdfast = await startHoldfast(t, {
    config: ([
      port,
    ]) => `http { root html; log_format limits "$arg_b $status $limit_conn_status"; access_log logs/limits.log limits;
      limit_conn_zone $server_port zone=a:1m;
      limit_conn_zone $arg_b zone=b:1m;
      server { listen 127.0.0.1:${port};
        location / { limit_conn a 2; limit_conn b 1; limit_conn_status 429; proxy_pass http://${backend.address}; }
        location /dry { limit_conn a 2; limit_conn b 1; limit_conn_dry_run on; limit_conn_log_level notice; }
      } }`,
  });
  const { port } = holdfast;
  const ask = async (path: string) => (await get(port, path)).status;
  const held = [ask("/?b=1")];
  await waitFor(() => backend.held.length === 1, "the first to be held");
  for (let i = 0; i < 3; i++) assert.equal(await ask("/?b=1"), 429);
  held.push(ask("/?b=2"));
  await waitFor(() => backend.held.length === 2, "the second to be held");
  assert.equal(await ask("/?b=3"), 429);
  assert.equal(await ask("/dry?b=4"), 404);
  backend.release();
  assert.deepEqual(await Promise.all(held), [200, 200]);
  for (const b of [1, 2]) await holdfast.waitForLog(new RegExp(`^${b} 200 PASSED$`, "m"), "logs/limits.log");
  assert.equal(await ask("/dry?b=5"), 404);
  await holdfast.waitForLog(/\[error\] [^\n]*: \*\d+ limiting connections by zone "b", client/);
  await holdfast.waitForLog(/\[error\] [^\n]*: \*\d+ limiting connections by zone "a", client/);
  await holdfast.waitForLog(/\[notice\] [^\n]*: \*\d+ limiting connections, dry run, by zone "a", client/);
  const lines = [
    "1 429 REJECTED",
    "1 200 PASSED",
    "2 200 PASSED",
    "3 429 REJECTED",
    "4 404 REJECTED_DRY_RUN",
    "5 404 PASSED",
  ];
  for (const line of lines) await holdfast.waitForLog(new RegExp(`^${line}$`, "m"), "logs/limits.log");
});

/** Connections by the worker that they came to, so many of each of two workers. */
async function connectionsOfTwo(port: number, each: number): Promise<[RawConnection[], RawConnection[]]> {
  const byWorker = new Map<string, RawConnection[]>();
  await waitFor(async () => {
    const connection = await RawConnection.open(port);
    connection.write("GET /who HTTP/1.1\r\nHost: x\r\n\r\n");
    const { body } = await connection.readResponse();
    byWorker.set(body, [...(byWorker.get(body) ?? []), connection]);
    return [...byWorker.values()].filter((all) => all.length >= each).length === 2;
  }, "connections to both workers");
  const [one, other] = byWorker.values();
  return [one, other];
}

const ask = (connection: RawConnection, path: string) => connection.write(`GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`);

test("the connections of a worker that dies with the zone locked are given back, and no others", async (t) => {
  const backend = await holdingBackend(t);
  const holdfast = await startHoldfast(t, {
    entry: bundled(DYING),
    config: ([port]) => `worker_processes 2; http { ${QUIET} keepalive_requests 10000;
      limit_conn_zone $server_port zone=one:1m;
      limit_req_zone $server_port zone=two:1m rate=1r/m;
      server { listen 127.0.0.1:${port};
        location /who { return 200 $pid; }
        location /held { limit_conn one 4; proxy_pass http://${backend.address}; }
        location /conn { die_with_zone limit_conn one 1m; }
        location /req { die_with_zone limit_req two 1m; }
        location /limited { limit_req zone=two burst=1 nodelay; }
      } }`,
  });
  const { port } = holdfast;
  const [dying, living] = await connectionsOfTwo(port, 4);
  for (const connection of [...dying.slice(0, 2), ...living.slice(0, 2)]) ask(connection, "/held");
  await waitFor(() => backend.held.length === 4, "four to be held");
  ask(living[2], "/held");
  assert.equal((await living[2].readResponse()).status, 503);

  ask(dying[2], "/conn");
  await holdfast.waitForLog(/\[alert\] \d+#\d+: a worker died with zone "one" locked, 1 entries were put in order/);
  await holdfast.waitForLog(/\[alert\] \d+#\d+: worker process \d+ exited with code 3/);
  // Two of four are the living worker's still.
  ask(living[2], "/held");
  ask(living[3], "/held");
  await waitFor(() => backend.held.length === 6, "two more to be held");
  assert.equal((await get(port, "/held")).status, 503);
  backend.release();
  for (const connection of living.slice(0, 4)) assert.equal((await connection.readResponse()).status, 200);

  assert.equal((await get(port, "/limited")).status, 404);
  ask(living[0], "/req");
  await holdfast.waitForLog(/\[alert\] \d+#\d+: a worker died with zone "two" locked/);
  assert.deepEqual([(await get(port, "/limited")).status, (await get(port, "/limited")).status], [404, 503]);
  for (const connection of [...dying, ...living]) connection.close();
});

/** What a request was answered, and what was said of it. */
async function answersOf(port: number, paths: readonly string[]): Promise<string[]> {
  const answers: string[] = [];
  for (const path of paths) {
    const { status, header } = await get(port, path);
    answers.push(`${path.slice(0, 40)}: ${status} ${header("x-status")}`);
  }
  return answers;
}

function limitLines(running: Running): string[] {
  const lines = running
    .errorLog()
    .matchAll(/\[(\w+)\] \d+#\d+: \*\d+ ((?:limiting|delaying|the value of).*), client: /g);
  // How much of the excess has leaked away depends on when a request came.
  return [...lines].map(
    ([, level, text]) => `${level} ${text.replace(/\d\.\d{3}/, (n) => String(Math.round(Number(n))))}`,
  );
}

test("one request after the other is answered and logged as by nginx", { skip: have("nginx") }, async (t) => {
  const config = ([port]: readonly number[]) => `http { access_log off; root html;
    large_client_header_buffers 4 128k;
    limit_req_zone $arg_a zone=a:1m rate=1r/m;
    limit_req_zone $arg_b zone=b:1m rate=2r/m;
    limit_req_zone $http_x_long zone=long:1m rate=1r/m;
    limit_conn_zone $arg_c zone=c:1m;
    limit_conn_zone $arg_d zone=d:1m;
    add_header X-Status "$limit_req_status/$limit_conn_status" always;
    server { listen 127.0.0.1:${port};
      location /plain { limit_req zone=a; alias html/in; }
      location /burst { limit_req zone=a burst=2 nodelay; alias html/in; }
      location /both { limit_req zone=a burst=1 nodelay; limit_req zone=b burst=3 nodelay; alias html/in; }
      location /status { limit_req zone=a; limit_req_status 429; limit_req_log_level warn; alias html/in; }
      location /info { limit_req zone=a; limit_req_log_level info; alias html/in; }
      location /dry { limit_req zone=a burst=1; limit_req_dry_run on; alias html/in;
        location /dry/on { limit_req_dry_run off; limit_req zone=b; alias html/in; } }
      location /conn { limit_conn c 1; limit_conn d 2; alias html/in; }
      location /page { limit_req zone=a; error_page 503 /burst; alias html/in; }
    } }`;
  const paths = [
    ...times(3, () => "/plain?a=1"),
    "/plain",
    "/plain?a=",
    ...times(5, () => "/burst?a=2"),
    ...times(4, () => "/both?a=3&b=3"),
    ...times(6, (i) => `/both?a=${10 + i}&b=3`),
    ...times(4, () => "/both?b=4"),
    ...times(2, () => "/status?a=5"),
    ...times(2, () => "/info?a=6"),
    ...times(4, () => "/dry?a=7"),
    ...times(3, () => "/dry/on?a=7&b=7"),
    ...times(3, () => "/conn?c=1&d=1"),
    `/conn?c=${"x".repeat(255)}`,
    `/conn?c=${"x".repeat(256)}`,
    "/conn",
    ...times(3, () => "/page?a=8"),
    `/plain?a=${"y".repeat(65_535)}`,
    `/plain?a=${"y".repeat(65_535)}`,
    `/plain?a=${"y".repeat(65_536)}`,
  ];
  const files = { "html/in": "in" };
  const [holdfast, nginx] = await Promise.all([startHoldfast(t, { files, config }), startNginx(t, { files, config })]);
  assert.deepEqual(await answersOf(holdfast.port, paths), await answersOf(nginx.port, paths));
  const expected = limitLines(nginx);
  await waitFor(() => limitLines(holdfast).length >= expected.length, "as many lines as nginx has");
  assert.deepEqual(limitLines(holdfast), expected);
});

test("a request ahead of its time is delayed, and let go where its client leaves", async (t) => {
  const holdfast = await startHoldfast(t, {
    files: { "html/index.html": "in" },
    config: ([port]) => `http { access_log logs/access.log combined; root html;
      log_format limits "$status $limit_req_status $request_time"; access_log logs/limits.log limits;
      limit_req_zone $arg_k zone=one:1m rate=20r/m;
      limit_req_zone $arg_k zone=slow:1m rate=1r/m;
      server { listen 127.0.0.1:${port};
        location / { limit_req zone=one burst=2 delay=1; }
        location /slow { limit_req zone=slow burst=5; try_files /index.html =404; }
      } }`,
  });
  const { port } = holdfast;
  const all = await statuses(
    port,
    times(4, () => "/?k=a"),
  );
  assert.deepEqual([count(all, 200), count(all, 503)], [3, 1]);
  await holdfast.waitForLog(
    /\[warn\] [^\n]*: \*\d+ delaying request, excess: (2\.000|1\.\d{3}), by zone "one", client/,
  );
  const line = await holdfast.waitForLog(/^200 DELAYED (.*)$/m, "logs/limits.log");
  assert.ok(Number(line[1]) > 0.1, line[1]);

  assert.equal((await get(port, "/slow?k=b")).status, 200);
  const leaving = await RawConnection.open(port);
  leaving.write("GET /slow?k=b HTTP/1.1\r\nHost: x\r\n\r\n");
  await holdfast.waitForLog(/delaying request, excess: \S+, by zone "slow"/);
  leaving.close();
  await holdfast.waitForLog(/\[info\] [^\n]*client prematurely closed connection/);
  await holdfast.waitForLog(/^499 DELAYED /m, "logs/limits.log");
});

test("a reload keeps what was counted, and refuses another key for a zone", async (t) => {
  const config = (port: number, key: string, size = "1m") => `http { ${QUIET}
    limit_req_zone ${key} zone=one:${size} rate=1r/m;
    server { listen 127.0.0.1:${port}; limit_req zone=one burst=1 nodelay; } }`;
  const holdfast = await startHoldfast(t, {
    files: { "html/index.html": "in" },
    config: ([port]) => config(port, "$arg_k"),
  });
  const { port } = holdfast;
  const status = async (path: string) => (await get(port, path)).status;
  assert.deepEqual([await status("/?k=a"), await status("/?k=a"), await status("/?k=a")], [200, 200, 503]);
  assert.ok(await holdfast.reload());
  assert.deepEqual([await status("/?k=a"), await status("/?k=b")], [503, 200]);
  assert.ok(!(await holdfast.reload(config(port, "$arg_other"))));
  assert.match(
    holdfast.errorLog(),
    /\[emerg\] [^\n]*: limit_req "one" uses the "\$arg_other" key while previously it used the "\$arg_k" key\n/,
  );
  assert.equal(await status("/?k=a"), 503);
  assert.ok(await holdfast.reload(config(port, "$arg_other", "64k")));
  assert.equal(await status("/?k=a"), 200);
});

test("in a full zone old keys give way to new ones, but connections at work do not", async (t) => {
  const backend = await holdingBackend(t);
  const holdfast = await startHoldfast(t, {
    files: { "html/index.html": "in" },
    config: ([port]) => `http { ${QUIET} large_client_header_buffers 4 64k;
      limit_req_zone $arg_k zone=req:32k rate=1r/m;
      limit_conn_zone $arg_k zone=conn:32k;
      server { listen 127.0.0.1:${port};
        location / { limit_req zone=req; }
        location /conn { limit_conn conn 1; proxy_pass http://${backend.address}; }
      } }`,
  });
  const { port } = holdfast;
  const long = (i: number) => `${String(i).padStart(4, "0")}${"k".repeat(240)}`;
  assert.equal((await get(port, `/?k=${"x".repeat(20_000)}`)).status, 200);
  assert.equal((await get(port, `/?k=${"y".repeat(20_000)}`)).status, 200);
  assert.equal((await get(port, `/?k=${"y".repeat(20_000)}`)).status, 503);
  assert.equal((await get(port, `/?k=${"z".repeat(40_000)}`)).status, 503);
  await holdfast.waitForLog(/\[alert\] [^\n]*: \*\d+ could not allocate node in limit_req zone "req"/);
  const answers = await statuses(
    port,
    times(100, (i) => `/?k=${long(i)}`),
  );
  assert.equal(count(answers, 200), 100);

  const connections = statuses(
    port,
    times(100, (i) => `/conn?k=${long(i)}`),
  );
  const refusal = /\[crit\] [^\n]*: \*\d+ ngx_slab_alloc\(\) failed: no memory in limit_conn_zone "conn"/g;
  const refused = () => [...holdfast.errorLog().matchAll(refusal)].length;
  await waitFor(() => backend.held.length + refused() === 100, "every connection to be held or refused");
  backend.release();
  const found = await connections;
  assert.equal(count(found, 503), refused());
  assert.ok(refused() > 0 && refused() < 60, `${refused()} refused`);
  assert.equal(count(found, 200), 100 - refused());
});
