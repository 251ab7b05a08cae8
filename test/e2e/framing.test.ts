import assert from "node:assert/strict";
import { test } from "node:test";
import { tcpBackend } from "../support/backend.ts";
import { startHoldfast } from "../support/holdfast.ts";
import { RawConnection } from "../support/tcp.ts";

/** What is set by hand never contradicts the framing, and what belongs to one hop never travels, in any kind of message. */

const BODY = "GET /hidden HTTP/1.1\r\nHost: evil\r\n\r\n";
const CHUNKS = `${BODY.length.toString(16)}\r\n${BODY}\r\n0\r\n\r\n`;

/** Requests by a name, without their request line; their bodies look like a request of their own. */
const REQUESTS: Readonly<Record<string, { readonly method: string; readonly rest: string; readonly body: string }>> = {
  GET: { method: "GET", rest: "\r\n", body: "" },
  HEAD: { method: "HEAD", rest: "\r\n", body: "" },
  "POST without body": { method: "POST", rest: "\r\n", body: "" },
  "POST of length 0": { method: "POST", rest: "Content-Length: 0\r\n\r\n", body: "" },
  "POST with length": { method: "POST", rest: `Content-Length: ${BODY.length}\r\n\r\n${BODY}`, body: BODY },
  "POST in chunks": { method: "POST", rest: `Transfer-Encoding: chunked\r\n\r\n${CHUNKS}`, body: BODY },
  "GET in chunks": { method: "GET", rest: `Transfer-Encoding: chunked\r\n\r\n${CHUNKS}`, body: BODY },
};

const SET = [
  "Content-Length $http_content_length",
  "Content-Length $content_length",
  "Content-Length 0",
  "Content-Length 3",
  'Content-Length ""',
  'Content-Length ""; proxy_set_header Transfer-Encoding ""',
  "content-length 3",
  "Content-Length: 3",
  '"Content-Length " 3',
  "Transfer-Encoding $http_transfer_encoding",
  "Transfer-Encoding chunked",
  "Transfer-Encoding: chunked",
  'Transfer-Encoding ""',
  "Transfer-Encoding gzip",
  "Content-Length $http_content_length; proxy_set_header Transfer-Encoding $http_transfer_encoding",
  "Connection $http_connection",
  "Expect 100-continue",
  "Host one.example; proxy_set_header host two.example",
];

/** How the body is passed on, and what it then is. */
const MODES: Readonly<Record<string, (body: string) => string>> = {
  "": (body) => body,
  "proxy_request_buffering off;": (body) => body,
  "client_body_in_file_only clean;": (body) => body,
  "proxy_http_version 1.0;": (body) => body,
  "proxy_pass_request_headers off;": (body) => body,
  "proxy_pass_request_body off;": () => "",
  'proxy_set_body "abc";': () => "abc",
  "proxy_method PUT;": (body) => body,
};

const UNFINISHED = "an unfinished request";

/** One request as its framing says, or why it is none. */
function parse(text: string): { readonly body: string; readonly rest: string } | string {
  const end = text.indexOf("\r\n\r\n") + 4;
  if (end < 4) return UNFINISHED;
  const lines = text
    .slice(0, end - 4)
    .split("\r\n")
    .slice(1);
  const names = lines.map((line) => /^[^:]*/.exec(line)?.[0].trim().toLowerCase());
  if (names.filter((name) => name === "host").length !== 1) return `Host in ${JSON.stringify(lines)}`;
  const framed = names.filter((name) => name === "content-length" || name === "transfer-encoding");
  if (framed.length > 1) return `two framings in ${JSON.stringify(lines)}`;
  const after = text.slice(end);
  if (framed.length === 0) return { body: "", rest: after };
  const value = lines.find((line) => /^(Content-Length|Transfer-Encoding): /.test(line))?.replace(/^.*?: /, "");
  if (value === "chunked") {
    if (!after.endsWith("0\r\n\r\n")) return UNFINISHED;
    const chunk = /^([0-9a-f]+)\r\n/.exec(after);
    const size = Number.parseInt(chunk?.[1] ?? "0", 16);
    const from = chunk?.[0].length ?? 0;
    const body = after.slice(from, from + size);
    const tail = size === 0 ? "\r\n" : "\r\n0\r\n\r\n";
    if (!after.startsWith(tail, from + size)) return `no chunks in ${JSON.stringify(after)}`;
    return { body, rest: after.slice(from + size + tail.length) };
  }
  if (!/^\d+$/.test(value ?? "")) return `the framing of ${JSON.stringify(lines)}`;
  if (after.length < Number(value)) return UNFINISHED;
  return { body: after.slice(0, Number(value)), rest: after.slice(Number(value)) };
}

test("whatever framing is set for a server, it gets one request with its own", async (t) => {
  let received = "";
  const backend = await tcpBackend(t, async (connection) => {
    const whole = await connection.read((all) => parse(all) !== UNFINISHED);
    received = whole ?? connection.received;
    connection.write("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    // What follows what it takes for the request.
    await connection.read(() => false);
    received += connection.received;
    connection.end();
  });
  const modes = Object.keys(MODES);
  const locations = SET.flatMap((set, i) =>
    modes.map(
      (mode, j) => `location /${i}.${j} { proxy_set_header ${set}; ${mode} proxy_pass http://${backend.address}; }`,
    ),
  );
  const { port } = await startHoldfast(t, {
    config: ([port]) => `http { access_log off; keepalive_timeout 0; proxy_read_timeout 3s; client_body_temp_path temp;
      server { listen 127.0.0.1:${port}; ${locations.join("\n")} } }`,
  });
  const wrong: string[] = [];
  for (const [i, set] of SET.entries()) {
    for (const [j, mode] of modes.entries()) {
      for (const [name, { method, rest, body }] of Object.entries(REQUESTS)) {
        received = "";
        const connection = await RawConnection.open(port);
        connection.write(`${method} /${i}.${j} HTTP/1.1\r\nHost: a.example\r\n${rest}`);
        const answer = await connection.readAll();
        connection.close();
        const what = `${name}, ${set}; ${mode}`;
        const request = parse(received);
        if (typeof request === "string") wrong.push(`${what}: ${request}`);
        else if (request.rest !== "") wrong.push(`${what}: followed by ${JSON.stringify(request.rest)}`);
        else if (request.body !== MODES[mode](body)) wrong.push(`${what}: the body ${JSON.stringify(request.body)}`);
        if (!answer.startsWith("HTTP/1.1 200 ")) wrong.push(`${what}: ${JSON.stringify(answer)}`);
      }
    }
  }
  assert.deepEqual(wrong, []);
});
