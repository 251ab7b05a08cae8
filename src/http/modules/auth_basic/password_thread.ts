import { workerThreads } from "../../../sys/builtin.ts";
import { type Verdict, verifyPassword } from "./crypt.ts";

/** Hashes passwords in a thread of their own: one hash may take a tenth of a second of CPU. */

const ROLE = "passwords";
/** The thread's heap limit: far more than hashing needs. */
const MEGABYTES = 32;

/** What the thread is asked; it answers each with a Verdict, in order. */
export interface Question {
  readonly password: string;
  /** The hash in the user file. */
  readonly stored: string;
}

/** The worker's handle of the thread, which takes one question at a time. */
export interface PasswordThread {
  ask(question: Question): void;
  stop(): void;
}

/** Starts the thread. `ended` is called when it dies or cannot start. */
export function startPasswordThread(answered: (verdict: Verdict) => void, ended: () => void): PasswordThread {
  // The thread runs the program's own entry, which calls servesPasswords().
  const worker = new (workerThreads().Worker)(process.argv[1], {
    argv: [ROLE],
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

/** In a thread made by startPasswordThread, starts to answer questions and returns true. */
export function servesPasswords(): boolean {
  if (process.argv[2] !== ROLE) return false;
  const port = workerThreads().parentPort;
  if (port === null) return false;
  port.on("message", ({ password, stored }: Question) => port.postMessage(verifyPassword(password, stored)));
  return true;
}
