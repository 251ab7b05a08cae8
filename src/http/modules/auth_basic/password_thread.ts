import { parentPort, Worker, workerData } from "node:worker_threads";
import { type Verdict, verifyPassword } from "./crypt.ts";

/** Passwords are hashed in a thread beside the worker's: one hash may take a tenth of a second of CPU. */

const ROLE = "passwords";
/** Far more than hashing needs. */
const MEGABYTES = 32;

/** What the thread is asked; it answers with a Verdict, one question after the other. */
export interface Question {
  readonly password: string;
  /** The hash in the user file. */
  readonly stored: string;
}

/** The thread as its worker sees it: to be asked only when it has answered. */
export interface PasswordThread {
  ask(question: Question): void;
  stop(): void;
}

/** Starts it. `ended` is called when it dies, and when it cannot even start. */
export function startPasswordThread(answered: (verdict: Verdict) => void, ended: () => void): PasswordThread {
  // Runs the program itself, whose entry calls servesPasswords().
  const worker = new Worker(process.argv[1], {
    workerData: { kind: ROLE },
    name: ROLE,
    resourceLimits: { maxOldGenerationSizeMb: MEGABYTES, maxYoungGenerationSizeMb: 2 },
  });
  worker.unref();
  worker.on("message", answered);
  worker.on("error", () => {});
  worker.on("exit", ended);
  return {
    ask: ({ password, stored }) => worker.postMessage({ password, stored } satisfies Question),
    stop: () => void worker.terminate(),
  };
}

/** In a thread made by startPasswordThread: begins to answer questions and returns true. Else false. */
export function servesPasswords(): boolean {
  const port = parentPort;
  if (port === null || workerData?.kind !== ROLE) return false;
  port.on("message", ({ password, stored }: Question) => port.postMessage(verifyPassword(password, stored)));
  return true;
}
