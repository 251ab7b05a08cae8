import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { chart } from "../../bench/chart.ts";
import { advance, newProgress, requestFor } from "../../bench/client.ts";
import { parseLoad } from "../../bench/load.ts";
import type { Sample } from "../../bench/measure.ts";
import { choose, parseOptions } from "../../bench/options.ts";
import { parseStat } from "../../bench/process.ts";
import { mergeEarlier, type Report, rowsOf, table } from "../../bench/report.ts";
import { scenarios } from "../../bench/scenarios.ts";
import { ratioPerRound, spread } from "../../bench/statistics.ts";

function sample(figure: number, foreignShare = 0): Sample {
  return {
    figure,
    user: figure / 4,
    system: (figure * 3) / 4,
    load: figure * 2,
    requestsPerSecond: 1000,
    p99Ms: 1,
    memoryMiB: 20,
    ownShare: 0.9,
    foreignShare,
    requests: 1000,
    errors: 0,
  };
}

function report(name: string, version = "1.0.0"): Report {
  const rounds = new Map([
    ["nginx", [sample(10), sample(20)]],
    ["holdfast", [sample(12), sample(18)]],
    ["http-proxy", [sample(100), sample(200)]],
  ]);
  return {
    machine: {
      cpu: "a <cpu>",
      cores: 2,
      memoryGiB: 1,
      kernel: "6",
      node: "26",
      congestion: "cubic",
      generator: "wrk",
      backend: "nginx",
    },
    versions: { nginx: version },
    scenarios: [
      {
        name,
        title: `Scenario ${name}`,
        unit: "µs/request",
        measuredAt: "",
        seconds: 1,
        connections: 64,
        rows: rowsOf(rounds),
        without: [],
      },
    ],
  };
}

test("the CPU time of a process counts its own and its reaped children's, whatever its name holds", () => {
  const line = "7 (a) b (c) S 3 7 7 0 -1 4194560 1 2 0 0 100 20 3 4 20 0 1 0 55 1000 10";
  assert.deepEqual(parseStat(line), { parent: 3, userTicks: 103, systemTicks: 24 });
});

test("the median of an even count lies between the middle two", () => {
  assert.deepEqual(spread([4, 1, 3, 2]), { median: 2.5, min: 1, max: 4, lower: 1.75, upper: 3.25 });
  assert.deepEqual(spread([9, 1, 5]), { median: 5, min: 1, max: 9, lower: 3, upper: 7 });
  assert.equal(spread([]), undefined);
});

test("a ratio is taken within its round, and a round without one of the two is left out", () => {
  assert.deepEqual(ratioPerRound([10, 30, 99], [10, 20, undefined]), {
    median: 1.25,
    min: 1,
    max: 1.5,
    lower: 1.125,
    upper: 1.375,
  });
  assert.equal(ratioPerRound([1], [undefined]), undefined);
});

test("a server that failed in every round has no row, one that failed once keeps its place in the rounds", () => {
  const rows = rowsOf(
    new Map([
      ["nginx", [sample(10), sample(20)]],
      ["haproxy", [undefined, undefined]],
      ["holdfast", [undefined, sample(10)]],
    ]),
  );
  assert.deepEqual(
    rows.map((row) => [row.server, row.ratio?.median]),
    [
      ["nginx", 1],
      ["holdfast", 0.5],
    ],
  );
});

test("the table shows the ratio and warns of a core that others used", () => {
  const [result] = report("one").scenarios;
  assert.match(table(result), /holdfast +15\.0 +3\.75 +11\.3 +1\.05 \(0\.97-1\.13\) +30\.0/);
  assert.doesNotMatch(table(result), /others used/);
  result.rows = rowsOf(new Map([["nginx", [sample(10, 0.4)]]]));
  assert.match(table(result), /! nginx: others used up to 40 % of its core/);
});

test("a merge keeps the scenarios of the same setting and refuses those of another", () => {
  const dir = mkdtempSync(join(tmpdir(), "bench-merge-"));
  const file = join(dir, "latest.json");
  try {
    assert.equal(mergeEarlier(report("one"), file, ["one"]).scenarios.length, 1);
    writeFileSync(file, JSON.stringify(report("one")));
    const merged = mergeEarlier(report("two"), file, ["one", "two"]);
    assert.deepEqual(
      merged.scenarios.map((scenario) => scenario.name),
      ["one", "two"],
    );
    assert.throws(() => mergeEarlier(report("two", "1.0.1"), file, ["one", "two"]), /other versions/);
  } finally {
    rmSync(dir, { recursive: true });
  }
});

test("the chart escapes what it writes, cuts the longest bar and draws no bar past the plot", () => {
  const svg = chart(report("one"));
  assert.match(svg, /a &#60;cpu&#62;/);
  assert.match(svg, /10\.00 ×/);
  assert.equal(svg.match(/stroke="#ffffff"/g)?.length, 1);
  for (const [, width] of svg.matchAll(/<rect x="190" y="\d+" width="([\d.]+)"/g)) assert.ok(Number(width) <= 480);
});

test("a load generator's figures are read from its last line, and a missing one is an error", () => {
  const line = '{"requests":5,"bytes":10,"seconds":1.5,"p99Ms":2,"errors":0}';
  assert.equal(parseLoad(`Running 1s test\n${line}\n`).requests, 5);
  assert.throws(() => parseLoad("nothing"), /gave no requests/);
});

test("a response is complete at its last byte however it is cut", () => {
  const response = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nServer: x\r\n\r\nhello";
  for (let cut = 1; cut < response.length; cut++) {
    const progress = newProgress();
    assert.equal(advance(progress, Buffer.from(response.slice(0, cut))), false);
    assert.equal(advance(progress, Buffer.from(response.slice(cut))), true);
    assert.equal(progress.status, 200);
  }
});

test("a chunked response is complete with its last chunk, however it is cut", () => {
  const response = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
  for (let cut = 1; cut < response.length; cut++) {
    const progress = newProgress();
    assert.equal(advance(progress, Buffer.from(response.slice(0, cut))), false);
    assert.equal(advance(progress, Buffer.from(response.slice(cut))), true);
  }
});

test("a browser's head has 12 fields with Host, cookies among them, and some 700 bytes", () => {
  const found = scenarios.find(({ name }) => name === "proxy-small-browser");
  const fields = found?.kind === "load" ? found.fields : [];
  const head = requestFor(new URL("http://127.0.0.1:8080/small"), fields);
  const lines = head.split("\r\n");
  assert.deepEqual(lines.slice(-2), ["", ""]);
  assert.equal(lines.length, 1 + 12 + 2);
  assert.ok(head.length > 650 && head.length < 750, `${head.length} bytes`);
  assert.match(head, /\r\nCookie: \w+=\w+; /);
});

test("options out of range and unknown names are sentences", () => {
  assert.throws(() => parseOptions(["--seconds", "0"], ""), /--seconds takes a whole number from 1 to 600, not "0"/);
  assert.throws(() => parseOptions(["--load-cores", "; ls"], ""), /--load-cores takes a list/);
  assert.throws(
    () => choose("server", [{ name: "nginx" }], ["apache"]),
    /there is no server "apache"; there are: nginx/,
  );
  assert.deepEqual(parseOptions(["--servers", "nginx,holdfast"], "").servers, ["nginx", "holdfast"]);
});
