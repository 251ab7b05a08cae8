import { HealthStates } from "../../src/health/state.ts";
import { given, say } from "../support/sharing.ts";

/** A worker that reads one state. */
const { zones, task } = given<{ record: number }>();
say(new HealthStates(zones[0]).read(task.record));
