/** Many reloads, with requests going on. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { httpBackend } from "../support/backend.ts";
import { startHoldfast } from "../support/holdfast.ts";
import { startLoad } from "../support/load.ts";
import { childrenOf, statusOf } from "../support/processes.ts";
import { get, RawConnection } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

/** Of the largest of its processes. */
function residentMiB(master: number): number {
  const pids = [master, ...childrenOf(master)];
  return Math.max(...pids.map((pid) => Number.parseInt(statusOf(pid, "VmRSS"), 10))) / 1024;
}

const config = (port: number, text: string): string => `error_log logs/error.log notice; worker_processes 2;
  http { access_log off; upstream a { server 127.0.0.1:1; keepalive 4; }
    server { listen 127.0.0.1:${port}; return 200 ${text};
      ${Array.from({ length: 50 }, (_, i) => `location /${i}/ { proxy_pass http://a; add_header X-A ${i}; }`).join("\n")} } }`;

test("of the trees that reloads leave behind none are kept, nor are they left lying about", async (t) => {
  const holdfast = await startHoldfast(t, { config: ([port]) => config(port, "here") });
  const load = startLoad(t, { target: holdfast.port, connections: 4, rate: 100 });
  for (let i = 0; i < 30; i++) await holdfast.reload();
  const early = residentMiB(holdfast.pid);
  for (let i = 0; i < 50; i++) await holdfast.reload();
  // What is not collected yet does not count.
  await waitFor(
    () => residentMiB(holdfast.pid) < early + 50,
    () => `no more than ${early.toFixed(0)} MiB, as after 30 reloads; ${residentMiB(holdfast.pid).toFixed(0)} after 80`,
  );
  await load.stop();
  assert.deepEqual(load.failures, []);
});

test("a connection that was idle at one reload and has a request at the next does not keep its worker from exiting", async (t) => {
  const answers: (() => void)[] = [];
  const backend = await httpBackend(t, (_request, response) => answers.push(() => response.end("answer")));
  const holdfast = await startHoldfast(t, {
    config: ([port]) => `error_log logs/error.log notice; worker_processes 1;
      http { server { listen 127.0.0.1:${port}; location / { proxy_pass http://${backend.address}; } } }`,
  });
  const client = await RawConnection.open(holdfast.port);
  t.after(() => client.close());
  // Another connection's answer says that the worker has accepted this one, which came before.
  const other = get(holdfast.port, "/");
  await waitFor(() => answers.length === 1, "the first request");
  answers[0]();
  await other;
  assert.ok(await holdfast.reload());
  client.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  await waitFor(() => answers.length === 2, "the second request");
  assert.ok(await holdfast.reload());
  answers[1]();
  assert.equal((await client.readResponse()).body, "answer");
  assert.equal(await holdfast.stop("SIGQUIT"), 0);
});

test("of configurations in quick succession the last is the one in force", async (t) => {
  const holdfast = await startHoldfast(t, { config: ([port]) => config(port, "first") });
  for (let i = 1; i <= 20; i++) {
    holdfast.configure(config(holdfast.port, `number${i}`));
    holdfast.signal("SIGHUP");
  }
  await waitFor(async () => {
    const bodies = await Promise.all(Array.from({ length: 10 }, () => get(holdfast.port, "/")));
    return bodies.every(({ body }) => body === "number20");
  }, "the last configuration in both workers");
});

test("a worker that hangs keeps neither the others from a new configuration nor the master from signals", async (t) => {
  const config = (round: number, [port]: readonly number[]) => `worker_processes 2; http { keepalive_requests 10000;
    server { listen 127.0.0.1:${port}; location / { return 200 $pid:${round}; } } }`;
  const holdfast = await startHoldfast(t, { config: (ports) => config(0, ports) });
  const ask = async (connection: RawConnection): Promise<string> => {
    connection.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    return (await connection.readResponse()).body;
  };
  const connections = new Map<number, RawConnection>();
  await waitFor(async () => {
    const connection = await RawConnection.open(holdfast.port);
    t.after(() => connection.close());
    connections.set(Number.parseInt(await ask(connection), 10), connection);
    return connections.size === 2;
  }, "connections to both workers");
  const [[hung, waiting], [other, served]] = connections;

  process.kill(hung, "SIGSTOP");
  holdfast.configure(config(1, holdfast.ports));
  holdfast.signal("SIGHUP");
  await waitFor(async () => (await ask(served)) === `${other}:1`, "the new configuration");
  holdfast.signal("SIGUSR1");
  await holdfast.waitForLog(/signal 10 \(SIGUSR1\) received, reopening logs$/m);
  assert.doesNotMatch(holdfast.errorLog(), /: reconfigured$/m);
  process.kill(hung, "SIGCONT");
  await holdfast.waitForLog(/: reconfigured$/m);
  assert.equal(await ask(waiting), `${hung}:1`);
});
