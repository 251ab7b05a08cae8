import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { affinityMask, coreDirectives, eventsDirectives } from "../../src/runtime/directives.ts";
import { parseOptions, resolvePaths } from "../../src/runtime/options.ts";
import { loadConfig } from "../config/workspace.ts";

const directory = mkdtempSync(join(tmpdir(), "holdfast-directives-"));
after(() => rmSync(directory, { recursive: true }));

function read(text: string) {
  const confFile = join(directory, "nginx.conf");
  writeFileSync(confFile, text);
  return loadConfig({ confFile, confPrefix: `${directory}/` }, [coreDirectives, eventsDirectives]).root;
}

test("defaults are nginx's", () => {
  const core = coreDirectives.in(read("events {}"));
  assert.equal(core.daemon, true);
  assert.equal(core.master_process, true);
  assert.equal(core.worker_processes, 1);
  assert.equal(core.worker_shutdown_timeout, undefined);
  assert.deepEqual(core.error_log, []);
  const [events] = read("events {}").children;
  assert.equal(eventsDirectives.in(events).worker_connections, 512);
});

test("settings are read", () => {
  const core = coreDirectives.in(
    read(
      "worker_processes auto; worker_priority -5; error_log a.log; error_log stderr debug_http; error_log b.log warn; env A; env B=c; worker_shutdown_timeout 1m;",
    ),
  );
  assert.equal(core.worker_processes, availableParallelism());
  assert.equal(core.worker_priority, -5);
  assert.deepEqual(core.error_log, [
    { to: "file", path: "a.log", level: "error" },
    { to: "stderr", level: "debug" },
    { to: "file", path: "b.log", level: "warn" },
  ]);
  assert.deepEqual(core.env, ["A", "B=c"]);
  assert.equal(core.worker_shutdown_timeout, 60_000);
});

const WRONG: readonly (readonly [text: string, message: string])[] = [
  ["worker_processes many;", '"worker_processes" directive invalid value'],
  ["worker_priority high;", '"worker_priority" directive invalid number'],
  ["error_log a.log loud;", 'invalid log level "loud"'],
  ["error_log a.log warn error;", 'duplicate log level "error"'],
  ["worker_cpu_affinity 012;", 'invalid character "2" in "worker_cpu_affinity"'],
  ["worker_cpu_affinity auto 01 10;", 'invalid number of arguments in "worker_cpu_affinity" directive'],
  ["events { use select; }", 'invalid event type "select"'],
  ["thread_pool a max_queue=1;", '"thread_pool" "a" directive requires "threads" parameter'],
  ["thread_pool a threads=1; thread_pool a threads=1;", 'duplicate thread pool "a"'],
  ["daemon maybe;", 'invalid value "maybe" in "daemon" directive, it must be "on" or "off"'],
];

test("what is wrong is an error", () => {
  for (const [text, message] of WRONG) assert.throws(() => read(text), { message }, text);
});

test("what cannot be had here says so", () => {
  for (const text of ["load_module a;", "ssl_engine x;", "google_perftools_profiles /p;", "error_log memory:32m;"]) {
    assert.throws(() => read(text), /is not available in Holdfast/, text);
  }
});

test("worker_cpu_affinity gives each worker its cores", () => {
  const masks = (text: string, workers: number) => {
    const affinity = coreDirectives.in(read(text)).worker_cpu_affinity;
    assert.ok(affinity !== undefined);
    return Array.from({ length: workers }, (_, index) => affinityMask(affinity, index, 4));
  };
  assert.deepEqual(masks("worker_cpu_affinity 0001 0110;", 3), [1n, 6n, 6n]);
  assert.deepEqual(masks("worker_cpu_affinity auto;", 5), [1n, 2n, 4n, 8n, 1n]);
  assert.deepEqual(masks("worker_cpu_affinity auto 1010;", 3), [2n, 8n, 2n]);
});

test("paths start at the prefix, and the prefix at the current directory", () => {
  const paths = (...args: string[]) => {
    const options = parseOptions(args);
    assert.ok(typeof options !== "string");
    return resolvePaths(options, "/home/", "/cwd");
  };
  assert.deepEqual(paths(), {
    prefix: "/home/",
    confPrefix: "/home/conf/",
    confFile: "/home/conf/nginx.conf",
    errorLog: "/home/logs/error.log",
  });
  assert.deepEqual(paths("-p", "p", "-c", "sub/a.conf", "-estderr"), {
    prefix: "/cwd/p/",
    confPrefix: "/cwd/p/sub/",
    confFile: "/cwd/p/sub/a.conf",
    errorLog: "",
  });
  assert.equal(paths("-c/etc/a.conf").confPrefix, "/etc/");
});
