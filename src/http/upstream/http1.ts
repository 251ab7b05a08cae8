import { ResponseReader } from "../../wire/http1/response_reader.ts";
import type { BodyCoding, UpstreamProtocol } from "./protocol.ts";

/** HTTP/1.0 and HTTP/1.1, and what HTTP/0.9 servers send. */
export const HTTP1: UpstreamProtocol = { reader: () => new ResponseReader() };

/** A request's body in chunks (RFC 9112 section 7.1). */
export const CHUNKED: BodyCoding = {
  before: (length) => `${length.toString(16)}\r\n`,
  after: () => "\r\n",
  end: "0\r\n\r\n",
};
