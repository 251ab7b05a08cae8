import assert from "node:assert/strict";
import { readdirSync, readlinkSync, statSync } from "node:fs";
import { test } from "node:test";
import { httpBackend, tcpBackend } from "../support/backend.ts";
import { type Running, startHoldfast } from "../support/holdfast.ts";
import { statusOf, workersOf } from "../support/processes.ts";
import { get, RawConnection } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

const MIB = 1024 * 1024;

/** The sizes of the open files of its worker whose paths contain `part`. */
function openSizes({ pid }: Running, part: string): number[] {
  const [worker] = workersOf(pid);
  const sizes: number[] = [];
  for (const fd of readdirSync(`/proc/${worker}/fd`)) {
    try {
      if (readlinkSync(`/proc/${worker}/fd/${fd}`).includes(part))
        sizes.push(statSync(`/proc/${worker}/fd/${fd}`).size);
    } catch {
      // Closed meanwhile.
    }
  }
  return sizes;
}

/** Without the pages of files: those of Node's code come and go. */
function residentMib({ pid }: Running): number {
  return Number.parseInt(statusOf(workersOf(pid)[0], "RssAnon"), 10) / 1024;
}

test("clients that do not read cost proxy_max_temp_file_size each, and nobody else's time", async (t) => {
  const answer = Buffer.alloc(40 * MIB, "what a slow client waits for, ");
  const { address } = await httpBackend(t, (_request, response) => response.end(answer));
  const holdfast = await startHoldfast(t, {
    config: ([port]) =>
      `worker_processes 1; http { server { listen 127.0.0.1:${port}; location /alive { return 200 alive; }
        location / { proxy_pass http://${address}; proxy_max_temp_file_size 1m; } } }`,
  });
  const slow: RawConnection[] = [];
  for (let i = 0; i < 10; i++) {
    const connection = await RawConnection.open(holdfast.port);
    connection.socket.pause();
    connection.write("GET /large HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    slow.push(connection);
  }
  await waitFor(() => openSizes(holdfast, "proxy_temp").filter((size) => size === MIB).length === 10, "ten full files");
  for (let i = 0; i < 50; i++) assert.equal((await get(holdfast.port, "/alive")).body, "alive");
  for (const size of openSizes(holdfast, "proxy_temp")) assert.ok(size <= MIB, `${size} bytes`);
  const [first, ...others] = slow;
  first.socket.resume();
  const { body } = await first.readResponse();
  assert.ok(body === answer.toString("latin1"), "all of it comes, in order");
  for (const connection of others) connection.close();
  await waitFor(() => openSizes(holdfast, "proxy_temp").length === 0, "the descriptors");
});

test("the file of a request's body goes with its client", async (t) => {
  const { address } = await tcpBackend(t, () => {});
  const holdfast = await startHoldfast(t, {
    config: ([port]) =>
      `worker_processes 1; http { client_max_body_size 0; server { listen 127.0.0.1:${port};
        location / { proxy_pass http://${address}; } } }`,
  });
  for (const part of [0.5, 1]) {
    const connection = await RawConnection.open(holdfast.port);
    connection.write(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${4 * MIB}\r\n\r\n`);
    connection.write(Buffer.alloc(part * 4 * MIB));
    await waitFor(() => openSizes(holdfast, "client_body_temp").includes(part * 4 * MIB), "the body in its file");
    connection.close();
    await waitFor(() => openSizes(holdfast, "client_body_temp").length === 0, "the descriptor");
  }
});

test("memory that bodies took is given back when their clients have gone", async (t) => {
  const { address } = await tcpBackend(t, () => {});
  const holdfast = await startHoldfast(t, {
    config: ([port]) =>
      `worker_processes 1; http { client_max_body_size 0; client_body_buffer_size 40m;
        server { listen 127.0.0.1:${port}; location / { proxy_pass http://${address}; } } }`,
  });
  const before = residentMib(holdfast);
  const clients = await Promise.all(Array.from({ length: 10 }, () => RawConnection.open(holdfast.port)));
  const body = Buffer.alloc(30 * MIB, "body");
  for (const client of clients) {
    client.write(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${body.length + 1}\r\n\r\n`);
    client.write(body);
  }
  await waitFor(() => residentMib(holdfast) > before + 280, "the bodies in memory", 60_000);
  for (const client of clients) client.close();
  await waitFor(() => residentMib(holdfast) < before + 100, "the memory");
});
