import type { Context } from "../../config/types.ts";

/** nginx's usual sets of contexts: HTTP_MAIN|SRV|LOC, with LIF for `if in location`. */
export const HTTP: readonly Context[] = ["http"];
export const HTTP_SERVER: readonly Context[] = ["http", "server"];
export const HTTP_LOCATION: readonly Context[] = ["http", "server", "location"];
export const HTTP_IF: readonly Context[] = ["http", "server", "location", "if in location"];
export const LOCATION: readonly Context[] = ["location"];
