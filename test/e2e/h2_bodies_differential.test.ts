/** Large bodies of requests to servers of HTTP/2, which open their windows or do not, and answer before they have read all, as by nginx. */
import { test } from "node:test";
import * as h2 from "../../src/wire/h2/frames.ts";
import { answerLines } from "../support/h1_transcript.ts";
import { data, head } from "../support/h2_bytes.ts";
import { type Running, startHoldfast, startNginx } from "../support/holdfast.ts";
import { aboutServer, LogMarks } from "../support/log_marks.ts";
import { assertAsNginx, type Said } from "../support/recorded_nginx.ts";
import { type EarlyScript, type Script, type ScriptedServer, scriptedH2 } from "../support/scripted_h2.ts";
import { send } from "../support/tcp.ts";

const BODY = "0123456789".repeat(10_000);
const MORE = 1_000_000;
const OPEN = h2.FLAG.END_HEADERS;
const answer =
  (code: string, then: (stream: number) => string = () => ""): Script =>
  (s) => [head(s, [`:status: ${code}`, "content-type: text/plain"], OPEN) + data(s, `answer ${code}`) + then(s)];
const none = (s: number) => h2.rstStream(s, h2.ERROR.NO_ERROR);
const once = (after: number, script: Script): EarlyScript => ({ after, script });

/** What a server says within the body. All say 200 once they have it. */
const EARLY: Readonly<Record<string, EarlyScript>> = {
  "opens its windows": once(h2.DEFAULT_WINDOW, (s) => [h2.windowUpdate(0, MORE) + h2.windowUpdate(s, MORE)]),
  "opens its windows at once": once(0, (s) => [h2.windowUpdate(0, MORE) + h2.windowUpdate(s, MORE)]),
  "opens the stream's by SETTINGS": once(h2.DEFAULT_WINDOW, () => [
    h2.settingsFrame([[4, MORE]]) + h2.windowUpdate(0, MORE),
  ]),
  "opens the stream's alone": once(h2.DEFAULT_WINDOW, (s) => [h2.windowUpdate(s, MORE)]),
  "opens the connection's alone": once(h2.DEFAULT_WINDOW, () => [h2.windowUpdate(0, MORE)]),
  "opens nothing": once(h2.DEFAULT_WINDOW, () => []),
  "answers at once": once(0, answer("200")),
  "answers at once, and wants no more": once(0, answer("200", none)),
  "refuses at once": once(0, answer("413", none)),
  "answers in between": once(h2.DEFAULT_WINDOW, answer("200")),
  "answers in between, and wants no more": once(h2.DEFAULT_WINDOW, answer("200", none)),
  "refuses in between": once(h2.DEFAULT_WINDOW, answer("413", none)),
  "resets in between": once(h2.DEFAULT_WINDOW, (s) => [h2.rstStream(s, h2.ERROR.INTERNAL_ERROR)]),
  "wants no more without an answer": once(h2.DEFAULT_WINDOW, (s) => [none(s)]),
  "closes in between": once(h2.DEFAULT_WINDOW, () => [undefined]),
  "goes away in between": once(h2.DEFAULT_WINDOW, () => [h2.goaway(0, h2.ERROR.INTERNAL_ERROR)]),
  "goes away behind it": once(h2.DEFAULT_WINDOW, (s) => [
    h2.goaway(s, 0) + h2.windowUpdate(0, MORE) + h2.windowUpdate(s, MORE),
  ]),
  "opens too much": once(h2.DEFAULT_WINDOW, (s) => [h2.windowUpdate(s, 0x7fffffff) + h2.windowUpdate(s, 0x7fffffff)]),
};
const NAMES = Object.keys(EARLY);

const LOCATIONS: Readonly<Record<string, string>> = {
  grpc: "grpc_pass BACKEND;",
  proxy: "proxy_pass http://BACKEND; proxy_http_version 2;",
  unbuffered: "proxy_pass http://BACKEND; proxy_http_version 2; proxy_request_buffering off;",
};
/** Their timeouts are short. */
const WAITING = ["opens the stream's alone", "opens the connection's alone", "opens nothing"];

const config =
  (port: number) =>
  ([listen]: readonly number[]) =>
    `worker_processes 1; http {
  log_format all '$uri $status|$upstream_status'; access_log logs/access.log all; root html; client_body_buffer_size 1m;
  server { listen 127.0.0.1:${listen};
    ${Object.entries(LOCATIONS)
      .map(([name, text]) => [name, text.replaceAll("BACKEND", `127.0.0.1:${port}`)])
      .map(
        ([name, text]) => `location /${name}/ { ${text} }
    location /${name}/waiting/ { grpc_send_timeout 200ms; proxy_send_timeout 200ms; ${text} }`,
      )
      .join("\n")} } }`;

async function observe(backend: ScriptedServer, server: Running): Promise<Said> {
  const marks = new LogMarks(server, server.port, { [String(backend.port)]: "BACKEND" });
  await marks.lines();
  const said = new Map<string, string[]>();
  for (const location of Object.keys(LOCATIONS)) {
    for (const [i, name] of NAMES.entries()) {
      const fields = `Host: a\r\nConnection: close\r\nContent-Length: ${BODY.length}\r\n`;
      const got = await send(
        server.port,
        `POST /${location}${WAITING.includes(name) ? "/waiting" : ""}/${i} HTTP/1.1\r\n${fields}\r\n${BODY}`,
      );
      const asked = backend.requests().filter((line) => !line.includes(": :authority"));
      said.set(`${location}: ${name}`, [...answerLines(got), ...asked, ...(await marks.lines()).map(aboutServer)]);
    }
  }
  return said;
}

test("bodies of requests to servers", async (t) => {
  const earlyOf = (fields: readonly string[]) =>
    EARLY[
      NAMES[
        Number(
          fields
            .find((field) => field.startsWith(":path: "))
            ?.split("/")
            .at(-1),
        )
      ]
    ];
  const backend = await scriptedH2(t, () => answer("200"), earlyOf);
  const options = { config: config(backend.port) };
  const said = await observe(backend, await startHoldfast(t, options));
  await assertAsNginx("h2_bodies", said, async (binary) => observe(backend, await startNginx(t, options, binary)));
});
