import assert from "node:assert/strict";
import { describe, test } from "node:test";
import * as d from "../../src/config/directives.ts";
import { warningsOf } from "../../src/config/errors.ts";
import { defineDirectives, fail } from "../../src/config/schema.ts";
import { errorOf, loadConfig, workspace, write } from "./workspace.ts";

const main = { in: ["main"], doc: "For tests." } as const;

const table = defineDirectives("test", {
  plain: d.flag(main),
  preset: d.flag({ ...main, default: true }),
  three: d.flag({ ...main, default: true, words: { build: "build" } }),
  count: d.number({ ...main, default: 1, words: { auto: "auto" } }),
  bounded: d.number({ ...main, min: 2, max: 9 }),
  atLeast: d.number({ ...main, min: 2 }),
  small: d.size({ ...main, default: 8192 }),
  large: d.offset({ ...main, words: { off: 0 } }),
  time: d.msec({ ...main, default: 60_000 }),
  word: d.text({ ...main, default: "html" }),
  checked: d.text({
    ...main,
    check(value, at) {
      if (!value.startsWith("/")) fail(at, "must be absolute");
    },
  }),
  choice: d.enumeration({ ...main, values: ["on", "off", "always"], default: "off" }),
  choiceUnset: d.enumeration({ ...main, values: ["a", "b"] }),
  several: d.bitmask({ ...main, values: ["error", "timeout", "off"], default: ["error"] }),
  buffers: d.bufs({ ...main, default: { count: 8, size: 4096 } }),
  buffersUnset: d.bufs(main),
  many: d.texts(main),
  manyPreset: d.texts({ ...main, default: ["x", "y"] }),
  pairs: d.keyValues(main),
  own: d.directive({ ...main, args: [1, 2], syntax: "a [b]", initial: () => undefined, read: (at) => at.args.length }),
  group: d.block({ in: ["main"], doc: "For tests.", context: "events" }),
});
type Settings = ReturnType<typeof table.in>;

type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;

/** Does not compile where the types a table infers are not these. */
export const inferred: Same<
  Settings,
  {
    readonly plain: boolean | undefined;
    readonly preset: boolean;
    readonly three: boolean | "build";
    readonly count: number | "auto";
    readonly bounded: number | undefined;
    readonly atLeast: number | undefined;
    readonly small: number;
    readonly large: number | undefined;
    readonly time: number;
    readonly word: string;
    readonly checked: string | undefined;
    readonly choice: "on" | "off" | "always";
    readonly choiceUnset: "a" | "b" | undefined;
    readonly several: ReadonlySet<"error" | "timeout" | "off">;
    readonly buffers: d.Buffers;
    readonly buffersUnset: d.Buffers | undefined;
    readonly many: readonly string[];
    readonly manyPreset: readonly string[];
    readonly pairs: readonly d.KeyValue[];
    readonly own: number | undefined;
    readonly group: boolean;
  }
> = true;

const directory = workspace();

function load(text: string) {
  return loadConfig({ confFile: write(directory, "nginx.conf", text), confPrefix: directory }, [table]).root;
}

function setting<K extends keyof Settings>(name: K, ...lines: readonly string[]): Settings[K] {
  return table.in(load(lines.map((line) => `${name} ${line};`).join("\n")))[name];
}

