import assert from "node:assert/strict";
import { test } from "node:test";
import type { Verdict } from "../../../../src/http/modules/auth_basic/crypt.ts";
import { PasswordChecks, Waiting } from "../../../../src/http/modules/auth_basic/password_check.ts";
import type { Question, startPasswordThread } from "../../../../src/http/modules/auth_basic/password_thread.ts";

/** A thread the test answers for: the right password is "good". */
class Thread {
  readonly asked: Question[] = [];
  started = 0;
  answered: (verdict: Verdict) => void = () => {};
  ended: () => void = () => {};

  readonly start: typeof startPasswordThread = (answered, ended) => {
    this.started++;
    this.answered = answered;
    this.ended = ended;
    return { ask: (question) => this.asked.push(question), stop() {} };
  };

  /** Answers what was asked, and what is asked then, up to `most` questions. */
  answer(most = Number.POSITIVE_INFINITY): string[] {
    const passwords: string[] = [];
    for (let next = this.asked.shift(); next !== undefined; next = this.asked.shift()) {
      passwords.push(next.password);
      this.answered(next.password === "good");
      if (passwords.length >= most) break;
    }
    return passwords;
  }
}

/** MD5 crypt's "good"; of a kind that takes time, and hashed here quickly enough. */
const STORED = "$apr1$pepper$2O.y9Oh9SP6CHvh4pj97u0";

function ask(checks: PasswordChecks, password: string, client = "10.0.0.1", verdicts: unknown[] = []) {
  return checks.check(password, STORED, client, (verdict) => verdicts.push([password, verdict]));
}

test("wrong passwords, however many, push no right one out", () => {
  const thread = new Thread();
  const checks = new PasswordChecks(thread.start);
  const verdicts: unknown[] = [];
  assert.ok(ask(checks, "good", "10.0.0.1", verdicts) instanceof Waiting);
  thread.answer();
  assert.deepEqual(verdicts, [["good", true]]);
  for (let i = 0; i < 25_000; i++) {
    ask(checks, `wrong ${i}`);
    thread.answer();
  }
  assert.equal(ask(checks, "good"), true);
  assert.equal(ask(checks, "wrong 24999"), false, "the last ones are known too");
  assert.ok(ask(checks, "wrong 0") instanceof Waiting, "but not all");
});

test("who asks what is being asked waits for the same answer", () => {
  const thread = new Thread();
  const checks = new PasswordChecks(thread.start);
  const verdicts: unknown[] = [];
  for (let i = 0; i < 5; i++) ask(checks, "good", `10.0.0.${i}`, verdicts);
  const gone = ask(checks, "good");
  assert.ok(gone instanceof Waiting);
  gone.cancel();
  assert.deepEqual(thread.answer(), ["good"]);
  assert.deepEqual(verdicts, new Array(5).fill(["good", true]));
});

test("the clients take turns, and what nobody waits for is not asked", () => {
  const thread = new Thread();
  const checks = new PasswordChecks(thread.start);
  const flood = Array.from({ length: 50 }, (_, i) => ask(checks, `wrong ${i}`, "10.0.0.66"));
  ask(checks, "good", "10.0.0.1");
  ask(checks, "other", "10.0.0.2");
  assert.deepEqual(thread.answer(4), ["wrong 0", "wrong 1", "good", "other"]);
  for (const waiting of flood) if (waiting instanceof Waiting) waiting.cancel();
  assert.deepEqual(thread.answer(), ["wrong 2"], "begun already");
  assert.equal(thread.started, 1);
});

test("no client and no crowd can have more than so many questions waiting", () => {
  const thread = new Thread();
  const checks = new PasswordChecks(thread.start);
  const answers = Array.from({ length: 100 }, (_, i) => ask(checks, `wrong ${i}`, "10.0.0.66"));
  assert.equal(answers.filter((answer) => answer === "busy").length, 35);
  assert.ok(ask(checks, "good", "10.0.0.1") instanceof Waiting);
  for (let i = 0; i < 2000; i++) ask(checks, `x${i}`, `10.1.${i >> 8}.${i & 255}`);
  assert.equal(ask(checks, "late", "10.0.0.3"), "busy");
  assert.ok(ask(checks, "good", "10.0.0.4") instanceof Waiting, "the same question costs nothing");
  assert.equal(thread.answer().length, 1024);
});

test("without a thread the worker compares by itself", () => {
  const failing = new PasswordChecks(() => {
    throw new Error("EAGAIN");
  });
  const verdicts: unknown[] = [];
  ask(failing, "good", "10.0.0.1", verdicts);
  assert.deepEqual(verdicts, [["good", true]]);
  assert.equal(ask(failing, "wrong"), false);

  const thread = new Thread();
  const dying = new PasswordChecks(thread.start);
  verdicts.length = 0;
  ask(dying, "good", "10.0.0.1", verdicts);
  ask(dying, "wrong", "10.0.0.2", verdicts);
  thread.ended();
  assert.deepEqual(verdicts, [
    ["good", true],
    ["wrong", false],
  ]);
});
