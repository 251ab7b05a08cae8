import { ConfigError } from "../config/types.ts";

/** What a log says of something thrown: a ConfigError with its place, of anything else the message. */
export function sentence(error: unknown): string {
  return error instanceof Error && !(error instanceof ConfigError) ? error.message : String(error);
}

/** The same of everything that is wrong with a configuration. */
export function sentences(error: unknown): readonly string[] {
  return error instanceof ConfigError ? [error, ...error.others].map(String) : [sentence(error)];
}
