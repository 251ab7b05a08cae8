/** Logs that are pipes, whose readers pause: every line arrives, whole, and nobody's request waits for it. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { closeSync, constants, openSync, readSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { gunzipSync } from "node:zlib";
import { makePrefix, startHoldfast } from "../support/holdfast.ts";
import { get, RawConnection } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

/** A named pipe; nothing is taken out of it but by `read`. */
class Pipe {
  readonly path: string;
  readonly #fd: number;
  #text = "";

  constructor(t: TestContext, path: string) {
    this.path = path;
    execFileSync("mkfifo", ["-m", "666", path]);
    this.#fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    t.after(() => closeSync(this.#fd));
  }

  /** A descriptor to write with, as a shell makes one: it blocks. */
  writer(t: TestContext): number {
    const fd = openSync(this.path, constants.O_WRONLY);
    t.after(() => closeSync(fd));
    return fd;
  }

  /** All that has come until now. */
  read(): string {
    const bytes = Buffer.alloc(1 << 16);
    for (;;) {
      let count = 0;
      try {
        count = readSync(this.#fd, bytes);
      } catch {
        // Nothing there for the moment.
      }
      if (count === 0) return this.#text;
      this.#text += bytes.toString("latin1", 0, count);
    }
  }

  lines(): string[] {
    return this.read().split("\n").slice(0, -1);
  }
}

const BURST = 2000;

/** That many requests at once on one connection, all answered. */
async function burst(port: number, path: string, count = BURST): Promise<void> {
  const client = await RawConnection.open(port);
  for (let i = 1; i <= count; i++) {
    client.write(`GET ${path}/${i} HTTP/1.1\r\nHost: a\r\n${i === count ? "Connection: close\r\n" : ""}\r\n`);
  }
  assert.equal((await client.readAll()).match(/HTTP\/1\.1 200 /g)?.length, count);
  client.close();
}

const config = (port: number, log: string, path = "/") => `worker_processes 2; http {
  log_format line '[$uri $http_x]'; keepalive_requests 1000000;
  server { listen 127.0.0.1:${port}; location ${path} { ${log} return 200 x; } } }`;

/** The numbers of the requests of each client, as they were logged. */
function assertWhole(lines: readonly string[], expected: number): void {
  for (const line of lines) assert.match(line, /^\[\/[abc]\/\d+ -\]$/);
  assert.equal(new Set(lines).size, expected);
  assert.equal(lines.length, expected);
}

for (const parameters of ["", " buffer=3k", " buffer=32k flush=20ms"]) {
  test(`access_log /dev/stdout${parameters}: a reader that pauses gets every line whole`, async (t) => {
    const prefix = makePrefix(t);
    const pipe = new Pipe(t, join(prefix, "pipe"));
    const holdfast = await startHoldfast(t, {
      prefix,
      stdout: pipe.writer(t),
      config: (ports) => config(ports[0], `access_log /dev/stdout line${parameters};`),
    });
    // Far more than a pipe holds, and nobody reads: every request is answered all the same.
    await Promise.all([burst(holdfast.port, "/a"), burst(holdfast.port, "/b"), burst(holdfast.port, "/c")]);
    if (parameters !== " buffer=3k") {
      await waitFor(() => pipe.lines().length >= 3 * BURST, "the lines");
      assertWhole(pipe.lines(), 3 * BURST);
    }
    const ended = holdfast.stop("SIGQUIT");
    await waitFor(() => pipe.lines().length >= 3 * BURST, "the lines");
    assert.equal(await ended, 0);
    assertWhole(pipe.lines(), 3 * BURST);
    assert.doesNotMatch(holdfast.errorLog(), /\[(alert|crit|emerg)\]/);
  });
}

test("error_log stderr: a reader that pauses gets every line whole", async (t) => {
  const prefix = makePrefix(t);
  const pipe = new Pipe(t, join(prefix, "pipe"));
  const holdfast = await startHoldfast(t, {
    prefix,
    stderr: pipe.writer(t),
    config: (ports) =>
      config(ports[0], "error_log stderr info; access_log off; rewrite_log on; rewrite ^/(.)/none$ /;"),
    globals: "daemon off; error_log stderr notice;",
  });
  await Promise.all([burst(holdfast.port, "/a", 500), burst(holdfast.port, "/b", 500)]);
  const matched = () => pipe.lines().filter((line) => line.includes("does not match"));
  await waitFor(() => matched().length >= 1000, "the lines");
  for (const line of pipe.lines()) assert.match(line, /^\d{4}\/\d\d\/\d\d \d\d:\d\d:\d\d \[\w+\] \d+#\d+: /);
  assert.equal(new Set(matched().map((line) => /"\/\w\/\d+"/.exec(line)?.[0])).size, 1000);
});

test("a pipe that nobody reads holds nobody up; what was lost for it is counted", async (t) => {
  const prefix = makePrefix(t);
  const pipe = new Pipe(t, join(prefix, "pipe"));
  const holdfast = await startHoldfast(t, {
    prefix,
    config: (ports) => `${config(ports[0], `access_log ${pipe.path} line;`).replace("processes 2", "processes 1")}`,
  });
  const value = "y".repeat(900);
  const client = await RawConnection.open(holdfast.port);
  const count = 3000;
  for (let i = 1; i <= count; i++) {
    client.write(`GET /a/${i} HTTP/1.1\r\nHost: a\r\nX: ${value}\r\n${i === count ? "Connection: close\r\n" : ""}\r\n`);
  }
  assert.equal((await client.readAll()).match(/HTTP\/1\.1 200 /g)?.length, count);
  client.close();
  const [, lost] = await waitFor(() => {
    pipe.read();
    return /\[alert\] .*: write\(\) to ".*pipe" was incomplete: (\d+) lines are lost/.exec(holdfast.errorLog());
  }, "the number of lines lost");
  const lines = pipe.lines();
  for (const line of lines) assert.match(line, /^\[\/a\/\d+ y{900}\]$/);
  assert.equal(lines.length + Number(lost), count);
  // From now on all is well again.
  await get(holdfast.port, "/b/1");
  await waitFor(() => pipe.read().endsWith("[/b/1 -]\n"), "a line");
});

test("a named pipe without a reader holds up no start; its reader comes and goes", async (t) => {
  const prefix = makePrefix(t);
  execFileSync("mkfifo", ["-m", "666", join(prefix, "named")]);
  const holdfast = await startHoldfast(t, {
    prefix,
    config: (ports) => config(ports[0], `access_log ${prefix}/named line;`),
  });
  await get(holdfast.port, "/a/1");
  const fd = openSync(join(prefix, "named"), constants.O_RDONLY | constants.O_NONBLOCK);
  t.after(() => closeSync(fd));
  const bytes = Buffer.alloc(100);
  const text = await waitFor(() => {
    try {
      return bytes.toString("latin1", 0, readSync(fd, bytes)) || undefined;
    } catch {
      return undefined;
    }
  }, "the line");
  assert.equal(text, "[/a/1 -]\n");
});

test("a log whose name has a variable may be a pipe too", async (t) => {
  const prefix = makePrefix(t, { "html/a": "" });
  const pipe = new Pipe(t, join(prefix, "pipe"));
  const holdfast = await startHoldfast(t, {
    prefix,
    config: (ports) => config(ports[0], `set $name pipe; access_log ${prefix}/$name line;`),
  });
  await burst(holdfast.port, "/a", 100);
  await waitFor(() => pipe.lines().length >= 100, "the lines");
  assertWhole(pipe.lines(), 100);
});

test("gzip to a pipe is one readable stream", async (t) => {
  const prefix = makePrefix(t);
  const pipe = new Pipe(t, join(prefix, "pipe"));
  const holdfast = await startHoldfast(t, {
    prefix,
    config: (ports) =>
      config(ports[0], `access_log ${pipe.path} line gzip buffer=256k;`).replace("processes 2", "processes 1"),
  });
  const noise = Array.from({ length: 300 }, (_, i) => (i * 2654435761).toString(36)).join("");
  for (let i = 0; i < 100; i++) await get(holdfast.port, `/a/${i}`, `X: ${noise.slice(i)}${i}`);
  const ended = holdfast.stop("SIGQUIT");
  await waitFor(() => {
    pipe.read();
    return holdfast.exit !== undefined;
  }, "its end");
  assert.equal(await ended, 0);
  assert.equal(gunzipSync(Buffer.from(pipe.read(), "latin1")).toString().split("\n").length, 101);
});
