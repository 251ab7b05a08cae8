/** Ten thousand requests of every kind over a hundred connections: each answer right to the byte, and nothing left behind. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
import { type TestContext, test } from "node:test";
import { httpBackend } from "../support/backend.ts";
import { type Running, startHoldfast } from "../support/holdfast.ts";
import { childrenOf, openBy } from "../support/processes.ts";
import { get, RawConnection } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

const REQUESTS = 10_000;
const CONNECTIONS = 100;
/** Pseudo-random bytes that bodies are cut from. */
const POOL = Buffer.alloc(1_100_000);
for (let i = 0, x = 1; i < POOL.length; i++) {
  x = (Math.imul(x, 1103515245) + 12345) >>> 0;
  POOL[i] = x >>> 16;
}
const SIZES = [0, 1, 100, 1500, 4096, 16_384, 70_000];

function bodyOf(number: number, size: number): Buffer {
  return POOL.subarray(number % 1000, (number % 1000) + size);
}

/** Most bodies are small; one in some hundred is a mebibyte. */
function sizeOf(number: number): number {
  return number % 331 === 0 ? 1_048_576 : SIZES[number % SIZES.length] >> ((number >> 3) % 3);
}

function hash(bytes: Buffer | string): string {
  return createHash("md5")
    .update(typeof bytes === "string" ? Buffer.from(bytes, "latin1") : bytes)
    .digest("hex");
}

/** Answers so many bytes as X-Size says, and the checksum of what it got. */
function answer(request: IncomingMessage, response: ServerResponse): void {
  const got = createHash("md5");
  request.on("data", (bytes: Buffer) => got.update(bytes));
  request.on("end", () => {
    const number = Number(request.headers["x-number"]);
    const size = Number(request.headers["x-size"]);
    const what = request.url?.slice(1);
    if (what === "reset") {
      request.socket.resetAndDestroy();
      return;
    }
    response.statusCode = what === "error" ? 500 : what === "none" ? 204 : 200;
    response.setHeader("X-Got", got.digest("hex"));
    if (what === "none") {
      response.end();
      return;
    }
    const body = bodyOf(number, size);
    if (what !== "chunked") {
      response.setHeader("Content-Length", body.length);
      response.end(body);
      return;
    }
    // Chunks of uneven sizes.
    for (let at = 0; at < body.length; at += 10_007) response.write(body.subarray(at, at + 10_007));
    response.end();
  });
}

/** One request, by its number: the bytes to send, and what has to come back. */
interface Plan {
  readonly bytes: Buffer;
  readonly head: boolean;
  readonly status: number;
  readonly got: string;
  readonly body: string | undefined;
}

const WHATS = ["plain", "chunked", "plain", "chunked", "plain", "none", "error", "chunked", "reset", "plain", "cached"];

function plan(number: number): Plan {
  const what = WHATS[number % WHATS.length];
  const method = what === "reset" ? "GET" : ["GET", "POST", "PUT", "HEAD", "DELETE", "GET", "PATCH"][number % 7];
  const size = sizeOf(number + 7);
  const sent =
    method === "POST" || method === "PUT" || method === "PATCH"
      ? bodyOf(number + 1, sizeOf(number))
      : POOL.subarray(0, 0);
  const fields = [`${method} /${what} HTTP/1.1`, "Host: soak", `X-Number: ${number}`, `X-Size: ${size}`];
  const parts: Buffer[] = [];
  if (sent.length > 0 && number % 2 === 0) {
    fields.push("Transfer-Encoding: chunked");
    for (let at = 0; at < sent.length; at += 9001) {
      const piece = sent.subarray(at, at + 9001);
      parts.push(Buffer.from(`${piece.length.toString(16)}\r\n`), piece, Buffer.from("\r\n"));
    }
    parts.push(Buffer.from("0\r\n\r\n"));
  } else if (sent.length > 0 || method !== "GET") {
    fields.push(`Content-Length: ${sent.length}`);
    parts.push(sent);
  }
  const head = method === "HEAD";
  const status = what === "reset" ? 502 : what === "error" ? 500 : what === "none" ? 204 : 200;
  const body = what === "reset" ? undefined : head || what === "none" ? "" : hash(bodyOf(number, size));
  return {
    bytes: Buffer.concat([Buffer.from(`${fields.join("\r\n")}\r\n\r\n`), ...parts]),
    head,
    status,
    got: hash(sent),
    body,
  };
}

