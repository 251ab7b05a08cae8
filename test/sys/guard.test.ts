import assert from "node:assert/strict";
import { test } from "node:test";
import { afterEvent, boundary, contain, defer, faultText, logFaultsTo } from "../../src/sys/guard.ts";
import { armedDeadlines, Deadline, setDeadline } from "../../src/sys/timers.ts";
import { waitFor } from "../support/wait.ts";

const logged: string[] = [];
logFaultsTo({ write: (level, message) => logged.push(`[${level}] ${message}`) });

/** What was logged since this was asked last, without the places. */
function lines(): string[] {
  return logged.splice(0).map((line) => line.replace(/ at .*/, ""));
}

class Owner {
  readonly faults: string[] = [];
  onFault(error: unknown): void {
    this.faults.push(error instanceof Error ? error.message : String(error));
  }
}

function fail(): never {
  throw new RangeError("too deep");
}

test("an exception is one line: what it is, and where in the source it was thrown", () => {
  let text = "";
  try {
    fail();
  } catch (error) {
    text = faultText(error);
  }
  assert.match(text, /^exception: RangeError: too deep at fail \(\/.*\/guard\.test\.ts:\d+:\d+\) at /);
  assert.ok(!text.includes("\n"));
  assert.equal(faultText("a string"), "exception: a string");
});

test("the owner of an event hears of its exception; without one it is logged", () => {
  const owner = new Owner();
  assert.equal(contain(owner, new Error("one")), true);
  assert.deepEqual(owner.faults, ["one"]);
  assert.equal(contain({}, new Error("two")), false);
  assert.equal(contain(undefined, new Error("three")), false);
  assert.deepEqual(lines(), ["[alert] exception: Error: two", "[alert] exception: Error: three"]);
  assert.equal(contain({ onFault: fail }, new Error("four")), false, "an owner that fails again is contained too");
  assert.deepEqual(lines(), ["[alert] exception: RangeError: too deep"]);
});

test("deferred calls and callbacks end their owner's work only", async () => {
  const owner = new Owner();
  afterEvent(fail, owner);
  defer(fail, owner);
  boundary(owner, fail)();
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(owner.faults, ["too deep", "too deep", "too deep"]);
});

test("a deadline that throws holds up none of the others", async () => {
  const owner = new Owner();
  const fired: number[] = [];
  for (let i = 0; i < 6; i++) {
    const expire = (): void => {
      fired.push(i);
      if (i < 4) fail();
    };
    setDeadline(new Deadline(owner, expire), 5);
  }
  await waitFor(() => fired.length === 6, "all of them");
  assert.deepEqual(fired, [0, 1, 2, 3, 4, 5]);
  assert.deepEqual(owner.faults, new Array(4).fill("too deep"));
  assert.equal(armedDeadlines(), 0);
});
