// What the connection waits for from the client, and what its deadline stands for.

/** A first request, or the next one: nothing of it has come. */
export const IDLE = 0;
/** The same within keepalive_min_timeout: not to be closed yet. */
export const KEPT = 1;
/** The rest of a head. */
export const HEAD = 2;
/** More of a body. */
export const BODY = 3;
export const NOTHING = 4;