async function run(port: number, next: () => number | undefined, wrong: string[]): Promise<void> {
  let connection: RawConnection | undefined;
  let round = 0;
  for (let number = next(); number !== undefined; number = next()) {
    const current: RawConnection = connection ?? (await RawConnection.open(port));
    connection = current;
    round++;
    // Now and then a client goes away with its answer on the way, or before its body is sent.
    if (round % 23 === 0) {
      const { bytes } = plan(number);
      current.write(round % 2 === 0 ? bytes : bytes.subarray(0, Math.max(1, bytes.length - 3)));
      if (round % 3 === 0) current.socket.resetAndDestroy();
      else current.close();
      connection = undefined;
      continue;
    }
    const numbers = [number];
    // Now and then three are sent at once.
    while (round % 5 === 0 && numbers.length < 3) {
      const more = next();
      if (more === undefined) break;
      numbers.push(more);
    }
    const plans = numbers.map(plan);
    current.write(Buffer.concat(plans.map(({ bytes }) => bytes)));
    for (const [index, { head, status, got, body }] of plans.entries()) {
      const what = `request ${numbers[index]} (${WHATS[numbers[index] % WHATS.length]})`;
      try {
        const response = await current.readResponse({ head });
        if (response.status !== status) wrong.push(`${what}: ${response.statusLine}, not ${status}`);
        else if (body !== undefined && response.header("x-got") !== got)
          wrong.push(`${what}: the server got another body`);
        else if (body !== undefined && body !== "" && hash(response.body) !== body)
          wrong.push(`${what}: another body of ${response.body.length} bytes`);
        if (response.header("connection") === "close") {
          // keepalive_requests: what was sent behind it has no answer.
          current.close();
          connection = undefined;
          break;
        }
      } catch (error) {
        wrong.push(`${what}: ${String(error).slice(0, 200)}`);
        current.close();
        connection = undefined;
        break;
      }
    }
  }
  connection?.close();
}

/** What the master and its children have open. */
function descriptors(master: number): string[] {
  return [master, ...childrenOf(master)].flatMap((pid) => openBy(pid).map((name) => `${pid} ${name}`));
}

async function counters(holdfast: Running): Promise<string> {
  const page = (await get(holdfast.ports[1], "/")).body;
  return `${/Active connections: \d+/.exec(page)?.[0]} ${/Reading: \d+ Writing: \d+ Waiting: \d+/.exec(page)?.[0]}`;
}

const IDLE = "Active connections: 1 Reading: 0 Writing: 1 Waiting: 0";

/** Far more requests break off than max_conns allows: connections that were not counted down would end in 502. */
async function soak(t: TestContext, more: string): Promise<void> {
  const backends = [await httpBackend(t, answer), await httpBackend(t, answer)];
  const holdfast = await startHoldfast(t, {
    config: ([port, status]) => `worker_processes 2;
      http {
        access_log off;
        client_max_body_size 2m;
        upstream behind { zone behind 64k; ${backends.map(({ address }) => `server ${address} max_fails=0 max_conns=150;`).join(" ")} keepalive 32; keepalive_timeout 500ms; }
        server {
          listen 127.0.0.1:${port}; keepalive_requests 100000;
          location / { proxy_pass http://behind; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_next_upstream off; ${more} }
        }
        server { listen 127.0.0.1:${status}; keepalive_timeout 0; location / { stub_status; } }
      }`,
  });
  await waitFor(async () => (await counters(holdfast)) === IDLE, "the counters at first");
  const before = descriptors(holdfast.pid);
  const wrong: string[] = [];
  let number = 0;
  const next = (): number | undefined => (number < REQUESTS ? number++ : undefined);
  await Promise.all(Array.from({ length: CONNECTIONS }, () => run(holdfast.port, next, wrong)));
  assert.deepEqual(wrong.slice(0, 10), []);
  await waitFor(async () => (await counters(holdfast)) === IDLE, "the counters to be back");
  let left: string[] = [];
  await waitFor(() => {
    left = descriptors(holdfast.pid).filter((line) => !before.includes(line));
    return left.every((line) => line.endsWith("/error.log"));
  }, "everything to be closed").catch((error) => assert.deepEqual(left, [], String(error)));
  assert.doesNotMatch(holdfast.errorLog(), /\[(crit|alert|emerg)\]/);
}

test("bodies buffered", (t) => soak(t, ""));
test("bodies passed on as they come", (t) => soak(t, "proxy_buffering off; proxy_request_buffering off;"));
