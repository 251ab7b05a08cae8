/** What is sent to a node by those who should not, or not so: it changes nothing, is counted, and costs little. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Askers } from "../../../src/cluster/group/askers.ts";
import { Connections } from "../../../src/cluster/group/connections.ts";
import { Identity } from "../../../src/cluster/group/identity.ts";
import { Member } from "../../../src/cluster/group/member.ts";
import { type AnswerBody, encodeBody } from "../../../src/cluster/group/messages.ts";
import { NodeProbe } from "../../../src/cluster/group/node_probe.ts";
import { type Opinion, Opinions, OpinionsCopy } from "../../../src/cluster/group/opinions.ts";
import { Refusals } from "../../../src/cluster/group/refusals.ts";
import { ReplayGuard } from "../../../src/cluster/group/replay_guard.ts";
import { Secrets } from "../../../src/cluster/secret.ts";
import { encodeFrame, type Frame, FrameReader, KIND, PROTOCOL } from "../../../src/wire/cluster.ts";
import { Chance } from "../../support/mutations.ts";
import { Asked, CLUSTER, FACTS, give, request, SECRET, saidIn } from "./peers.ts";

const MUTATIONS = 100_000;
const UP: Opinion = { state: "up", since: 1, reason: "" };

/** The asking side of lb1 towards lb2. */
function asking() {
  const identity = new Identity(CLUSTER, "lb1", 1n, new Secrets(CLUSTER, [SECRET]));
  const member = new Member("lb2");
  let heard = 0;
  const probe = new NodeProbe(identity, member, () => heard++);
  return { identity, member, probe, heard: () => heard };
}

/** lb2's answer to a request. */
function answer(asked: Buffer, body: Partial<AnswerBody> & object = {}, frame: Partial<Frame> = {}, secret = SECRET) {
  const [{ run, number }] = new FrameReader().read(asked);
  const whole = { cluster: CLUSTER, from: "lb2", facts: FACTS, changes: { from: 0, to: 1, opinions: {} }, ...body };
  const head = { version: 1, ...PROTOCOL, kind: KIND.answer, run: 9n, number: 1n, time: Date.now() };
  const all: Frame = { ...head, echoRun: run, echoNumber: number, body: encodeBody(whole), ...frame };
  return encodeFrame(all, new Secrets(CLUSTER, [secret]).sign);
}

/** A changed copy: bits, bytes, the length, what is in between. */
function mutated(bytes: Buffer, chance: Chance): Buffer {
  const copy = Buffer.from(bytes);
  const at = chance.below(copy.length);
  const kind = chance.below(4);
  if (kind === 0) copy[at] ^= 1 << chance.below(8);
  else if (kind === 1) copy.fill(chance.below(256), at, Math.min(copy.length, at + 1 + chance.below(8)));
  else if (kind === 2)
    return Buffer.concat([copy.subarray(0, at), chance.bytes(1 + chance.below(9)), copy.subarray(at)]);
  else return copy.subarray(0, at);
  return copy;
}

test(`${MUTATIONS} changed messages are no exception and change nothing`, () => {
  const chance = new Chance(Number(process.env.HOLDFAST_CHAOS_SEED ?? 7));
  const asked = new Asked();
  const { member, probe, heard } = asking();
  for (let i = 0; i < MUTATIONS / 2; i++) {
    const bytes = request();
    const wrong = mutated(bytes, chance);
    if (wrong.subarray(0, bytes.length).equals(bytes)) continue;
    const stream = asked.connect();
    const cut = chance.below(wrong.length + 1);
    give(stream, wrong.subarray(0, cut));
    give(stream, wrong.subarray(cut));
    for (const { kind } of saidIn(stream)) assert.equal(kind, KIND.refusal);
    stream.destroy();
  }
  assert.equal(asked.answered, 0);
  for (let i = 0; i < MUTATIONS / 2; i++) {
    probe.begin();
    const bytes = answer(probe.send);
    const wrong = mutated(bytes, chance);
    if (wrong.subarray(0, bytes.length).equals(bytes)) continue;
    assert.notEqual(probe.data(wrong), "");
  }
  assert.deepEqual([heard(), member.known, member.facts, member.protocol], [0, 0, undefined, ""]);
  const { foreign = 0, malformed = 0, ...others } = asked.refusals.counts;
  assert.ok(foreign > 1000 && malformed > 1000, `${foreign} ${malformed}`);
  assert.deepEqual(others, {});
});

