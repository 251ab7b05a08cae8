/** What a phase handler or filter returns besides an HTTP status (> 0), with nginx's meanings. */
export const OK = 0;
/** The connection cannot be used any more: it is closed. */
export const ERROR = -1;
/** The handler has taken the request over and finalizes it. */
export const DONE = -4;
/** The handler does nothing with this request: the next one is called. */
export const DECLINED = -5;

/** nginx's own statuses beyond the RFCs. */
export const CLOSE = 444;
export const CLIENT_CLOSED_REQUEST = 499;