describe("settings", () => {
  test("flags", () => {
    assert.equal(setting("plain"), undefined);
    assert.equal(setting("preset"), true);
    assert.equal(setting("preset", "OFF"), false);
    assert.equal(setting("plain", "On"), true);
    assert.equal(setting("three", "build"), "build");
    assert.equal(setting("three", "off"), false);
  });

  test("numbers", () => {
    assert.equal(setting("count"), 1);
    assert.equal(setting("count", "4"), 4);
    assert.equal(setting("count", "auto"), "auto");
    assert.equal(setting("bounded", "9"), 9);
  });

  test("sizes and times", () => {
    assert.equal(setting("small", "1m"), 1 << 20);
    assert.equal(setting("large", "1g"), 2 ** 30);
    assert.equal(setting("large", "off"), 0);
    assert.equal(setting("time", "1m30s"), 90_000);
    assert.equal(setting("time", '"1m 30s"'), 90_000);
  });

  test("words", () => {
    assert.equal(setting("word"), "html");
    assert.equal(setting("word", '"a b"'), "a b");
    assert.equal(setting("choice", "ALWAYS"), "always");
    assert.deepEqual(setting("several"), new Set(["error"]));
    assert.deepEqual(setting("several", "timeout", "OFF"), new Set(["timeout", "off"]));
  });

  test("buffers, lists and pairs", () => {
    assert.deepEqual(setting("buffers", "4 1k"), { count: 4, size: 1024 });
    assert.deepEqual(setting("many", "a", "b"), ["a", "b"]);
    assert.deepEqual(setting("manyPreset"), ["x", "y"]);
    assert.deepEqual(setting("manyPreset", "z"), ["z"]);
    assert.deepEqual(setting("pairs", "a b", "a ''"), [
      { key: "a", value: "b" },
      { key: "a", value: "" },
    ]);
  });

  test("a scope's list is its own", () => {
    const spec = table.specs.manyPreset;
    assert.notEqual(spec.initial(), spec.initial());
  });
});

describe("errors", () => {
  const cases: readonly (readonly [line: string, message: string])[] = [
    ["preset yes", 'invalid value "yes" in "preset" directive, it must be "on" or "off"'],
    ["three builds", 'invalid value "builds" in "three" directive, it must be "on" or "off"'],
    ["three toString", 'invalid value "toString" in "three" directive, it must be "on" or "off"'],
    ["count Auto", '"count" directive invalid number'],
    ["bounded 1", "value must be between 2 and 9"],
    ["bounded 10", "value must be between 2 and 9"],
    ["atLeast 1", "value must be equal to or greater than 2"],
    ["large Off", '"large" directive invalid value'],
    ["checked a", "must be absolute"],
    ["choice never", 'invalid value "never"'],
    ["several error nothing", 'invalid value "nothing"'],
    ["buffers 0 1k", '"buffers" directive invalid value'],
    ["buffers 1 x", '"buffers" directive invalid value'],
    ["own", 'invalid number of arguments in "own" directive'],
    ["own 1 2 3", 'invalid number of arguments in "own" directive'],
    ["own 1; own 2", '"own" directive is duplicate'],
  ];
  for (const [line, message] of cases) {
    test(line, () =>
      assert.equal(
        errorOf(() => load(`${line};`)),
        `${message} in ${directory}nginx.conf:1`,
      ),
    );
  }
});

test("a word given twice is a warning", () => {
  const root = load("several error\n timeout error;\nseveral Timeout;");
  assert.deepEqual(table.in(root).several, new Set(["error", "timeout"]));
  assert.deepEqual(warningsOf(root), [
    { message: 'duplicate value "error"', file: `${directory}nginx.conf`, line: 2 },
    { message: 'duplicate value "Timeout"', file: `${directory}nginx.conf`, line: 3 },
  ]);
});

test("what the reference page shows of a declaration", () => {
  const shown = (name: keyof Settings) => [table.specs[name].syntax, table.specs[name].defaultText];
  assert.deepEqual(shown("plain"), ["on|off", undefined]);
  assert.deepEqual(shown("three"), ["on|off|build", "on"]);
  assert.deepEqual(shown("count"), ["number|auto", "1"]);
  assert.deepEqual(shown("small"), ["size", "8k"]);
  assert.deepEqual(shown("time"), ["time", "60s"]);
  assert.deepEqual(shown("choice"), ["on|off|always", "off"]);
  assert.deepEqual(shown("several"), ["error | timeout | off …", "error"]);
  assert.deepEqual(shown("buffers"), ["number size", "8 4k"]);
});
