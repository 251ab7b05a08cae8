/** `sticky learn`: sessions that servers' answers tell of, in a table of all workers that outlives reloads and restarts. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { httpBackend } from "../support/backend.ts";
import { startDaemon } from "../support/daemon.ts";
import { type Running, runHoldfast, startHoldfast } from "../support/holdfast.ts";
import { freePort } from "../support/ports.ts";
import { childrenOf, isRunning, workersOf } from "../support/processes.ts";
import { get, RawConnection } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

interface Setup {
  readonly servers?: (ports: readonly number[]) => string;
  readonly learn?: string;
  readonly global?: string;
}

const SERVERS = ([a, b, c]: readonly number[]) =>
  `server 127.0.0.1:${a} route=a; server 127.0.0.1:${b}; server 127.0.0.1:${c};`;
const LEARN = "create=$upstream_cookie_sid lookup=$cookie_sid zone=sessions:64k timeout=1h";

/** Servers of their own, which `/new` has make a session; answers are their places. */
const configOf = (
  [listen, ...ports]: readonly number[],
  { servers = SERVERS, learn = LEARN, global = "" }: Setup = {},
) => {
  const own = ports.slice(0, 3).map(
    (port, i) => `server { listen 127.0.0.1:${port};
      location / { return 200 ${i}; }
      location /new { add_header Set-Cookie sid=$arg_id; return 200 ${i}; } }`,
  );
  return `worker_processes 2; ${global} http {
    upstream u { ${servers(ports)} sticky learn ${learn}; }
    server { listen ${listen}; location / { proxy_pass http://u; } }
    ${own.join("\n")} }`;
};

const start = (t: TestContext, setup?: Setup) => startHoldfast(t, { config: (ports) => configOf(ports, setup) });

/** Has a session made, and says which server has it. */
async function begin(port: number, id: string): Promise<string> {
  const { body } = await get(port, `/new?id=${id}`);
  // The session is learned when the answer has been sent.
  await waitFor(async () => (await homes(port, id)).length === 1, `session ${id}`);
  return body;
}

/** The servers that requests of a session go to. */
async function homes(port: number, id: string): Promise<string[]> {
  const found = new Set<string>();
  for (let i = 0; i < 6; i++) found.add((await get(port, "/", `Cookie: sid=${id}`)).body);
  return [...found];
}

const IDS = Array.from({ length: 12 }, (_, i) => `session-${i}`);

async function beginAll(port: number): Promise<Map<string, string>> {
  const begun = new Map<string, string>();
  for (const id of IDS) begun.set(id, await begin(port, id));
  assert.ok(new Set(begun.values()).size > 1);
  return begun;
}

async function assertHomes(port: number, begun: ReadonlyMap<string, string>): Promise<void> {
  for (const [id, home] of begun) assert.deepEqual(await homes(port, id), [home], id);
}

test("a session that one worker learned is known to all, and only servers make one", async (t) => {
  const holdfast = await start(t);
  await assertHomes(holdfast.port, await beginAll(holdfast.port));
  assert.ok((await homes(holdfast.port, "made-up")).length > 1);
});

test("a worker that is killed takes no session with it", async (t) => {
  // Servers of other processes: one that was the killed worker's too would fail, and its sessions move.
  const backends = await Promise.all(
    [0, 1, 2].map((place) =>
      httpBackend(t, (request, response) => {
        const id = /^\/new\?id=(.*)/.exec(request.url ?? "")?.[1];
        if (id !== undefined) response.setHeader("Set-Cookie", `sid=${id}`);
        response.end(`${place}`);
      }),
    ),
  );
  const holdfast = await start(t, { servers: () => backends.map(({ address }) => `server ${address};`).join(" ") });
  const begun = await beginAll(holdfast.port);
  for (let round = 0; round < 2; round++) {
    const [worker] = workersOf(holdfast.pid);
    process.kill(worker, "SIGKILL");
    await waitFor(() => !workersOf(holdfast.pid).includes(worker) && workersOf(holdfast.pid).length === 2);
    await assertHomes(holdfast.port, begun);
  }
});

test("sessions outlive a reload with the same zone and with one of another size; of a server that is gone they move", async (t) => {
  const holdfast = await start(t);
  const begun = await beginAll(holdfast.port);
  assert.equal(await holdfast.reload(), true);
  await assertHomes(holdfast.port, begun);
  for (const size of ["128k", "32k", "1m"]) {
    assert.equal(await holdfast.reload(configOf(holdfast.ports, { learn: LEARN.replace("64k", size) })), true);
    await assertHomes(holdfast.port, begun);
  }
  // The others come first now, and one of them has the place that the first had.
  const servers = ([, b, c]: readonly number[]) => `server 127.0.0.1:${c}; server 127.0.0.1:${b} weight=3;`;
  assert.equal(await holdfast.reload(configOf(holdfast.ports, { servers, learn: LEARN.replace("64k", "1m") })), true);
  for (const [id, home] of begun) {
    const found = await homes(holdfast.port, id);
    assert.equal(found.length, home === "0" ? found.length : 1);
    assert.equal(found.includes("0"), false);
    if (home !== "0") assert.deepEqual(found, [home]);
  }
});

