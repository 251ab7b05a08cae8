import { startTimer } from "./timers.ts";

/** Who has started this process. */
const PARENT = process.ppid;
/** How long to wait for its end to show, and how often to look, in ms. */
const LONGEST_MS = 500;
const STEP_MS = 20;

/** Whether the process that has started this one has ended, which shows a moment after its descriptors were closed. */
export async function isOrphan(): Promise<boolean> {
  for (let left = LONGEST_MS; left > 0 && process.ppid === PARENT; left -= STEP_MS) {
    await new Promise<void>((resolve) => void startTimer(STEP_MS, resolve));
  }
  return process.ppid !== PARENT;
}
