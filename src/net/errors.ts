import { errorCode, errorText } from "../sys/errno.ts";
import type { StreamError } from "./stream.ts";

/** Whatever node:net threw or emitted, as those above see it. */
export function streamError(error: unknown): StreamError {
  const code = errorCode(error);
  return { code, message: errorText(code) };
}
