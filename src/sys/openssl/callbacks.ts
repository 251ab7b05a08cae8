import {
  type ArgumentType,
  type CallbackBody,
  type CallbackPrototype,
  registerCallback,
  type Type,
  type Values,
} from "../ffi.ts";
import { logFault } from "../guard.ts";
import type { SslConnection } from "./ssl.ts";

/** Whose call is running: OpenSSL's callbacks come within. */
export const running: { connection: SslConnection | undefined } = { connection: undefined };

/** Makes a C function that OpenSSL calls. An exception must not go through C: it is logged, and `failed` returned. */
export function makeCallback<const R extends Type, const A extends readonly ArgumentType[]>(
  prototype: CallbackPrototype<R, A>,
  failed: Values[R],
  run: CallbackBody<R, A>,
): bigint {
  return registerCallback(prototype, (...values) => {
    try {
      return run(...values);
    } catch (error) {
      report(error);
      return failed;
    }
  });
}

function report(error: unknown): void {
  try {
    logFault(error);
  } catch {
    // Nor may that of a log that cannot be written, or of a stack that is full.
  }
}
