import { MOST_TOPIC, type Synced } from "../../http/conf/synced.ts";
import { SyncedTable } from "../../http/conf/synced_table.ts";
import { now, wallAt } from "../../sys/clock.ts";
import type { Learn } from "./learn.ts";
import type { LearnedSessions } from "./learned_sessions.ts";

/** Other nodes are told so often in a session's lifetime that it is used. */
const TOLD_USES = 8;

/** Learned sessions as the nodes of a group share them (`sync`); undefined where they do not. */
export function sharedSessions(learn: Learn): Synced | undefined {
  const { shared: at, declared, upstream } = learn.settings;
  if (at === undefined) return undefined;
  return {
    topic: `sticky ${declared.name} ${upstream}`.slice(0, MOST_TOPIC),
    at,
    share: () => learn.sessions.share(),
    join(port, previous) {
      const { sessions } = learn;
      const uses = new Uses(sessions);
      const shared = {
        what: `sticky zone "${declared.name}"`,
        isReady: () => learn.file === undefined || !sessions.blank,
        untoldOnes(most: number) {
          uses.tell();
          return sessions.untoldOnes(most);
        },
        told: sessions.told.bind(sessions),
        untell: sessions.untell.bind(sessions),
        take: sessions.take.bind(sessions),
        everything: () => sessions.everything(),
      };
      return new SyncedTable(shared, port, previous);
    },
  };
}

/** Has others told now and then of sessions that are used and have not changed. */
class Uses {
  readonly #sessions: LearnedSessions;
  /** Monotonic and wall-clock ms: up to when they were told. */
  #at = now();
  #until = wallAt(now());

  constructor(sessions: LearnedSessions) {
    this.#sessions = sessions;
  }

  tell(): void {
    const time = now();
    if (time - this.#at < this.#sessions.timeout / TOLD_USES) return;
    const since = this.#until;
    this.#at = time;
    this.#until = wallAt(time);
    this.#sessions.untellUsedSince(since);
  }
}
