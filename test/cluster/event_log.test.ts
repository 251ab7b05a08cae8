/** How many changes are kept, and what slow clients are told. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { EventHub, type Listener } from "../../src/cluster/events/event_hub.ts";
import { EVENTS_BYTES, EventLog, type Events, eventsAfter } from "../../src/cluster/events/event_log.ts";
import type { OpinionState } from "../../src/cluster/group/opinions.ts";
import { type Matrix, verdictOf } from "../../src/cluster/matrix.ts";
import { SNAPSHOT_ZONE, Snapshot } from "../../src/cluster/snapshot.ts";
import { makeOwnZone } from "../../src/shm/zone.ts";

function zone(bytes: number): Snapshot {
  return new Snapshot(makeOwnZone(SNAPSHOT_ZONE, "", bytes));
}

/** A matrix with one server, in whose name any bytes may be. */
function matrix(state: OpinionState, server = "127.0.0.1:80"): Matrix {
  const seen = { lb1: { state, since: 0, reason: "" } };
  const servers = [{ upstream: "app", server, verdict: verdictOf(Object.values(seen)), seen }];
  return { cluster: "test", self: "lb1", at: 0, nodes: [], servers, addresses: [], differences: [] };
}

function publish(log: EventLog, snapshot: Snapshot, now: Matrix): void {
  log.look(now);
  snapshot.publish(JSON.stringify(now));
  log.publish();
}

function read(events: Snapshot): Events {
  return JSON.parse(events.read()?.toString() ?? "");
}

class Client implements Listener {
  epoch = "";
  number = 0;
  blocked = false;
  text = "";

  send(text: string): void {
    this.text += text;
  }

  end(): void {}

  names(): string {
    const names = [...this.text.matchAll(/^event: (\w+)$/gm)].map(([, name]) => name).join(" ");
    this.text = "";
    return names;
  }
}

test("nothing is an event but what has changed", () => {
  const events = zone(EVENTS_BYTES);
  const log = new EventLog(events, "1");
  for (const state of ["up", "up", "down", "down"] as const) log.look(matrix(state));
  // Another server: the one before has gone.
  log.look(matrix("down", "127.0.0.1:81"));
  log.publish();
  const data = read(events).events.map((event) => JSON.parse(event.data));
  assert.deepEqual(
    data.map(({ server, verdict, gone }) => [server, verdict, gone]),
    [
      ["127.0.0.1:80", "down", undefined],
      ["127.0.0.1:81", "down", undefined],
      ["127.0.0.1:80", undefined, true],
    ],
  );
});

test("as many changes are kept as there is room for, whatever the names", () => {
  for (const name of ["a", `\xff"\\\n${"\x01".repeat(900)}`]) {
    const events = zone(EVENTS_BYTES);
    const log = new EventLog(events, "1");
    for (let i = 0; i <= 700; i++) log.look(matrix(i % 2 === 0 ? "up" : "down", name));
    log.publish();
    const { last, events: kept } = read(events);
    assert.equal(last, 700);
    assert.equal(kept.at(-1)?.number, 700);
    assert.ok(kept.length > 10 && kept.length <= 512, String(kept.length));
    assert.equal(eventsAfter(read(events), 1), undefined);
    assert.equal(eventsAfter(read(events), 701), undefined);
    assert.deepEqual(eventsAfter(read(events), 700), []);
    assert.equal(eventsAfter(read(events), 699)?.length, 1);
    for (const { data } of kept) assert.match(data, /^[ -~]+$/);
  }
});

test("a client that takes no more is told later of what it missed, of all at once where that was too much", (t) => {
  const [snapshot, events] = [zone(EVENTS_BYTES), zone(EVENTS_BYTES)];
  const log = new EventLog(events, "1");
  publish(log, snapshot, matrix("up"));
  const hub = new EventHub(snapshot, events);
  t.after(() => hub.end());
  const client = new Client();
  hub.add(client);
  assert.equal(client.names(), "matrix");
  client.blocked = true;
  publish(log, snapshot, matrix("down"));
  publish(log, snapshot, matrix("up"));
  const other = new Client();
  hub.add(other);
  hub.catchUp(client);
  assert.equal(client.names(), "");
  client.blocked = false;
  hub.catchUp(client);
  assert.equal(client.names(), "server server");
  client.blocked = true;
  for (let i = 0; i < 600; i++) publish(log, snapshot, matrix(i % 2 === 0 ? "down" : "up"));
  hub.add(new Client());
  client.blocked = false;
  hub.catchUp(client);
  assert.equal(client.names(), "matrix");
  assert.equal(client.number, 602);
});
