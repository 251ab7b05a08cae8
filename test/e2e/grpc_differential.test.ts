/** grpc_pass beside a real nginx: what the client and the server get, what is logged, and what a configuration is refused for. */
import { test } from "node:test";
import { h2Backend } from "../support/h2_backend.ts";
import { have } from "../support/have.ts";
import { startHoldfast, startNginx } from "../support/holdfast.ts";
import { describeSentences } from "../support/sentences.ts";
import { assertSame } from "../support/side_by_side.ts";

const location = (text: string) => `server { location / { ${text} } }`;

describeSentences("grpc_pass", [
  ["no port", location("grpc_pass 127.0.0.1;")],
  ["a port that is none", location("grpc_pass 127.0.0.1:99999;")],
  ["twice", location("grpc_pass 127.0.0.1:1; grpc_pass 127.0.0.1:1;")],
  ["in a server", "server { grpc_pass 127.0.0.1:1; }"],
  ["no argument", location("grpc_pass;")],
  ["a directive that proxy_pass alone has", location("grpc_buffering on;")],
  ["another", location("grpc_request_buffering off;")],
  ["a condition that there is not", location("grpc_next_upstream http_501;")],
  ["a field that cannot be ignored", location("grpc_ignore_headers Date;")],
  ["a time that is none", location("grpc_read_timeout x;")],
  ["a size that is none", location("grpc_buffer_size x;")],
  ["an address that is none", location("grpc_bind x;")],
]);

/** Locations by their name, and requests that are made to each. Of `grpc_set_header Host`, older releases of nginx make a field. */
const LOCATIONS: Readonly<Record<string, string>> = {
  plain: "",
  hide: "grpc_hide_header X-One;",
  pass: "grpc_pass_header X-Accel-Expires;",
  ignore: "grpc_ignore_headers X-Accel-Redirect;",
  set: "grpc_set_header X-Set $request_method; grpc_set_header X-Gone '';",
  te: "grpc_set_header TE '';",
  intercept: "grpc_intercept_errors on; error_page 404 =200 /page;",
  rewritten: "rewrite ^/rewritten/(.*)$ /other/$1?x=%20 break;",
};

const REQUESTS: readonly (readonly [method: string, path: string, fields: string])[] = [
  ["GET", "/", ""],
  ["GET", "/a%20b?c=d", "TE: trailers\r\nX-Mine: 1\r\nX-Gone: 1\r\n"],
  ["HEAD", "/", ""],
  ["OPTIONS", "/", "Expect: x\r\n"],
  ["GET", "/404", ""],
  ["GET", "/redirect", ""],
  ["GET", "/reset", ""],
  ["GET", "/none", ""],
];

test("each directive, with requests of each kind", { skip: have("nginx") }, async (t) => {
  const backend = await h2Backend(t, (stream, headers) => {
    const path = String(headers[":path"]);
    if (path.endsWith("/reset")) {
      stream.close(2);
      return;
    }
    const kept = Object.entries(headers)
      .filter(([name]) => name !== "user-agent" && typeof name === "string")
      .map(([name, value]) => `${name}=${value}`)
      .sort();
    stream.respond({
      ":status": path.endsWith("/404") ? 404 : path.endsWith("/none") ? 204 : 200,
      server: "theirs",
      date: "Thu, 01 Jan 1970 00:00:00 GMT",
      "content-type": "text/plain",
      "x-one": "1",
      "x-accel-expires": "5",
      ...(path.endsWith("/redirect") ? { "x-accel-redirect": "/page" } : {}),
    });
    stream.end(path.endsWith("/none") ? undefined : kept.join("\n"));
  });
  const config = ([port]: readonly number[]) => `events {} http { access_log off;
    server { listen 127.0.0.1:${port}; error_page 502 /bad; location = /page { return 200 page; } location = /bad { return 502 bad; }
      ${Object.entries(LOCATIONS)
        .map(([name, text]) => `location /${name}/ { grpc_pass ${backend.address}; ${text} }`)
        .join("\n")} } }`;
  const [holdfast, nginx] = await Promise.all([startHoldfast(t, { config }), startNginx(t, { config })]);
  for (const name of Object.keys(LOCATIONS)) {
    for (const [method, path, fields] of REQUESTS) {
      const raw = `${method} /${name}${path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n${fields}\r\n`;
      await assertSame(`${method} ${path} ${name}`, holdfast, nginx, raw);
    }
  }
});
