import { errorCode, errorText } from "../sys/errno.ts";
import type { StreamError } from "./stream.ts";

/** The StreamError of an exception or error event of node:net. */
export function streamError(error: unknown): StreamError {
  const code = errorCode(error);
  return { code, message: errorText(code) };
}
