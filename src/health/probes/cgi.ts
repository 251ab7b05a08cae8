import { DONE, INVALID, ResponseHead } from "../../wire/http1/response_head.ts";
import { PASS, type Probe, type Verdict } from "../probe.ts";
import { type ResponseTests, reasonOf } from "../response.ts";

const MAX_HEAD = 64 * 1024;

/**
 * `type=uwsgi` and `type=scgi`: sends a request (a byte string) and judges the status of the answer, read as nginx's uwsgi_pass
 * and scgi_pass read it.
 */
export function cgi(request: string, expect: ResponseTests): Probe {
  const send = Buffer.from(request, "latin1");
  const head = new ResponseHead("either");
  let any = false;
  let verdict: Verdict | undefined;
  return {
    send,
    reusable: false,
    unfinished: false,
    begin() {
      head.reset(MAX_HEAD);
      any = false;
      verdict = undefined;
    },
    connected() {},
    data(bytes) {
      if (verdict !== undefined) return verdict;
      any = true;
      const code = head.feed(bytes, 0, bytes.length);
      if (code === DONE) verdict = expect.status(head.status) ? PASS : `status ${head.status}`;
      else if (code === INVALID) verdict = reasonOf(head.error);
      return verdict;
    },
    end: () => (any ? "closed by the server within the response" : "closed by the server without a response"),
  };
}
