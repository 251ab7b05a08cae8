import type { HeaderList } from "../wire/http1/header_list.ts";

/** What a check asks of an HTTP or FastCGI answer: check_http_expect_alive, check_http_expect_body and `match` blocks. */

/** An answer as far as it was read. Strings are byte strings. */
export interface CheckResponse {
  readonly status: number;
  readonly headers: HeaderList;
  /** At most MAX_BODY bytes of it. */
  readonly body: string;
}

/** NGINX Plus examines the first 256k of a body. */
export const MAX_BODY = 256 * 1024;

/** Returns "" when the answer passes, else the reason in a few words. */
export type Test = (response: CheckResponse) => string;

export interface ResponseTests {
  /** Judged as soon as the status is known. */
  readonly status: (code: number) => boolean;
  /** Judged when all headers are there, and when the body is; empty lists need not wait for them. */
  readonly headers: readonly Test[];
  readonly body: readonly Test[];
}

/** The classes of check_http_expect_alive as bits. */
export const CLASSES = { http_1xx: 1, http_2xx: 2, http_3xx: 4, http_4xx: 8, http_5xx: 16 } as const;
/** What type=http expects where nothing is said. */
export const DEFAULT_ALIVE = CLASSES.http_2xx | CLASSES.http_3xx;

/** Accepts the status classes whose bits are set. */
export function statusIn(alive: number): (code: number) => boolean {
  return (code) => code >= 100 && code < 600 && (alive & (1 << (Math.floor(code / 100) - 1))) !== 0;
}

/** nginx's sentence about a response as a reason: `upstream sent invalid header: …` → `invalid header: …`. */
export function reasonOf(error: string): string {
  return error.replace(/^upstream (?:sent )?/, "");
}

/** Runs tests in order and returns the first reason, or "". */
export function judge(tests: readonly Test[], response: CheckResponse): string {
  for (const test of tests) {
    const reason = test(response);
    if (reason !== "") return reason;
  }
  return "";
}
