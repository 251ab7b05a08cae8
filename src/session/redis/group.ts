import { failAtEnd } from "../../config/directives.ts";
import type { Scope } from "../../config/schema.ts";
import { type RedisDefinition, redisDefinition } from "../../redis/definition.ts";
import { linkTo } from "../../redis/link.ts";
import type { CheckerService } from "../../runtime/application.ts";
import type { Cycle } from "../../runtime/cycle.ts";
import type { ZoneSettings } from "../zone/session_zone.ts";
import type { Group, LocalZone, SessionStore, WaitingSessions } from "../zone/store.ts";
import { knownKeys } from "./group_keys.ts";
import { LocalCopy } from "./local_copy.ts";
import { RedisStore } from "./redis_store.ts";
import { Remote } from "./remote.ts";
import { Replay } from "./replay.ts";

interface Waiting {
  /** After how long a request goes on without an answer, ms. */
  readonly timeout: number;
  /** Bytes that changes may take which wait for the store. */
  readonly queue: number;
}

/** A group of nodes that shares a zone through Redis or Valkey. */
class RedisGroup implements Group {
  readonly #definition: RedisDefinition;
  readonly #waiting: Waiting;

  constructor(definition: RedisDefinition, waiting: Waiting) {
    this.#definition = definition;
    this.#waiting = waiting;
  }

  get text(): string {
    return this.#definition.text;
  }

  open(local: LocalZone): SessionStore {
    return new RedisStore(local, this.#copy(local), this.#remote(local), this.#waiting.timeout);
  }

  keys(local: LocalZone): readonly Buffer[] | undefined {
    return knownKeys(local.environment);
  }

  keep(local: LocalZone): CheckerService {
    return new Replay(local, this.#copy(local), this.#remote(local), this.#definition);
  }

  waiting(local: LocalZone): WaitingSessions {
    return this.#copy(local).queue;
  }

  #copy(local: LocalZone): LocalCopy {
    return new LocalCopy(local, this.#waiting.queue);
  }

  #remote(local: LocalZone): Remote {
    return new Remote(linkTo(this.#definition), this.#definition.prefix, local.limits.timeout);
  }
}

/** The group of a zone; undefined where it has none. `timeout`: `session_timeout`. */
export function redisGroup(zone: ZoneSettings, timeout: number, cycle: Cycle, http: Scope): Group | undefined {
  if (zone.group === undefined) return undefined;
  const definition = redisDefinition(zone.group, {
    owner: `session zone "${zone.name}"`,
    prefix: `holdfast:${zone.name}:`,
    fail: (sentence) => failAtEnd(http, sentence),
    path: (file) => cycle.path(file, "conf"),
    readFile: (path) => cycle.readFile(path),
  });
  return new RedisGroup(definition, { timeout, queue: zone.group.queue ?? zone.size });
}
