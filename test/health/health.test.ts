import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { upstreamDefinitions } from "../../src/balancer/directives.ts";
import { cycleUpstream, type Group } from "../../src/balancer/group.ts";
import { openHealth } from "../../src/health/health.ts";
import { statusRows } from "../../src/health/status.ts";
import { program } from "../../src/program.ts";
import type { Cycle } from "../../src/runtime/cycle.ts";
import { NewZones, openZone, type ZoneHandles } from "../../src/shm/registry.ts";
import { loadConfig } from "../config/workspace.ts";
import { freePort } from "../support/ports.ts";
import { waitFor } from "../support/wait.ts";
import { ipv4, memoryLog, serve } from "./support.ts";

/** One generation as a process builds it: the real tables, groups and zones. */
function generation(text: string, number: number, zones: { handles: ZoneHandles }) {
  const directory = mkdtempSync(join(tmpdir(), "holdfast-"));
  try {
    const confFile = join(directory, "nginx.conf");
    writeFileSync(confFile, text, "latin1");
    const options = { confFile, confPrefix: `${directory}/` };
    const { root } = loadConfig(options, program().directives);
    const made = new NewZones(zones.handles);
    const cycle: Cycle = {
      data: {
        generation: number,
        directives: [],
        prefix: "/",
        confPrefix: "/",
        errorLog: "",
        zones: {},
        files: new Map(),
        hosts: HOSTS,
      },
      root,
      zone(wanted) {
        made.take(wanted);
        return openZone(made.handles, wanted);
      },
      readFile: () => Buffer.alloc(0),
      path: (path) => path,
    };
    const groups = [...upstreamDefinitions(root).values()].map((definition) => cycleUpstream(definition, cycle));
    const health = openHealth(cycle, groups);
    zones.handles = made.handles;
    return { health, groups };
  } finally {
    rmSync(directory, { recursive: true });
  }
}

const HOSTS = { "two.example": [ipv4(0, "127.0.0.1"), ipv4(0, "127.0.0.2")] };

/** The addresses a group hands out in so many turns. */
function picks(group: Group, turns: number): string[] {
  const names = new Set<string>();
  for (let i = 0; i < turns; i++) {
    const attempt = group.begin({ client: ipv4(1), key: "" });
    const peer = group.next(attempt);
    names.add(peer?.name ?? "no live upstreams");
    if (peer !== undefined) group.release(attempt, "ok");
  }
  return [...names].sort();
}

for (const method of ["", "least_conn;", "ip_hash;", "hash $uri;", "random;"]) {
  test(`servers are ejected and readmitted under ${method || "round robin"}`, async () => {
    const alive = await serve((socket) => socket.resume());
    const dying = await serve((socket) => socket.resume());
    const servers = `server 127.0.0.1:${alive.port}; server 127.0.0.1:${dying.port};`;
    const text = `http { upstream u { ${method} ${servers} check interval=30 rise=1 fall=2 timeout=5000; } }`;
    const { health, groups } = generation(text, 1, { handles: {} });
    const [group] = groups;
    assert.deepEqual(picks(group, 8), ["no live upstreams"]);
    const checks = health.start({ log: memoryLog() });
    try {
      await waitFor(() => statusRows(health.plan).every(({ up }) => up), "both up");
      assert.ok(!picks(group, 8).includes("no live upstreams"));
      dying.close();
      await waitFor(() => !statusRows(health.plan)[1].up, "one down");
      assert.deepEqual(picks(group, 8), [`127.0.0.1:${alive.port}`]);
      alive.close();
      await waitFor(() => !statusRows(health.plan)[0].up, "both down");
      assert.deepEqual(picks(group, 8), ["no live upstreams"]);
    } finally {
      checks.stop();
      alive.close();
      dying.close();
    }
  });
}

test("a name with two addresses is two servers, each with its own state", async () => {
  const { port, close } = await serve((socket) => socket.resume());
  const text = `http { upstream u { server two.example:${port}; check interval=30 rise=1 fall=1 timeout=5000; } }`;
  const { health } = generation(text, 1, { handles: {} });
  const checks = health.start({ log: memoryLog() });
  try {
    await waitFor(
      () => statusRows(health.plan)[0].up && health.plan.states.verdict(health.plan.records[1]),
      "a verdict",
    );
    const rows = statusRows(health.plan).map(({ name, up }) => `${name} ${up}`);
    assert.deepEqual(rows, [`127.0.0.1:${port} true`, `127.0.0.2:${port} false`]);
  } finally {
    checks.stop();
    close();
  }
});

test("reloads keep every state while the checks go on", async () => {
  const up = await serve((socket) => socket.resume());
  const gone = await freePort();
  const zones: { handles: ZoneHandles } = { handles: {} };
  const config = (more: string) =>
    `http { upstream u { server 127.0.0.1:${up.port}; server 127.0.0.1:${gone}; ${more} check interval=50 rise=2 fall=2 timeout=5000; } }`;
  const first = generation(config(""), 1, zones);
  const log = memoryLog();
  const checks = first.health.start({ log });
  try {
    await waitFor(() => picks(first.groups[0], 1)[0] === `127.0.0.1:${up.port}`, "up");
    for (let number = 2; number < 20; number++) {
      const more =
        number % 3 === 0 ? Array.from({ length: number * 4 }, (_, i) => `server 127.0.0.3:${i + 1};`).join(" ") : "";
      const next = generation(config(more), number, zones);
      assert.deepEqual(picks(next.groups[0], 6), [`127.0.0.1:${up.port}`], `before the switch to ${number}`);
      next.health.start({ log }, checks);
      assert.deepEqual(picks(next.groups[0], 6), [`127.0.0.1:${up.port}`], `after the switch to ${number}`);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    assert.equal(log.lines.filter((line) => line.includes("able check peer")).length, 1, log.lines.join("\n"));
  } finally {
    checks.stop();
    up.close();
  }
});
