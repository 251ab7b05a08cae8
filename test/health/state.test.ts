import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";
import { bindPlan, recordsOf, viewOf } from "../../src/health/plan.ts";
import { startChecks } from "../../src/health/scheduler.ts";
import { HealthStates, healthBytes, migrateHealth } from "../../src/health/state.ts";
import { statusRows } from "../../src/health/status.ts";
import { startProcess } from "../support/sharing.ts";
import {
  bind,
  DEFINITION,
  healthZone,
  ipv4,
  memoryLog,
  peer,
  planOf,
  planText,
  silentStream,
  TestClock,
} from "./support.ts";

const servers = [peer(0, ipv4(1)), peer(1, ipv4(2))];

test("the same address in two upstreams, and under two checks, has two states", () => {
  const text = `http {
    upstream a { check interval=1000; } upstream b { check interval=1000; }
    server { location / { proxy_pass http://a; health_check; } }
  }`;
  const plan = bind(planText(text, { a: servers, b: servers }));
  assert.deepEqual(
    statusRows(plan).map(({ upstream, name, type, up }) => `${upstream} ${name} ${type} ${up}`),
    [
      "a 127.0.0.1:1 tcp false",
      "a 127.0.0.1:1 http true",
      "a 127.0.0.1:2 tcp false",
      "a 127.0.0.1:2 http true",
      "b 127.0.0.1:1 tcp false",
      "b 127.0.0.1:2 tcp false",
    ],
  );
  assert.equal(new Set(plan.records).size, 6);
  assert.equal(viewOf(plan, "a")?.up(0), false, "up only when all checks are");
});

test("unique=true shares one check among upstreams", () => {
  const text =
    "http { upstream a { check unique=true; } upstream b { check unique=true; } upstream c { check type=mysql unique=true; } }";
  const plan = bind(planText(text, { a: servers, b: servers, c: servers }));
  assert.deepEqual(
    statusRows(plan).map(({ upstream, type }) => `${upstream} ${type}`),
    ["a tcp", "a tcp", "c mysql", "c mysql"],
  );
  const clock = new TestClock();
  const log = memoryLog();
  const checks = startChecks(plan, {
    log,
    clock,
    connect: ({ address }, handler) => {
      const stream = silentStream(address, handler);
      queueMicrotask(() => handler.onConnect(stream));
      return stream;
    },
  });
  checks.stop();
  // The second upstream follows the first one's check.
  plan.states.change(plan.records[0], true, 1);
  startChecks(plan, { log, clock }).stop();
  assert.equal(viewOf(plan, "b")?.up(0), true);
  assert.equal(viewOf(plan, "b")?.up(1), false);
});

test("servers marked down and upstreams without checks are not checked", () => {
  const plan = bind(
    planText("http { upstream a { check type=tcp; } upstream b { } }", {
      a: [peer(0, ipv4(1), { down: true }), servers[1]],
      b: servers,
    }),
  );
  assert.deepEqual(
    statusRows(plan).map(({ name }) => name),
    ["127.0.0.1:2"],
  );
  assert.equal(viewOf(plan, "b"), undefined);
});

test("a reload keeps states, whether the zone keeps its size or grows", () => {
  const states = new HealthStates(healthZone(healthBytes(4)));
  const first = bind(planOf([ipv4(1), ipv4(2)]), states);
  states.pass(first.records[0], 5);
  states.setVerdict(first.records[0], true);
  states.change(first.records[0], true, 5);
  states.fail(first.records[1], 6, "connect: connection refused");
  const second = bindPlan(planOf([ipv4(2), ipv4(1), ipv4(3)]), new HealthStates(states.zone), 2, 10);
  assert.deepEqual(second.records.slice(0, 2), [first.records[1], first.records[0]]);
  assert.deepEqual(
    statusRows(second).map(({ name, up, reason }) => [name, up, reason]),
    [
      ["127.0.0.1:2", false, "connect: connection refused"],
      ["127.0.0.1:1", true, ""],
      ["127.0.0.1:3", false, ""],
    ],
  );
  const many = planOf(Array.from({ length: 100 }, (_, i) => ipv4(i + 1)));
  const bigger = healthZone(healthBytes(recordsOf(many)));
  assert.ok(bigger.size > states.zone.size);
  migrateHealth(states.zone, bigger);
  const third = bindPlan(many, new HealthStates(bigger), 3, 20);
  assert.equal(statusRows(third)[0].up, true);
  assert.equal(statusRows(third)[1].reason, "connect: connection refused");
  assert.equal(third.states.read(third.records[0]).since, 5);
});

