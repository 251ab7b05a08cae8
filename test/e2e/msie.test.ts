import assert from "node:assert/strict";
import { test } from "node:test";
import { have } from "../support/have.ts";
import { startHoldfast, startNginx } from "../support/holdfast.ts";
import { get, type RawResponse } from "../support/tcp.ts";

const config = ([
  port,
]: readonly number[]): string => `http { msie_refresh on; absolute_redirect off; server { listen 127.0.0.1:${port};
  location / { return 301 /to; }
  location /found { return 302 "http://other/a b\\"c'd<e>f\\\\g^h\`i{j}k|l~m%25n?o&p=q#r"; }
  location /see { return 303 /to; }
  location /kept { return 307 /to; }
  location /page { return 301; error_page 301 /to; }
  location /elsewhere { return 404; error_page 404 http://other/; }
  location /off { msie_refresh off; return 301 /to; }
  location /error { return 404; }
  location /unpadded { msie_padding off; return 404; }
  } }`;

const PATHS = ["/", "/found", "/see", "/kept", "/page", "/elsewhere", "/off", "/error", "/unpadded"];
const AGENTS = [
  "Mozilla/4.0 (compatible; MSIE 6.0; Windows NT 5.1)",
  "MSIE foo",
  "MSIE 6",
  "Mozilla/4.0 (compatible; MSIE 6.0; Windows NT 5.1; de) Opera 8.51",
  "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36",
  "Mozilla/5.0 Gecko/20100101 Chrome/1",
  "curl/8",
];

/** The name of the server left out, and what it is long. */
function essence({ status, header, body }: RawResponse): unknown {
  const own = /<center>(nginx|holdfast)\/[\d.]+<\/center>/;
  const length = own.test(body) ? "" : header("content-length");
  return [status, header("location"), header("content-type"), length, body.replace(own, "")];
}

test("what old browsers get in place of redirects and short error pages is nginx's", {
  skip: have("nginx"),
}, async (t) => {
  const holdfast = await startHoldfast(t, { config });
  const nginx = await startNginx(t, { config });
  for (const agent of AGENTS) {
    for (const path of PATHS) {
      const field = `User-Agent: ${agent}`;
      const [ours, theirs] = await Promise.all([get(holdfast.port, path, field), get(nginx.port, path, field)]);
      assert.deepEqual(essence(ours), essence(theirs), `${path} for ${agent}`);
    }
  }
});
