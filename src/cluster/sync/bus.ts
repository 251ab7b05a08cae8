import type { Batch } from "../../http/conf/synced.ts";
import { MOST_BATCH } from "../../http/conf/synced.ts";
import type { RedisDefinition } from "../../redis/definition.ts";
import { type Link, linkTo, reasonOf } from "../../redis/link.ts";
import { Subscriber } from "../../redis/subscriber.ts";
import { sharedNow } from "../../sys/clock.ts";
import { logFault } from "../../sys/guard.ts";
import { randomBytes } from "../../sys/random.ts";
import { decodeBatch, encodeBatch } from "../../wire/cluster_batch.ts";
import type { Secrets } from "../secret.ts";
import { Senders } from "./senders.ts";

/** A node that has nothing to tell says so that often, ms: others know that it is there, and itself that it hears the channel. */
const HEARTBEAT_MS = 1000;
/** After so long without an answer the store is taken for lost, ms. */
const ANSWER_MS = 1000;
/** After so long without hearing itself a node does not hear the others either, ms; and after so long again it subscribes anew. */
const SILENCE_MS = 2500;
const RENEW_MS = 5000;
/** Bytes that may be on their way to the store. */
const MOST_UNDER_WAY = 4 * 1024 * 1024;
const HEARTBEAT = "";
/** What a heartbeat says: nothing, or that the node has not heard what was published lately. */
const NOTHING = Buffer.alloc(0);
const ASKS = Buffer.of(1);

/** Batches that were sent and that came, and why those counted for nothing that did not. */
export interface BusCounts {
  sent: number;
  received: number;
  /** No batch, of another version, not signed with the cluster's secret, sent again, or what is in it is not understood. */
  form: number;
  version: number;
  signature: number;
  repeated: number;
  content: number;
  /** That passed by, as far as their numbers say. */
  missed: number;
}

export type BusRefusal = "form" | "version" | "signature" | "repeated" | "content";

export interface BusListener {
  /** Returns false where it is not understood. */
  batch(topic: string, batch: Batch): boolean;
  came(node: string): void;
  gone(node: string): void;
  /** Batches may have passed by. */
  missed(): void;
  refused(why: BusRefusal): void;
}

export interface BusPlace {
  readonly definition: RedisDefinition;
  /** This node's name. */
  readonly self: string;
}

/**
 * The channel of the store on which nodes tell each other what has changed: each batch reaches each node at most once, and those of
 * all nodes come in one order. A node hears what it has published itself, and so knows that the whole way is open.
 */
export class Bus {
  readonly place: BusPlace;
  readonly link: Link;
  readonly counts: BusCounts = {
    sent: 0,
    received: 0,
    form: 0,
    version: 0,
    signature: 0,
    repeated: 0,
    content: 0,
    missed: 0,
  };
  readonly #channel: string;
  readonly #subscriber: Subscriber;
  readonly #run = randomBytes(8).readBigUInt64BE();
  readonly #senders = new Senders();
  #secrets: Secrets;
  #listener: BusListener;
  #number = 0;
  #sentAt = Number.NEGATIVE_INFINITY;
  #heardAt = Number.NEGATIVE_INFINITY;
  #renewedAt = performance.now();
  #up = false;
  /** Others are to be told that this node has missed something. */
  #asks = false;
  /** Why publishing failed, until it works again. */
  #reason = "";
  /** What the store has not answered: bytes, and since when (monotonic ms). Of an earlier connection counts for nothing. */
  #underWay = 0;
  #waitsSince = 0;
  #epoch = 0;

  constructor(place: BusPlace, secrets: Secrets, listener: BusListener) {
    this.place = place;
    this.#secrets = secrets;
    this.#listener = listener;
    const { definition } = place;
    this.#channel = `${definition.prefix}bus`;
    this.link = linkTo(definition);
    this.#subscriber = new Subscriber(definition, this.#channel, (message) => this.#message(message));
  }

  /** A new configuration listens. */
  handOver(secrets: Secrets, listener: BusListener): void {
    this.#secrets = secrets;
    this.#listener = listener;
  }

  stop(): void {
    this.#subscriber.stop();
  }

