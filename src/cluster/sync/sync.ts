import type { Batch, Synced, SyncedPart, SyncPort } from "../../http/conf/synced.ts";
import { MOST_TOPIC, SYNC_TICK_MS } from "../../http/conf/synced.ts";
import type { RedisDefinition } from "../../redis/definition.ts";
import type { CheckerService } from "../../runtime/application.ts";
import type { ErrorLog } from "../../runtime/log/log.ts";
import { logFault } from "../../sys/guard.ts";
import { startTimer, type Timer } from "../../sys/timers.ts";
import type { Secrets } from "../secret.ts";
import { Bus, type BusListener, type BusRefusal } from "./bus.ts";
import type { StoreRow } from "./store_row.ts";

/** A store that has not been there since the start is missed after so long, ms. */
const FIRST_MS = 3000;
/** What is wrong with batches is said so often, ms. */
const REFUSED_LOG_MS = 60_000;

const REFUSALS: Readonly<Record<BusRefusal, string>> = {
  form: "is no batch of a cluster",
  version: "is of a version that this node does not understand",
  signature: "is not signed with this cluster's secret",
  repeated: "had come before",
  content: "is not understood",
};

/** HMAC-SHA256. */
const SEAL_BYTES = 32;

/** What was said of one topic says nothing of another. */
function inTopic(topic: string, bytes: Buffer): Buffer {
  return Buffer.concat([Buffer.from(`${topic}\0`, "latin1"), bytes]);
}

export interface SyncEnvironment {
  readonly cluster: string;
  readonly self: string;
  readonly definition: RedisDefinition;
  readonly secrets: Secrets;
  readonly synced: ReadonlyMap<string, Synced>;
  readonly log: ErrorLog;
}

/**
 * What this node shares with the others through the store of the group, in the checker: the bus, and on it a part for each topic. A
 * reload hands both on.
 */
export class Sync implements CheckerService, BusListener {
  readonly #environment: SyncEnvironment;
  readonly #bus: Bus;
  readonly #parts = new Map<string, SyncedPart>();
  #timer: Timer | undefined;
  /** Of the last state that was said; wall-clock ms. */
  #since = Date.now();
  /** undefined: nothing has been said yet. */
  #saidUp: boolean | undefined;
  readonly #refusedAt = new Map<BusRefusal, number>();

  constructor(environment: SyncEnvironment, previous?: Sync) {
    this.#environment = environment;
    const { definition, self, secrets, synced } = environment;
    const place = { definition, self };
    const before = previous === undefined ? undefined : previous.#bus;
    if (before !== undefined && JSON.stringify(before.place) === JSON.stringify(place)) {
      before.handOver(secrets, this);
      this.#bus = before;
      this.#since = previous === undefined ? this.#since : previous.#since;
      this.#saidUp = previous === undefined ? undefined : previous.#saidUp;
    } else {
      before?.stop();
      this.#bus = new Bus(place, secrets, this);
    }
    if (previous !== undefined) previous.#quiet();
    for (const [topic, one] of synced) {
      if (topic.length > MOST_TOPIC) throw new Error(`the topic "${topic}" is too long`);
      const part = previous === undefined ? undefined : previous.#parts.get(topic);
      if (previous !== undefined) previous.#parts.delete(topic);
      this.#parts.set(topic, one.join(this.#port(topic), part));
    }
    if (previous !== undefined) for (const part of previous.#parts.values()) part.stop();
    if (this.#bus.up) this.missed();
    this.#tick();
  }

  /** The one that follows it does the work. */
  #quiet(): void {
    this.#timer?.clear();
  }

  stop(): void {
    this.#timer?.clear();
    for (const part of this.#parts.values()) part.stop();
    this.#bus.stop();
  }

  /** For the group's status. */
  get row(): StoreRow {
    const { definition } = this.#environment;
    const { counts, up, reason } = this.#bus;
    const { sent, received, missed, form, version, signature, repeated, content } = counts;
    return {
      store: definition.text,
      connected: up,
      since: this.#since,
      reason: up ? "" : reason,
      shared: [...this.#parts.keys()],
      sent,
      received,
      missed,
      refused: { form, version, signature, repeated, content },
    };
  }

  #port(topic: string): SyncPort {
    const bus = this.#bus;
    const { definition, log, cluster, secrets } = this.#environment;
    const away = () => Promise.reject(new Error(bus.reason));
    return {
      self: this.#environment.self,
      get up() {
        return bus.up;
      },
      publish: (payload) => bus.publish(topic, payload),
      prefix: `${definition.prefix}${topic}:`,
      command: (key, args) => (bus.link.usable ? bus.link.send(key, args) : away()),
      run: (script, key, args) => (bus.link.usable ? bus.link.run(script, key, args) : away()),
      seal: (bytes) => Buffer.concat([secrets.sign(inTopic(topic, bytes)), bytes]),
      open(sealed) {
        const bytes = sealed.subarray(SEAL_BYTES);
        const signature = sealed.subarray(0, SEAL_BYTES);
        return bytes.length > 0 && secrets.verifies(inTopic(topic, bytes), signature) ? bytes : undefined;
      },
      say: (level, sentence) => log.write(level, `${sentence}, cluster: "${cluster}"`),
    };
  }

  #tick(): void {
    try {
      this.#bus.tick();
      this.#say();
      for (const part of this.#parts.values()) part.tick();
    } catch (error) {
      logFault(error, " while the state of the group was shared");
    }
    this.#timer = startTimer(SYNC_TICK_MS, () => this.#tick(), { background: true });
  }

  #say(): void {
    const { up, reason } = this.#bus;
    if (up === this.#saidUp) return;
    const now = Date.now();
    if (!up && this.#saidUp === undefined && now - this.#since < FIRST_MS) return;
    const { definition, cluster, log } = this.#environment;
    const store = `the store ${definition.text} of cluster "${cluster}"`;
    if (!up) log.write("error", `lost ${store}: ${reason}; this node goes on alone`);
    else if (this.#saidUp === false) {
      log.write("notice", `${store} is back after ${Math.round((now - this.#since) / 1000)} s`);
    }
    this.#saidUp = up;
    this.#since = now;
  }

  // ---- what the bus tells

  batch(topic: string, batch: Batch): boolean {
    const part = this.#parts.get(topic);
    // Another node may share what this one has not.
    if (part === undefined || (batch.own && part.echoes !== true)) return true;
    return part.receive(batch);
  }

  came(node: string): void {
    for (const part of this.#parts.values()) part.came?.(node);
  }

  gone(node: string): void {
    for (const part of this.#parts.values()) part.gone?.(node);
  }

  missed(): void {
    for (const part of this.#parts.values()) part.missed?.();
  }

  refused(why: BusRefusal): void {
    const now = performance.now();
    const last = this.#refusedAt.get(why);
    if (last !== undefined && now - last < REFUSED_LOG_MS) return;
    this.#refusedAt.set(why, now);
    const { definition, cluster, log } = this.#environment;
    log.write("warn", `a message on the channel of cluster "${cluster}" at ${definition.text} ${REFUSALS[why]}`);
  }
}