const SNAPSHOT = "sticky_sessions/sessions.snapshot";

/** Starts again where an earlier start has been, on its ports. */
const restart = (t: TestContext, { prefix, ports }: Running, setup?: Setup) =>
  startHoldfast(t, { config: configOf(ports, setup), prefix });

test("sessions outlive a restart, and all processes killed at once; the snapshot has no session's id", async (t) => {
  const first = await start(t);
  const { port } = first;
  const begun = await beginAll(port);
  assert.equal(await first.stop("SIGQUIT"), 0);
  assert.equal(first.read(SNAPSHOT).includes("session-"), false);

  const second = await restart(t, first);
  await second.waitForLog(/\[notice\] .*: 12 sticky sessions were read from ".*sessions\.snapshot"/);
  await assertHomes(port, begun);
  const size = second.read(SNAPSHOT).length;
  begun.set("late", await begin(port, "late"));
  await waitFor(() => second.read(SNAPSHOT).length > size, "a new snapshot");
  const processes = [second.pid, ...childrenOf(second.pid)];
  for (const pid of processes) process.kill(pid, "SIGKILL");
  await second.exited;
  await waitFor(() => !processes.some(isRunning), "the end of all processes");

  const third = await restart(t, first, { learn: LEARN.replace("64k", "128k") });
  await assertHomes(port, begun);
  await third.stop();
  const fourth = await restart(t, first, { learn: `${LEARN} snapshot=off` });
  assert.equal(await begin(port, "other"), (await homes(port, "other"))[0]);
  assert.ok((await homes(port, IDS[0])).length > 1);
  assert.equal(fourth.errorLog().includes("were read from"), true);
});

test("a snapshot that is damaged or another's is not used, and the log says why", async (t) => {
  const first = await start(t);
  await beginAll(first.port);
  await first.stop();
  const whole = readFileSync(join(first.prefix, SNAPSHOT));
  const changed = (at: number) => {
    const file = Buffer.from(whole);
    file[at] ^= 1;
    return file;
  };
  /** Its checksum is right. */
  const sealed = (change: (file: Buffer) => void) => {
    const content = Buffer.from(whole.subarray(0, -32));
    change(content);
    return Buffer.concat([content, createHash("sha256").update(content).digest()]);
  };
  const cases: readonly (readonly [file: Buffer, why: string])[] = [
    [Buffer.alloc(0), "it is no snapshot of sticky sessions"],
    [changed(0), "it is no snapshot of sticky sessions"],
    [whole.subarray(0, -1), "its checksum is wrong"],
    [changed(whole.length - 40), "its checksum is wrong"],
    [sealed((file) => file.writeUInt32LE(2, 8)), "it has version 2 in place of 1"],
    [sealed((file) => file.writeUInt32LE(0xffffffff, 12)), "it is shorter than it says"],
    [sealed((file) => file.writeUInt16LE(0xffff, 16)), "it is not as it should be"],
    [sealed((file) => file.write("S", 20)), 'it is that of zone "Sessions" of upstream "u"'],
  ];
  for (const [file, why] of cases) {
    writeFileSync(join(first.prefix, SNAPSHOT), file);
    const before = first.errorLog().length;
    const again = await restart(t, first);
    await waitFor(() => again.errorLog().slice(before).includes(`are not used: ${why}`), why);
    assert.ok((await homes(first.port, IDS[0])).length > 1);
    await again.stop();
  }
});

test("a new binary goes on with the sessions, while the old one still learns some", async (t) => {
  const ports = await Promise.all(Array.from({ length: 4 }, freePort));
  const daemon = await startDaemon(t, `events {}\n${configOf(ports, { global: "pid logs/holdfast.pid;" })}`);
  const [port] = ports;
  const begun = await beginAll(port);
  const old = await daemon.startNewBinary();
  await assertHomes(port, begun);
  begun.set("between", await begin(port, "between"));
  await daemon.retire(old);
  await assertHomes(port, begun);
});