  get up(): boolean {
    return this.#up;
  }

  /** Why it is not up. */
  get reason(): string {
    return this.#reason || (this.link.usable ? "what is published there does not come back" : this.link.reason) || "";
  }

  /** Returns false where it cannot be sent now. */
  publish(topic: string, payload: Buffer): boolean {
    return this.#up && this.#publish(topic, payload);
  }

  tick(): void {
    const now = performance.now();
    if (this.#underWay > 0 && now - this.#waitsSince > ANSWER_MS) this.#fail(`no answer within ${ANSWER_MS} ms`);
    // Who hears of this node for the first time tells it what it cannot know.
    if (this.#subscriber.open && (this.#asks || now - this.#sentAt >= HEARTBEAT_MS)) {
      if (this.#publish(HEARTBEAT, this.#asks ? ASKS : NOTHING)) this.#asks = false;
    }
    const silent = now - this.#heardAt > SILENCE_MS;
    this.#is(this.link.usable && !silent);
    if (this.link.usable && silent && now - this.#renewedAt > RENEW_MS) {
      this.#renewedAt = now;
      this.#subscriber.renew();
    }
    for (const node of this.#senders.silent(now)) this.#listener.gone(node);
  }

  #is(up: boolean): void {
    if (up === this.#up) return;
    this.#up = up;
    if (up) this.#missed();
  }

  #missed(): void {
    this.#asks = true;
    this.#listener.missed();
  }

  #publish(topic: string, payload: Buffer): boolean {
    const { link } = this;
    if (!link.usable || this.#underWay > MOST_UNDER_WAY || payload.length > MOST_BATCH) return false;
    const { self: from } = this.place;
    const now = performance.now();
    this.#sentAt = now;
    const batch = { run: this.#run, number: ++this.#number, sent: sharedNow(), from, topic, payload };
    const bytes = encodeBatch(batch, this.#secrets.sign);
    if (this.#underWay === 0) this.#waitsSince = now;
    this.#underWay += bytes.length;
    const epoch = this.#epoch;
    link.send(this.#channel, ["PUBLISH", this.#channel, bytes]).then(
      () => this.#answered(bytes.length, epoch),
      (error: unknown) => {
        if (epoch === this.#epoch) this.#fail(reasonOf(error));
      },
    );
    if (topic !== HEARTBEAT) this.counts.sent++;
    return true;
  }

  #answered(bytes: number, epoch: number): void {
    if (epoch !== this.#epoch) return;
    this.#underWay -= bytes;
    this.#waitsSince = performance.now();
  }

  #fail(reason: string): void {
    this.#epoch++;
    this.#underWay = 0;
    this.#reason = reason;
    this.#heardAt = Number.NEGATIVE_INFINITY;
    this.link.fail(reason);
    this.#is(false);
  }

  #message(message: Buffer): void {
    const batch = decodeBatch(message, MOST_BATCH, (bytes, signature) => this.#secrets.verifies(bytes, signature));
    if (typeof batch === "string") {
      this.#refuse(batch);
      return;
    }
    const { from, run, number, sent, topic, payload } = batch;
    const now = performance.now();
    const own = from === this.place.self;
    if (own && run === this.#run) {
      this.#heardAt = now;
      this.#reason = "";
    }
    const came = this.#senders.came(from, run, number, sharedNow() - sent, now);
    if (came === "repeated") {
      this.#refuse("repeated");
      return;
    }
    if (came.isNew && !own) {
      this.#listener.gone(from);
      this.#listener.came(from);
    }
    if (came.missed > 0) {
      this.counts.missed += came.missed;
      this.#missed();
    }
    if (topic === HEARTBEAT) {
      if (payload.equals(ASKS) && !came.isNew && !own) this.#listener.came(from);
      return;
    }
    this.counts.received++;
    try {
      if (!this.#listener.batch(topic, { from, own, payload, late: came.late })) this.#refuse("content");
    } catch (error) {
      logFault(error, ` with a batch of node "${from}"`);
      this.#refuse("content");
    }
  }

  #refuse(why: BusRefusal): void {
    this.counts[why]++;
    this.#listener.refused(why);
  }
}
