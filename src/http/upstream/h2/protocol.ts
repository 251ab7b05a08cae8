import type { UpstreamProtocol } from "../protocol.ts";

/** HTTP/2 with servers: `target.head` is a header block. One connection carries several requests. */
export const HTTP2: UpstreamProtocol = { identity: "h2", open: undefined };
