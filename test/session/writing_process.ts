/** A process that changes sessions of a zone as it is told, and says when it has. */
import process from "node:process";
import { openEnvironment } from "../../src/session/zone/environment.ts";
import { Records } from "../../src/session/zone/records.ts";
import { SessionRecords } from "../../src/session/zone/session_records.ts";
import { makeSession } from "../../src/session/zone/stored_session.ts";
import { given, say } from "../support/sharing.ts";

/** `dies`: by SIGKILL, before its change is committed, or after that. */
export interface Order {
  readonly id: string;
  readonly version: number;
  readonly dies?: "before" | "after";
}

const { directory } = given<{ directory: string }>().task;
const records = new Records(openEnvironment(directory, 1 << 20, false), 1 << 20, {
  endOf: () => undefined,
  onEvicted() {},
});
const sessions = new SessionRecords(records);

process.on("message", ({ id, version, dies }: Order) => {
  const key = Buffer.from(id, "hex");
  const data = JSON.stringify({ version });
  const session = makeSession({ version, created: 1, expires: 2 ** 40, data, stamps: { floor: 0, at: new Map() } });
  records.write(() => {
    const before = sessions.current(key);
    sessions.put(key, session, before);
    say({ found: before?.version ?? 0 });
    if (dies === "before") process.kill(process.pid, "SIGKILL");
  });
  if (dies === "after") process.kill(process.pid, "SIGKILL");
  say("written");
});
say("ready");
