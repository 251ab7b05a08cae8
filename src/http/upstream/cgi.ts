import { ResponseReader } from "../../wire/http1/response_reader.ts";
import type { UpstreamCodec, UpstreamProtocol } from "./protocol.ts";

/**
 * uwsgi and SCGI, told apart by `identity`: `target.head` is the request, whose body follows it as it is. The answer has a
 * status line or is CGI's, and its connection ends with it.
 */
export function cgiProtocol(identity: string): UpstreamProtocol {
  return {
    identity,
    open: (): UpstreamCodec => ({
      reader: new ResponseReader("either"),
      requestHead: (head) => head,
      bodyCoding: () => undefined,
    }),
  };
}
