import { ResponseReader } from "../../wire/http1/response_reader.ts";
import type { BodyCoding, UpstreamCodec, UpstreamProtocol } from "./protocol.ts";

/** Chunked request bodies (RFC 9112 section 7.1). */
const CHUNKED: BodyCoding = {
  room: Number.MAX_SAFE_INTEGER,
  before: (length) => `${length.toString(16)}\r\n`,
  after: (_length, last) => (last ? "\r\n0\r\n\r\n" : "\r\n"),
  end: "0\r\n\r\n",
  none: "0\r\n\r\n",
};

function requestHead(head: string): string {
  return head;
}

function bodyCoding(lengthKnown: boolean): BodyCoding | undefined {
  return lengthKnown ? undefined : CHUNKED;
}

/** HTTP/1.0 and HTTP/1.1, and answers of HTTP/0.9 servers. The codec never writes on its own. */
export const HTTP1: UpstreamProtocol = {
  identity: "",
  open: (): UpstreamCodec => ({ reader: new ResponseReader(), requestHead, bodyCoding }),
};
