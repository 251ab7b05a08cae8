import type { AddressRow, Matrix, NodeRow, Seen, ServerRow } from "../matrix.ts";
import type { Snapshot } from "../snapshot.ts";
import { jsonOf } from "../status/format.ts";
import { nodeTrouble, serverTrouble } from "../status/words.ts";

/** The latest changes of a group, in shared memory for the workers: as many as there is room for. */

/** Bytes of the zone. */
export const EVENTS_BYTES = 256 * 1024;
/** Characters of the events that are kept, and how many. */
const MOST_TEXT = 224 * 1024;
const MOST_EVENTS = 512;

export interface Event {
  readonly number: number;
  readonly name: "node" | "server" | "address" | "differences";
  /** JSON of one line. */
  readonly data: string;
}

/** What the zone holds. Numbers of another epoch mean nothing. */
export interface Events {
  readonly epoch: string;
  /** Of the last event, even where none is kept. */
  readonly last: number;
  readonly events: readonly Event[];
}

/** Events behind a number; undefined: some are not kept any more. */
export function eventsAfter({ last, events }: Events, number: number): readonly Event[] | undefined {
  if (number > last) return undefined;
  const first = events[0]?.number ?? last + 1;
  return number + 1 < first ? undefined : events.filter((event) => event.number > number);
}

/** Finds what has changed from one matrix to the next, in the checker. */
export class EventLog {
  readonly #zone: Snapshot;
  readonly #epoch: string;
  #last = 0;
  #events: readonly Event[] = [];
  #unpublished = false;
  /** What each row was, in a few characters. */
  #before: Map<string, string> | undefined = undefined;

  /** `epoch`: a random text. `previous`: this one goes on with. */
  constructor(zone: Snapshot, epoch: string, previous?: EventLog) {
    this.#zone = zone;
    this.#epoch = previous === undefined ? epoch : previous.#epoch;
    if (previous === undefined) return;
    this.#last = previous.#last;
    this.#events = previous.#events;
    this.#before = previous.#before;
  }

  /** `publish` makes known what has changed, once the matrix can be read. */
  look({ nodes, servers, addresses, differences }: Matrix): void {
    const before = this.#before;
    const now = new Map<string, string>();
    const events: Event[] = [];
    const row = (name: Event["name"], key: string, is: string, data: () => unknown) => {
      const id = `${name} ${key}`;
      now.set(id, is);
      if (before !== undefined && before.get(id) !== is) {
        events.push({ number: this.#last + events.length + 1, name, data: jsonOf(data()) });
      }
    };
    for (const node of nodes) row("node", node.name, `${node.facts?.state} ${signature(node)}`, () => nodeData(node));
    for (const server of servers) {
      const { upstream, server: name, report } = server;
      row("server", `${upstream} ${name}`, `${report?.at} ${signature(server)}`, () => serverData(server));
    }
    for (const { address, holders } of addresses) {
      row("address", address, holders.join(" "), () => ({ address, holders }) satisfies Omit<AddressRow, "seen">);
    }
    // Figures in them, of clocks, change all the time.
    row("differences", "", differences.join("\n").replace(/\d+\.\d+ s/g, ""), () => ({ differences }));
    for (const id of before?.keys() ?? []) if (!now.has(id)) this.#gone(id, events);
    this.#before = now;
    if (before === undefined || events.length > 0) this.#keep(events);
  }

  /** A row that is not there any more, by its id. */
  #gone(id: string, events: Event[]): void {
    const [name, ...key] = id.split(" ");
    const number = this.#last + events.length + 1;
    if (name === "server") {
      const [upstream, ...server] = key;
      events.push({ number, name, data: jsonOf({ upstream, server: server.join(" "), gone: true }) });
    } else if (name === "node") events.push({ number, name, data: jsonOf({ name: key[0], gone: true }) });
    else if (name === "address") events.push({ number, name, data: jsonOf({ address: key[0], gone: true }) });
  }

  #keep(events: readonly Event[]): void {
    this.#last += events.length;
    const all = [...this.#events, ...events].slice(-MOST_EVENTS);
    let room = MOST_TEXT;
    let first = all.length;
    // Their quotes are escaped once more where they are kept.
    for (; first > 0; first--) {
      room -= JSON.stringify(all[first - 1]).length;
      if (room < 0) break;
    }
    this.#events = all.slice(first);
    this.#unpublished = true;
  }

  publish(): void {
    if (!this.#unpublished) return;
    this.#unpublished = false;
    this.#zone.publish(JSON.stringify({ epoch: this.#epoch, last: this.#last, events: this.#events } satisfies Events));
  }
}

function signature({ verdict, seen }: Seen): string {
  let text: string = verdict;
  for (const observer in seen) text += ` ${observer} ${seen[observer].state}`;
  return text;
}

/** What each observer finds. */
function found(seen: Seen["seen"]): Readonly<Record<string, string>> {
  return Object.fromEntries(Object.entries(seen).map(([observer, { state }]) => [observer, state]));
}

function nodeData(node: NodeRow): unknown {
  const { name, verdict, facts, seen } = node;
  return { name, verdict, state: facts?.state ?? null, seen: found(seen), words: nodeTrouble(node) ?? "" };
}

function serverData(row: ServerRow): unknown {
  const { upstream, server, verdict, seen, report } = row;
  const said = report === undefined ? {} : { report };
  return { upstream, server, verdict, seen: found(seen), ...said, words: serverTrouble(row) ?? "" };
}
