import type { UpstreamProtocol } from "../protocol.ts";

/** HTTP/2 with servers: `target.head` is a header block. One connection carries several requests. */
export const HTTP2: UpstreamProtocol = { identity: "h2", open: undefined };

/** The same connections, with what nginx's grpc_pass makes of an answer that is a head alone. */
export const GRPC: UpstreamProtocol = { ...HTTP2, zeroLength: true };
