import assert from "node:assert/strict";
import { test } from "node:test";
import { parseH2Load } from "../../bench/h2load.ts";

const report = `starting benchmark...
Application protocol: h2c

finished in 1.02s, 87426.00 req/s, 5.92MB/s
requests: 203 total, 235 started, 203 done, 200 succeeded, 3 failed, 2 errored, 1 timeout
status codes: 198 2xx, 0 3xx, 2 4xx, 1 5xx
traffic: 5.92MB (6207736) total, 4.00MB (4196448) headers (space savings 51.02%), 426.88KB (437130) data
                     min         max         mean         sd        +/- sd
time for request:      127us     14.57ms      3.33ms      1.62ms    73.92%
`;

test("what h2load reports and logs", () => {
  const log = Array.from({ length: 200 }, (_, i) => `1795763371526305\t200\t${(i + 1) * 10}\n`).join("");
  assert.deepEqual(parseH2Load(report, log), { requests: 200, bytes: 6207736, seconds: 1.02, p99Ms: 1.99, errors: 7 });
});

test("a report without its figures is an error that says which", () => {
  assert.throws(() => parseH2Load("starting benchmark...\n", ""), /h2load gave no line like .*finished in/);
  assert.throws(() => parseH2Load(report, ""), /h2load logged no request/);
});