test("a changed check inherits each server's state: nobody goes down, nobody comes back", () => {
  const states = new HealthStates(healthZone(healthBytes(4)));
  const first = bind(planText("http { upstream a { check interval=1000; } }", { a: servers }), states);
  states.change(first.records[0], true, 5);
  startChecks(first, { log: memoryLog(), clock: new TestClock() }).stop();
  const slower = bindPlan(
    planText("http { upstream a { check interval=9000 rise=9; } }", { a: servers }),
    states,
    2,
    9,
  );
  assert.deepEqual(slower.records, first.records, "when to check is not what is checked");
  const other = bindPlan(
    planText("http { upstream a { check type=http default_down=false; } }", { a: servers }),
    states,
    3,
    9,
  );
  assert.deepEqual(
    statusRows(other).map(({ up }) => up),
    [true, false],
  );
  assert.equal(other.states.verdict(other.records[0]), false, "and is verified at once");
});

test("records are given away only when there is no other place, the oldest first", () => {
  const states = new HealthStates(healthZone(healthBytes(16)));
  for (let generation = 1; generation <= 40; generation++) {
    const addresses = Array.from({ length: 8 }, (_, i) => ipv4(generation * 10 + i));
    const door = new HealthStates(states.zone);
    const before =
      generation === 1
        ? []
        : bind(
            planOf(addresses.map((_, i) => ipv4((generation - 1) * 10 + i))),
            new HealthStates(states.zone),
            generation - 1,
          ).records;
    const plan = bindPlan(planOf(addresses), door, generation, 1);
    for (const record of plan.records) assert.ok(!before.includes(record));
  }
});

test("a worker reads states, a long reason is cut", async (t) => {
  const plan = bind(planOf([ipv4(1)]));
  plan.states.fail(plan.records[0], 1, "x".repeat(1000));
  assert.equal(plan.states.read(plan.records[0]).reason.length, 184);
  const worker = startProcess(t, new URL("./reading_worker.ts", import.meta.url), {
    zones: [plan.states.zone],
    task: { record: plan.records[0] },
  });
  const [state] = await once(worker, "message");
  assert.deepEqual(state, plan.states.read(plan.records[0]));
  assert.equal(state.fall, 1);
});

test("an update goes on where it was: no burst, no forgotten connection, changed servers only", () => {
  const clock = new TestClock();
  const starts: [number, string][] = [];
  const log = memoryLog();
  const waiting: (() => void)[] = [];
  const connect: NonNullable<Parameters<typeof startChecks>[1]["connect"]> = ({ address }, handler) => {
    starts.push([clock.time, address.family === "unix" ? "" : String(address.port)]);
    const stream = silentStream(address, handler);
    waiting.push(() => handler.onConnect(stream));
    return stream;
  };
  const run = (to: number) => {
    while (clock.time < to) {
      clock.to(clock.time + 5);
      for (const answer of waiting.splice(0)) answer();
    }
  };
  const addresses = Array.from({ length: 50 }, (_, i) => ipv4(i + 1));
  const definition = { ...DEFINITION, interval: 1000, rise: 1 };
  const first = bind(planOf(addresses, definition));
  const checks = startChecks(first, { log, clock, connect });
  run(3000);
  starts.length = 0;
  const plan = planOf([...addresses.slice(1), ipv4(99)], definition);
  checks.update(bindPlan(plan, new HealthStates(first.states.zone), 2, clock.wall()));
  run(3100);
  const soon = starts.filter(([at]) => at <= 3100);
  assert.ok(soon.length <= 12, `${soon.length} checks right after the reload`);
  assert.ok(
    soon.some(([, port]) => port === "99"),
    "the new server is checked at once",
  );
  run(4200);
  assert.ok(!starts.some(([, port]) => port === "1"), "the server that left is not");
  assert.equal(new Set(starts.map(([, port]) => port)).size, 50);
  const bigger = planOf([...addresses, ...Array.from({ length: 300 }, (_, i) => ipv4(1000 + i))], definition);
  const zone = healthZone(healthBytes(recordsOf(bigger)));
  migrateHealth(first.states.zone, zone);
  const bound = bindPlan(bigger, new HealthStates(zone), 3, clock.wall());
  // The old generation's last words come between the copy and the switch.
  first.states.change(first.records[5], false, clock.wall());
  checks.update(bound);
  assert.equal(viewOf(bound, "u")?.up(5), false);
  assert.equal(viewOf(bound, "u")?.up(6), true);
  checks.stop();
});

test("a checker that died while it wrote a reason leaves its successor's reasons readable", () => {
  /** Odd while a reason is being written. */
  const SEQUENCE = 10;
  const { states, records } = bind(planOf([ipv4(1)], DEFINITION));
  const [record] = records;
  states.fail(record, 1000, "first");
  Atomics.add(states.words, record + SEQUENCE, 1);
  states.fail(record, 2000, "second");
  assert.equal(states.words[record + SEQUENCE] % 2, 0);
  assert.equal(states.read(record).reason, "second");
});