test("what is refused is refused by name, counted by kind, and ends the connection", () => {
  const cases: [kind: string, bytes: Buffer | (() => Buffer), told: RegExp, seen: RegExp][] = [
    ["foreign", request({ secret: "another secret of somebody" }), /another secret/, /^192.0.2.1 does not verify/],
    [
      "clock",
      () => request({ frame: { time: Date.now() - 31_000 } }),
      /your clock is 31 s behind/,
      /^node "lb2" .* 31 s behind/,
    ],
    [
      "clock",
      () => request({ frame: { time: Date.now() + 40_000 } }),
      /your clock is 40 s ahead/,
      /^node "lb2" .* 40 s ahead/,
    ],
    [
      "version",
      request({ frame: { oldest: 2, newest: 3, version: 3 } }),
      /another version/,
      /^node "lb2" .* version 2 /,
    ],
    ["malformed", request({ body: { known: -1 } }), /malformed/, /^192.0.2.1 is malformed/],
    ["malformed", request({ frame: { body: Buffer.from("[]") } }), /malformed/, /malformed/],
    ["malformed", request({ frame: { kind: 7 } }), /malformed/, /malformed/],
    ["misdirected", request({ body: { to: "lb3" } }), /this is node "lb1"/, /^node "lb2" .* is for node "lb3"/],
    ["misdirected", request({ body: { cluster: "other" } }), /of cluster "test"/, /of cluster "other"/],
    ["unknown", request({ body: { from: "lb9" } }), /no node "lb9" here/, /node "lb9", which is not/],
  ];
  for (const [kind, bytes, told, seen] of cases) {
    const asked = new Asked();
    const stream = asked.connect();
    give(stream, typeof bytes === "function" ? bytes() : bytes);
    give(stream, request());
    const [{ said, kind: answered }, ...more] = saidIn(stream);
    assert.equal(answered, KIND.refusal);
    assert.match(String(said.error), told);
    assert.match(asked.log.join("\n"), seen);
    assert.deepEqual(asked.refusals.counts, { [kind]: 1 });
    assert.deepEqual([more.length, asked.answered, stream.ended], [0, 0, true]);
  }
});

test("a request that comes again is refused: at once, on another connection, of an older number", () => {
  const asked = new Asked();
  const [first, second] = [request(), request()];
  give(asked.connect(), second);
  for (const bytes of [second, first]) {
    const stream = asked.connect();
    give(stream, bytes);
    assert.match(String(saidIn(stream)[0].said.error), /was sent before/);
  }
  assert.deepEqual([asked.answered, asked.refusals.counts], [1, { replayed: 2 }]);
});

test("the runs that are remembered are bounded", () => {
  const guard = new ReplayGuard();
  const judge = (run: number, now: number) => guard.judge(BigInt(run), 1n, 0, 0, now);
  for (let run = 1; run <= 4096; run++) assert.equal(judge(run, 0), "fresh");
  assert.equal(judge(4097, 1000), "crowded");
  assert.equal(judge(1, 1000), "replayed");
  assert.equal(judge(4097, 61_000), "fresh");
});

test("an answer counts for the request that it is of: not for a later one, nor another run", () => {
  const { member, probe, identity } = asking();
  probe.begin();
  const old = answer(probe.send);
  probe.begin();
  const asked = probe.send;
  assert.equal(probe.data(old), "answers another request than this one");
  probe.begin();
  const [{ number }] = new FrameReader().read(asked);
  assert.equal(
    probe.data(answer(probe.send, {}, { echoRun: 5n, echoNumber: number + 1n })),
    "answers another request than this one",
  );
  for (const [body, verdict] of [
    [{ from: "lb3" }, 'is node "lb3"'],
    [{ cluster: "other" }, 'is a node of cluster "other"'],
    [{ facts: { ...FACTS, state: "unheard" } }, "its answer is malformed"],
  ] as const) {
    probe.begin();
    assert.equal(probe.data(answer(probe.send, body as object)), verdict);
  }
  probe.begin();
  assert.match(probe.data(answer(probe.send, {}, {}, "another secret of somebody")) ?? "", /another secret/);
  assert.deepEqual([member.known, member.facts], [0, undefined]);
  assert.deepEqual(identity.refusals.counts, { replayed: 2, misdirected: 2, malformed: 1, foreign: 1 });
});

