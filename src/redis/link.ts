import type { RedisArgument } from "@redis/client";
import { crypto } from "../sys/builtin.ts";
import { startTimer, type Timer } from "../sys/timers.ts";
import { type Client, destroy, openClient } from "./client.ts";
import type { RedisDefinition } from "./definition.ts";

/** A script in Lua with one key. */
export class Script {
  readonly text: string;
  #digest: string | undefined;

  constructor(text: string) {
    this.text = text;
  }

  get digest(): string {
    this.#digest ??= crypto().createHash("sha1").update(this.text).digest("hex");
    return this.#digest;
  }
}

/** While the store is given up it is asked so often whether it is back, and after so many questions without an answer over a new connection. */
const PROBE_MS = 250;
const MOST_PROBES = 20;

/**
 * A process's connection to a Redis, for all zones and cycles that have the same one. Once it has failed it is not `usable` until
 * it has answered a probe: nobody waits for it meanwhile.
 */
export class Link {
  readonly #definition: RedisDefinition;
  #client: Client | undefined;
  #connecting: Promise<unknown> = Promise.resolve();
  #usable = false;
  #reason: string | undefined;
  #timer: Timer | undefined;
  /** Probes sent since it answered last. */
  #probes = 0;

  constructor(definition: RedisDefinition) {
    this.#definition = definition;
    this.#connect();
    this.#probeLater();
  }

  /** Also while it is connected for the first time: a process that begins does not begin without. */
  get usable(): boolean {
    return this.#usable || this.#reason === undefined;
  }

  /** Why it is not, as far as that is known yet. */
  get reason(): string | undefined {
    return this.#reason;
  }

  get(key: string): Promise<unknown> {
    return this.#send(key, ["GET", key]);
  }

  /** `key`: the one that the command is about, which in a cluster says to whom it goes. */
  send(key: string, args: readonly RedisArgument[]): Promise<unknown> {
    return this.#send(key, args);
  }

  run(script: Script, key: string, args: readonly RedisArgument[]): Promise<unknown> {
    return this.#send(key, ["EVALSHA", script.digest, "1", key, ...args]).catch((error: unknown) => {
      if (!(error instanceof Error) || !error.message.startsWith("NOSCRIPT")) throw error;
      return this.#send(key, ["EVAL", script.text, "1", key, ...args]);
    });
  }

  /** Resolves when it has answered. */
  async ask(): Promise<void> {
    try {
      await this.get(`${this.#definition.prefix}keys`);
    } catch (error) {
      // A list is no string.
      if (!reasonOf(error).startsWith("WRONGTYPE")) throw error;
    }
  }

  /** It has not answered in time, or what it said is no answer. */
  fail(reason: string): void {
    const was = this.usable;
    this.#reason = reason;
    if (!was) return;
    this.#usable = false;
    this.#probeLater();
  }

  #send(key: string, args: readonly RedisArgument[]): Promise<unknown> {
    const client = this.#client;
    if (client === undefined) return Promise.reject(new Error("not connected"));
    return this.#usable ? client.send(key, args) : this.#connecting.then(() => client.send(key, args));
  }

  #connect(): void {
    const client = openClient(this.#definition, (error) => {
      if (client === this.#client) this.fail(reasonOf(error));
    });
    this.#client = client;
    this.#connecting = client.connect();
    this.#connecting.then(
      () => this.#probe(),
      (error: unknown) => {
        if (client === this.#client) this.fail(reasonOf(error));
      },
    );
  }

  #probeLater(): void {
    this.#timer?.clear();
    this.#timer = startTimer(PROBE_MS * (0.5 + Math.random() / 2), () => this.#probe(), { background: true });
  }

  #probe(): void {
    if (this.#usable) return;
    if (this.#probes++ >= MOST_PROBES) {
      this.#probes = 0;
      const old = this.#client;
      this.#connect();
      destroy(old);
    }
    this.#probeLater();
    const client = this.#client;
    this.ask().then(
      () => this.#answered(client),
      () => {},
    );
  }

  #answered(client: Client | undefined): void {
    if (client !== this.#client) return;
    this.#usable = true;
    this.#probes = 0;
    this.#timer?.clear();
  }
}

/** The error's sentence, and where there are several that of the first. */
export function reasonOf(error: unknown): string {
  if (error instanceof AggregateError && error.errors.length > 0) return reasonOf(error.errors[0]);
  return error instanceof Error ? error.message : String(error);
}

const links = new Map<string, Link>();

/** The process's link to a store. Links stay: a process has as many as its configurations had stores. */
export function linkTo(definition: RedisDefinition): Link {
  const { kind, hosts, master, database, user, password, tls, prefix } = definition;
  const key = JSON.stringify([kind, hosts, master, database, user, password, tls, prefix]);
  let link = links.get(key);
  if (link === undefined) {
    link = new Link(definition);
    links.set(key, link);
  }
  return link;
}
