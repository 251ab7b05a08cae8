import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { buildingScopes } from "../src/config/scopes.ts";
import type { Directive } from "../src/config/types.ts";
import { program } from "../src/program.ts";
import type { WorkerService } from "../src/runtime/application.ts";
import { buildCycle, tablesOf } from "../src/runtime/build_cycle.ts";
import type { CycleData } from "../src/runtime/cycle.ts";
import { loadConfiguration, validateCycle } from "../src/runtime/master/load_cycle.ts";
import { makePrefix } from "./support/holdfast.ts";

/** What a reload builds in a worker: while requests go on, and not for ever. */

const LOCATIONS = 500;
const UPSTREAMS = 100;

const configOf = (locations: number): string => `events {} http { access_log off;
  upstream a { server 127.0.0.1:1; keepalive 4; }
  ${Array.from({ length: UPSTREAMS }, (_, i) => `upstream u${i} { server 127.0.0.1:1; }`).join("\n")}
  map $uri $part { default x; ~^/(?<word>[a-z]+)/ $word; }
  server { listen 127.0.0.1:1; server_name ~^(?<name>.+)$;
    ${Array.from({ length: locations }, (_, i) => `location /${i}/ { proxy_pass http://a; add_header X-A $part; }`).join("\n")}
    location ~ ^/(\\d+)$ { if ($arg_a) { return 204; } return 200 $1$name; } } }`;
const CONFIG = configOf(LOCATIONS);

const whole = program();

async function firstData(prefix: string, previous: CycleData | undefined): Promise<CycleData> {
  const paths = {
    prefix: `${prefix}/`,
    confPrefix: `${prefix}/conf/`,
    confFile: `${prefix}/conf/nginx.conf`,
    errorLog: "",
  };
  return (await validateCycle(whole, paths, loadConfiguration(whole, paths, undefined), previous)).cycle.data;
}

test("the tree is built in pieces no larger than a location or an upstream", async (t) => {
  const data = await firstData(makePrefix(t, { "conf/nginx.conf": CONFIG }), undefined);
  const { cycle } = await buildCycle(whole, data);
  let pieces = 0;
  for (const work = whole.build(cycle); work.next().done !== true; ) pieces++;
  assert.ok(pieces > LOCATIONS + UPSTREAMS, `${pieces} pieces`);
});

test("a block of very many lines is read in pieces", () => {
  const lines = 10_000;
  const block = (name: string, args: readonly string[], key: (i: number) => string): Directive => {
    const place = { file: "nginx.conf", line: 1 };
    const rows = Array.from({ length: lines }, (_, i) => ({
      name: key(i),
      args: key(i) === "ranges" ? [] : ["value"],
      ...place,
    }));
    return { name, args, ...place, block: rows, endLine: 1 };
  };
  const networks = block("geo", ["$networks"], (i) => `2001:db8:${i.toString(16)}::/48`);
  const ranges = block("geo", ["$ranges"], (i) =>
    i === 0 ? "ranges" : `10.${i >> 8}.${i & 255}.0-10.${i >> 8}.${i & 255}.9`,
  );
  const keys = block("map", ["$uri", "$keys"], (i) => `/${i}`);
  for (const directive of [networks, ranges, keys]) {
    const http: Directive = { name: "http", args: [], file: "nginx.conf", line: 1, block: [directive], endLine: 1 };
    let pieces = 0;
    const work = buildingScopes({ files: [], directives: [http] }, tablesOf(whole));
    while (work.next().done !== true) pieces++;
    assert.ok(pieces > lines / 100, `${pieces} pieces of ${directive.args.join()}`);
  }
});

test("the loop turns while a worker builds", async (t) => {
  // More than is built in a slice, however fast the machine is.
  const data = await firstData(makePrefix(t, { "conf/nginx.conf": configOf(10 * LOCATIONS) }), undefined);
  let built = false;
  const building = buildCycle(whole, data).then(() => {
    built = true;
  });
  await turn();
  assert.equal(built, false);
  await building;
});

test("a tree that was replaced can be collected", async (t) => {
  setFlagsFromString("--expose-gc");
  const collect: () => void = runInNewContext("gc");
  const prefix = makePrefix(t, { "conf/nginx.conf": CONFIG });
  let data = await firstData(prefix, undefined);
  let service: WorkerService | undefined;
  const old: WeakRef<object>[] = [];

  const next = async (): Promise<void> => {
    const { cycle, application } = await buildCycle(whole, data);
    old.push(new WeakRef(cycle.root), new WeakRef(application));
    const worker = application.serve({ index: 0, slot: 0, count: 1, connections: 512 }, service);
    await worker.listen({});
    const previous = service;
    service = worker;
    previous?.retire(() => {});
    data = await firstData(prefix, data);
  };
  for (let i = 0; i < 3; i++) await next();
  for (let i = 0; i < 10 && old.slice(0, 4).some((ref) => ref.deref() !== undefined); i++) {
    await turn();
    collect();
  }
  assert.deepEqual(
    old.slice(0, 4).map((ref) => ref.deref() === undefined),
    [true, true, true, true],
  );
  service?.stop();
});