test("a newer node is answered in the version that both have, and what it says besides is ignored", () => {
  const asked = new Asked();
  const stream = asked.connect();
  give(stream, request({ frame: { version: 2, oldest: 1, newest: 2 }, body: { colour: "blue" } }));
  const [{ kind, version }] = saidIn(stream);
  assert.deepEqual([kind, version], [KIND.answer, 1]);

  const { member, probe } = asking();
  probe.begin();
  const facts = { ...FACTS, mood: "good", refused: { foreign: 3, another: 5, clock: "x" } };
  const opinions = { "s u 10.0.0.1:80": { ...UP, weight: 3 } };
  const newer = { version: 1, oldest: 1, newest: 2 };
  assert.equal(
    probe.data(answer(probe.send, { facts, changes: { from: 0, to: 4, opinions }, more: 1 } as object, newer)),
    "",
  );
  assert.deepEqual(member.facts, { ...FACTS, refused: { foreign: 3 } });
  assert.deepEqual([...member.opinions], [["s u 10.0.0.1:80", UP]]);
  assert.equal(member.protocol, "versions 1 to 2");
  probe.begin();
  const next = { version: 2, oldest: 2, newest: 3 };
  assert.equal(probe.data(answer(probe.send, {}, next)), "speaks versions 2 to 3 of the protocol, this node version 1");
});

test("a node that has opinions of everything is not believed, and what it said is forgotten", () => {
  const { member, probe, identity } = asking();
  let known = 0;
  const tell = (count: number): string | undefined => {
    const opinions: Record<string, Opinion> = {};
    for (let i = 0; i < count; i++) opinions[`s u ${known + i}`] = UP;
    probe.begin();
    const verdict = probe.data(answer(probe.send, { changes: { from: known, to: known + count, opinions } }));
    known += count;
    return verdict;
  };
  for (let i = 0; i < 5; i++) assert.equal(tell(10_000), "");
  assert.equal(member.opinions.size, 50_000);
  assert.match(tell(1) ?? "", /more subjects than a node can mean/);
  assert.deepEqual([member.opinions.size, member.known, identity.refusals.counts.malformed], [0, 0, 1]);
});

test("many opinions are told in several answers, whatever changes meanwhile", () => {
  const own = new Opinions();
  const copy = new OpinionsCopy(() => {});
  const reason = "x".repeat(184);
  for (let i = 0; i < 10_000; i++) own.set(`s u ${i}`, { state: "down", since: 1, reason });
  let answers = 0;
  for (;;) {
    const changes = own.since(copy.number);
    assert.ok(encodeBody({ cluster: "", from: "", facts: FACTS, changes }).length < 1024 * 1024);
    assert.equal(copy.take(changes, false), true);
    answers++;
    if (answers === 2) {
      own.set("s u 3", UP);
      own.delete("s u 4");
      own.set("s u 9999", UP);
    }
    if (Object.keys(changes.opinions).length === 0) break;
  }
  assert.ok(answers > 4);
  assert.deepEqual(new Map([...copy.known].sort()), new Map([...own.entries()].sort()));
  // A subject whose name is longer than others would take is not told.
  own.set(`s ${"x".repeat(2000)}`, UP);
  assert.deepEqual(own.since(copy.number).opinions, {});
});

test("what has changed is told alone, however much there is, and the notes of it stay small", () => {
  const own = new Opinions();
  for (let i = 0; i < 1000; i++) own.set(`s u ${i}`, UP);
  const copy = new OpinionsCopy(() => {});
  copy.take(own.since(0), false);
  for (let round = 0; round < 20; round++) {
    for (let i = 0; i < 1000; i++) own.set(`s u ${i}`, { state: "down", since: 1, reason: `${round}` });
    own.delete(`s u ${round}`);
    const changes = own.since(copy.number);
    assert.equal(changes.from, copy.number);
    copy.take(changes, false);
    assert.deepEqual(new Map([...copy.known].sort()), new Map([...own.entries()].sort()));
  }
});

