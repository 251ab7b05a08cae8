/** Workers and the checker killed at random under load: only what was on the killed worker's connections may fail. */
import assert from "node:assert/strict";
import type { ServerResponse } from "node:http";
import { test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { httpBackend } from "../support/backend.ts";
import { startHoldfast } from "../support/holdfast.ts";
import { startLoad } from "../support/load.ts";
import { checkersOf, childrenOf, isRunning, mappingsOf, openBy, workersOf } from "../support/processes.ts";
import { get, RawConnection } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

/** How long processes are killed, in seconds. */
const SECONDS = Number(process.env.HOLDFAST_CHAOS_SECONDS ?? 10);
const CLIENTS = 8;
const WORKERS = 3;
/** What clients hold, and what those hold that were just killed and are not forgotten yet. */
const MAX_CONNS = 3 * CLIENTS;
const DEADLY = ["SIGKILL", "SIGSEGV", "SIGABRT", "SIGTERM"] as const;

/** A client that asks on one connection after the other, and what went wrong that may not. */
class Client {
  readonly wrong: string[] = [];
  answered = 0;
  stopped = false;
  readonly #port: number;
  /** The processes that were killed. */
  readonly #killed: ReadonlySet<number>;

  constructor(port: number, killed: ReadonlySet<number>) {
    this.#port = port;
    this.#killed = killed;
  }

  async run(): Promise<void> {
    while (!this.stopped) {
      let connection: RawConnection;
      try {
        connection = await RawConnection.open(this.#port);
      } catch (error) {
        this.wrong.push(`a new connection: ${error}`);
        continue;
      }
      await this.#use(connection);
      connection.close();
    }
  }

  async #use(connection: RawConnection): Promise<void> {
    let worker: number | undefined;
    try {
      for (let i = 0; i < 20 && !this.stopped; i++) {
        connection.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        const response = await connection.readResponse();
        worker = Number(response.header("x-worker"));
        if (response.status !== 200) this.wrong.push(response.statusLine);
        this.answered++;
        await pause(5);
      }
    } catch (error) {
      // Where nothing has come yet, it is not known whose connection it is.
      if (worker === undefined ? this.#killed.size === 0 : !this.#killed.has(worker)) {
        this.wrong.push(`of worker ${worker}: ${error}`);
      }
    }
  }
}

test("processes killed at random fail only what they had, and all counts are right afterwards", async (t) => {
  const held: ServerResponse[] = [];
  let holding = false;
  const backend = await httpBackend(t, (_request, response) => {
    if (holding) held.push(response);
    else response.end("here");
  });
  const config = ([port, status]: readonly number[]) => `worker_processes ${WORKERS}; http {
    access_log off; keepalive_requests 100000;
    limit_conn_zone $server_port zone=conn:64k; limit_req_zone $server_port zone=req:64k rate=100000r/s;
    upstream u { zone u 64k; server ${backend.address} max_conns=${MAX_CONNS} max_fails=0; keepalive 4;
      check interval=100 rise=1 fall=3 timeout=5000 type=tcp; }
    server { listen 127.0.0.1:${port}; add_header X-Worker $pid always;
      limit_conn conn ${MAX_CONNS}; limit_req zone=req burst=10000 nodelay;
      location / { proxy_pass http://u; } }
    server { listen 127.0.0.1:${status}; keepalive_timeout 0; location / { stub_status; } location /check { check_status json; } } }`;
  const holdfast = await startHoldfast(t, { config });
  const [port, status] = holdfast.ports;
  const health = async () => (await get(status, "/check")).body;
  await waitFor(async () => /"status": *"up"/.test(await health()), "the server to be up");
  const opened = openBy(holdfast.pid).length;
  const mapped = mappingsOf(holdfast.pid).length;

  const killed = new Set<number>();
  const clients = Array.from({ length: CLIENTS }, () => new Client(port, killed));
  const load = Promise.all(clients.map((client) => client.run()));
  const end = performance.now() + SECONDS * 1000;
  let deaths = 0;
  while (performance.now() < end) {
    await pause(300 + Math.random() * 300);
    const workers = workersOf(holdfast.pid);
    const targets = deaths % 5 === 4 ? checkersOf(holdfast.pid) : workers;
    if (targets.length === 0) continue;
    const pid = targets[Math.floor(Math.random() * targets.length)];
    if (Math.random() < 0.2) {
      process.kill(pid, "SIGSTOP");
      await pause(200);
      process.kill(pid, "SIGCONT");
      continue;
    }
    killed.add(pid);
    deaths++;
    process.kill(pid, DEADLY[Math.floor(Math.random() * DEADLY.length)]);
  }
  for (const client of clients) client.stopped = true;
  await load;
  assert.deepEqual(
    clients.flatMap(({ wrong }) => wrong),
    [],
  );
  assert.ok(clients.every(({ answered }) => answered > 0));

  // Those that died young are started again after a pause only; a reload starts them at once.
  assert.equal(await holdfast.reload(), true);
  await waitFor(
    () => workersOf(holdfast.pid).length === WORKERS && checkersOf(holdfast.pid).length === 1,
    "all of them",
  );
  await waitFor(async () => {
    const { body } = await get(status, "/");
    return /^Active connections: 1 \n.*Reading: 0 Writing: 1 Waiting: 0/s.test(body);
  }, "counters that are right");
  const [, accepted = 0, handled = 0] = /\n (\d+) (\d+) \d+ \n/.exec((await get(status, "/")).body)?.map(Number) ?? [];
  assert.ok(accepted >= handled && handled > CLIENTS, `${accepted} accepted, ${handled} handled`);
  assert.match(await health(), /"status": *"up"/);

  // As many as the limits allow, and not one more: limit_conn has counted nothing that is gone, nor has max_conns.
  holding = true;
  const holders: RawConnection[] = [];
  for (let i = 0; i < MAX_CONNS; i++) {
    const connection = await RawConnection.open(port);
    t.after(() => connection.close());
    connection.write("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    holders.push(connection);
  }
  await waitFor(
    () => held.length === MAX_CONNS,
    () => `${MAX_CONNS} requests at the server, not ${held.length}`,
  );
  assert.equal((await get(port, "/")).status, 503);
  for (const response of held) response.end("here");
  for (const holder of holders) assert.equal((await holder.readResponse()).status, 200);

  await waitFor(
    () => openBy(holdfast.pid).length === opened,
    () => `${opened} descriptors of the master: ${openBy(holdfast.pid)}`,
  );
  const more = mappingsOf(holdfast.pid).length - mapped;
  assert.ok(more < 100 + deaths, `${more} more mappings after ${deaths} deaths`);
  const wrong = holdfast
    .errorLog()
    .split("\n")
    .filter((line) => /exception|\[emerg\]|made anew/.test(line))
    // The last one killed may have been sent the configuration of the reload.
    .filter((line) => !killed.has(Number(/ (?:worker|checker) process (\d+) exited on signal /.exec(line)?.[1])));
  assert.deepEqual(wrong, []);

  // The master dies; whoever starts another finds the ports free.
  const children = childrenOf(holdfast.pid);
  holdfast.signal("SIGKILL");
  await waitFor(() => !children.some(isRunning), "the children to leave");
  const again = await startHoldfast(t, { prefix: holdfast.prefix, config: config(holdfast.ports) });
  holding = false;
  assert.equal((await get(port, "/")).body, "here");
  assert.equal(await again.stop(), 0);
});

test("while workers die and start, no connection waits for another to come after it", async (t) => {
  const { port, pid } = await startHoldfast(t, {
    config: ([port]) => `worker_processes 2; http { access_log off;
      server { listen 127.0.0.1:${port}; location / { return 200 $pid; } } }`,
  });
  const killed = new Set<number>();
  const answered = new Set<number>();
  while (killed.size < 4) {
    // One after the other: nobody comes who would wake up a worker for a connection that was forgotten.
    const connection = await RawConnection.open(port);
    connection.write("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    const worker = Number((await connection.readResponse()).body);
    connection.close();
    answered.add(worker);
    const alive = workersOf(pid).filter((each) => answered.has(each) && isRunning(each));
    if (killed.has(worker) || alive.length < 2) continue;
    killed.add(worker);
    process.kill(worker, "SIGKILL");
  }
});

test("the master killed under load: what was accepted is answered, and another start serves", async (t) => {
  const backend = await httpBackend(t, (_request, response) => response.end("here"));
  const config = ([port]: readonly number[]) => `worker_processes 2; http { access_log off;
    upstream u { zone u 64k; server ${backend.address}; keepalive 4; }
    server { listen 127.0.0.1:${port}; location / { proxy_pass http://u; } location /own { return 200 here; } } }`;
  let holdfast = await startHoldfast(t, { config });
  const { port, ports, prefix } = holdfast;
  const path = (number: number) => (number % 2 === 0 ? "/" : "/own");
  const load = startLoad(t, { target: port, connections: 16, fresh: 8, retry: true, path });
  for (let round = 0; round < 3; round++) {
    await load.more(50);
    const children = childrenOf(holdfast.pid);
    holdfast.signal("SIGKILL");
    await waitFor(() => !children.some(isRunning), "the children to leave");
    holdfast = await startHoldfast(t, { prefix, config: config(ports) });
  }
  await load.more(50);
  await load.stop();
  // Nobody listens until somebody starts it again.
  assert.deepEqual(
    load.failures.filter((failure) => !failure.includes("ECONNREFUSED")),
    [],
  );
});