test("a session ends when it was not used for so long, and only its use keeps it", async (t) => {
  const holdfast = await start(t, { learn: LEARN.replace("1h", "600ms") });
  const { port } = holdfast;
  const begun = Date.now();
  const home = await begin(port, "kept");
  while (Date.now() - begun < 1500) {
    const asked = Date.now();
    const { body } = await get(port, "/", "Cookie: sid=kept");
    // On a machine that was busy for so long it has ended.
    if (Date.now() - asked > 200) return;
    assert.equal(body, home);
  }
  await waitFor(async () => {
    await new Promise((resolve) => setTimeout(resolve, 700));
    return (await homes(port, "kept")).length > 1;
  }, "the end of the session");
});

test("with `header` a session is learned before the answer's body has come", async (t) => {
  const { promise: released, resolve: release } = Promise.withResolvers<void>();
  const backend = await httpBackend(t, async (request, response) => {
    if (request.url === "/slow") {
      response.writeHead(200, { "Set-Cookie": "sid=slow" });
      response.write("begun");
      await released;
    }
    response.end("slow one");
  });
  const holdfast = await startHoldfast(t, {
    config: (ports) =>
      configOf(ports, {
        servers: ([a, b]) =>
          `server ${backend.address} weight=100 max_conns=1; server 127.0.0.1:${a}; server 127.0.0.1:${b};`,
        learn: `${LEARN} header`,
      }),
  });
  const client = await RawConnection.open(holdfast.port);
  client.write("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
  await waitFor(() => client.received.includes("begun"), "the begin of the answer");
  // Its server is full: others serve it meanwhile, and it is theirs from then on.
  const found = await homes(holdfast.port, "slow");
  assert.equal(found.length, 1);
  assert.notEqual(found[0], "slow one");
  release();
});

const FULL = "create=$arg_a lookup=$arg_a";
const REFUSED: readonly (readonly [parameters: string, sentence: string])[] = [
  [`${FULL} zone=a`, '"sticky" directive zone size is not specified'],
  [`${FULL} zone=:1m`, '"sticky" directive zone name is not specified'],
  [`${FULL} zone=a:x`, '"sticky" directive invalid zone size'],
  [`${FULL} zone=a:31k`, '"sticky" directive zone is too small'],
  [`${FULL} zone=a:1m zone=b:1m`, '"sticky" directive duplicate zone'],
  [`${FULL} zone=a:1m timeout=0`, '"sticky" directive invalid timeout'],
  [`${FULL} zone=a:1m timeout=x`, '"sticky" directive invalid timeout'],
  [`${FULL} zone=a:1m timeout=1 timeout=1`, '"sticky" directive duplicate timeout'],
  ["create=a lookup=$arg_a zone=a:1m", '"sticky" directive missing variable in the "create" parameter'],
  ["create=$arg_a lookup= zone=a:1m", '"sticky" directive missing variable in the "lookup" parameter'],
  ["create=$arg_a zone=a:1m", '"sticky" directive "lookup" parameter is not specified'],
  ["lookup=$arg_a zone=a:1m", '"sticky" directive "create" parameter is not specified'],
  [FULL, '"sticky" directive "zone" parameter is not specified'],
  [`${FULL} zone=a:1m headers`, 'unknown parameter "headers"'],
];

test("wrong parameters are refused in nginx's words", async (t) => {
  const upstreams = REFUSED.map(([text], i) => `upstream u${i} { server 127.0.0.1:1; sticky learn ${text}; }`);
  const { code, stderr } = await runHoldfast(t, { config: `http {\n${upstreams.join("\n")}\n}`, args: ["-t"] });
  assert.equal(code, 1);
  for (const [i, [text, sentence]] of REFUSED.entries()) {
    const place = `${sentence} in `;
    assert.ok(stderr.includes(place) && stderr.includes(`conf:${i + 2}\n`), `${text}: ${stderr}`);
  }
});

test("one zone is for one upstream, also over a reload", async (t) => {
  const upstream = (name: string, zone: string) =>
    `upstream ${name} { server 127.0.0.1:1; sticky learn ${FULL} zone=${zone}; }`;
  const twice = `http { ${upstream("one", "z:1m")} ${upstream("two", "z:1m")} }`;
  const { stderr } = await runHoldfast(t, { config: twice, args: ["-t"] });
  assert.match(stderr, /\[emerg\] .*sticky zone "z" is already used in upstream "one" in /);
  const holdfast = await startHoldfast(t, {
    config: ([listen]) => `http { ${upstream("one", "z:1m")} server { listen ${listen}; return 200; } }`,
  });
  const { port } = holdfast;
  assert.equal(
    await holdfast.reload(`http { ${upstream("two", "z:1m")} server { listen ${port}; return 200; } }`),
    false,
  );
  await holdfast.waitForLog(/sticky zone "z" is used in upstream "two" while previously it was used in upstream "one"/);
});