test("strangers push out strangers, and none of those who have the secret", () => {
  const gone: string[] = [];
  const guest = (name: string) => ({ destroy: () => gone.push(name), leave: () => {} });
  const refusals = new Refusals();
  const connections = new Connections(500, refusals);
  const node = guest("node");
  connections.accept(node);
  connections.identified(node, "lb2");
  for (let i = 0; i < 300; i++) connections.accept(guest(`${i}`));
  assert.equal(gone.length, 44);
  assert.ok(!gone.includes("node"));
  assert.deepEqual(gone.slice(0, 2), ["0", "1"]);
  for (let i = 0; i < 8; i++) {
    const more = guest(`more ${i}`);
    connections.accept(more);
    connections.identified(more, "lb2");
  }
  assert.equal(gone.filter((name) => name === "node").length, 1);
  assert.equal(refusals.counts.flood, gone.length);
});

test("strangers' connections begin as often as may be, those of nodes always", () => {
  const refusals = new Refusals();
  const connections = new Connections(500, refusals, ["10.0.0.2"]);
  const admitted = (host: string, now: number): number => {
    let count = 0;
    for (let i = 0; i < 1000; i++) if (connections.admits(host, now)) count++;
    return count;
  };
  assert.equal(admitted("10.0.0.9", 1000), 200);
  assert.equal(admitted("10.0.0.2", 1000), 1000);
  assert.equal(admitted("10.0.0.9", 2000), 100);
  assert.equal(refusals.counts.flood, 800 + 900);
});

test("a node that asks all the time is answered a bounded number of times, and long answers count more", () => {
  const connections = new Connections(500, new Refusals());
  const asked = (from: number, ms: number, bytes: number): number => {
    let answers = 0;
    for (let now = from; now < from + ms; now += 0.1) {
      if (!connections.mayAsk("lb2", now)) continue;
      connections.answered("lb2", bytes);
      answers++;
    }
    return answers;
  };
  const small = asked(1000, 1000, 0);
  assert.ok(small >= 145 && small <= 155, `${small}`);
  const large = asked(10_000, 1000, 4 * 1024 * 1024);
  assert.ok(large <= 3, `${large}`);
  // At the pace of a check it always is.
  for (let now = 20_000; now < 30_000; now += 500) {
    assert.ok(connections.mayAsk("lb2", now));
    connections.answered("lb2", 1000);
  }

  const node = new Asked();
  const stream = node.connect();
  const many = Buffer.concat(Array.from({ length: 500 }, () => request()));
  const start = performance.now();
  give(stream, many);
  // A hundred at once, and one in 20 ms from then on.
  const most = 101 + (performance.now() - start) / 20;
  assert.ok(node.answered <= most, `${node.answered} of ${most}`);
  assert.deepEqual(node.refusals.counts, { flood: 1 });
  assert.match(String(saidIn(stream).at(-1)?.said.error), /you ask too often/);
});

test("answers that are not read are not made", () => {
  const node = new Asked();
  const stream = node.connect();
  stream.queued = 1;
  give(stream, request());
  assert.equal(stream.paused, true);
  stream.drain();
  assert.equal(stream.paused, false);
});

test("runs of a node that follow one another are one machine's, runs that take turns are two's, until they do no more", () => {
  const askers = new Askers();
  const ask = (run: number, host: string, now: number) => askers.asked("lb2", BigInt(run), host, now);
  // Restarts, a reload whose last question comes late, and an upgrade that is taken back.
  for (const run of [1, 1, 2, 1, 2, 3, 3, 4]) ask(run, "10.0.0.2", 0);
  assert.equal(askers.twice("lb2", 0), undefined);
  for (const run of [5, 6, 5, 6]) ask(run, run === 5 ? "10.0.0.2" : "10.0.0.3", 100);
  assert.equal(askers.twice("lb2", 100), undefined);
  ask(5, "10.0.0.2", 200);
  assert.deepEqual(askers.twice("lb2", 200), ["10.0.0.2", "10.0.0.3"]);
  assert.equal(askers.twice("lb2", 10_300), undefined);
  assert.equal(askers.twice("lb3", 200), undefined);
});
