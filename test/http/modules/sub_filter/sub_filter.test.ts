import assert from "node:assert/strict";
import { test } from "node:test";
import { httpBackend } from "../../../support/backend.ts";
import { have } from "../../../support/have.ts";
import { type Running, runHoldfast, startHoldfast, startNginx } from "../../../support/holdfast.ts";
import { generator } from "../../../support/reference_nginx.ts";
import { RawConnection } from "../../../support/tcp.ts";

const FILES = {
  "files/a.html": "<p>One two ONE two</p>",
  "files/a.css": "one",
  "files/a.bin": "one",
  "files/empty.html": "",
  "files/long.html": `${"-".repeat(70_000)}one${"-".repeat(70_000)}two one`,
  "files/ends.html": "one tw",
};

/** The patterns of a request are in its arguments. */
const ANY = `sub_filter_types *; sub_filter $arg_a "<1$arg_a>"; sub_filter $arg_b <2>; sub_filter $arg_c "";`;

const config =
  (backend = "127.0.0.1:9") =>
  (ports: readonly number[]): string =>
    `http {
  types { text/html html; text/css css; }
  sub_filter one 1;
  server {
    listen 127.0.0.1:${ports[0]};
    root files;
    location / { sub_filter_once off; }
    location /once/ { alias files/; sub_filter ONE first; sub_filter one second; sub_filter two third; }
    location /css/ { alias files/; sub_filter_types text/css; }
    location /any/ { alias files/; sub_filter_types *; sub_filter_last_modified on; }
    location /dated/ { alias files/; sub_filter_last_modified on; add_header ETag $arg_e; }
    location /none/ { alias files/; sub_filter nothing at; }
    location /moved { return 301 /one; }
    location /error { sub_filter "404" 405; return 404; }
    location /all { sub_filter_once off; ${ANY} return 200 $arg_t; }
    location /first { ${ANY} return 200 $arg_t; }
    location /split { sub_filter_once off; ${ANY} proxy_pass http://${backend}; }
    location /split-first { ${ANY} proxy_pass http://${backend}; }
  }
}`;

const PATHS = [
  ...["", "/once", "/css", "/any", "/dated", "/none"].flatMap((folder) =>
    Object.keys(FILES).map((file) => folder + file.slice("files".length)),
  ),
  "/dated/a.html?e=strong",
  "/dated/a.html?e=%22quoted%22",
  "/moved",
  "/error",
  "/all?t=abc",
  "/all?t=ABCABC&a=bc&b=ab&c=c",
];

async function ask(connection: RawConnection, path: string, fields = "", method = "GET"): Promise<string> {
  connection.write(`${method} ${path} HTTP/1.1\r\nHost: x\r\n${fields}\r\n`);
  const { status, body, header } = await connection.readResponse({ head: method === "HEAD" });
  const shown = ["content-type", "content-length", "transfer-encoding", "etag", "accept-ranges"].map(header);
  const dated = header("last-modified") === undefined ? "" : " dated";
  const page = body.includes("<hr><center>") ? /<title>.*<\/title>/.exec(body)?.[0] : body;
  return `${method} ${path} ${fields.trim()}: ${status}${dated} ${shown.join(" | ")} ${page}`;
}

async function answers(server: Running, paths: readonly string[]): Promise<readonly string[]> {
  const connection = await RawConnection.open(server.port);
  const found: string[] = [];
  for (const path of paths) {
    found.push(await ask(connection, path), await ask(connection, path, "Range: bytes=0-2\r\n"));
    found.push(await ask(connection, path, "", "HEAD"));
  }
  connection.close();
  return found;
}

/** Files of both programs are written at slightly different times; ours says the length of a HEAD's page by another name. */
const alike = (answer: string): string =>
  answer.replace(/"[0-9a-f]+-([0-9a-f]+)"/, '"time-$1"').replace(/(301|404) text\/html \| \d+/, "$1 text/html");

/** Requests with random patterns over few letters, which overlap in every way. */
function randomQueries(count: number): readonly string[] {
  const below = generator(20_260_000);
  const word = (most: number): string => Array.from({ length: below(most + 1) }, () => "abA"[below(3)]).join("");
  return Array.from({ length: count }, () => `t=${word(24)}-&a=${word(5)}&b=${word(4)}&c=${word(3)}`);
}

test("heads and bodies are those of nginx", { skip: have("nginx") }, async (t) => {
  const options = { config: config(), files: FILES };
  const [ours, theirs] = [await startHoldfast(t, options), await startNginx(t, options)];
  const random = randomQueries(150).flatMap((query) => [`/all?${query}`, `/first?${query}`]);
  for (const paths of [PATHS, random]) {
    const mine = (await answers(ours, paths)).map(alike);
    assert.deepEqual(mine, (await answers(theirs, paths)).map(alike));
  }
});

test("a body is searched over the borders of its pieces, wherever they are", async (t) => {
  const below = generator(7);
  const { address } = await httpBackend(t, ({ url }, response) => {
    const text = /[?&]t=([^&]*)/.exec(url ?? "")?.[1] ?? "";
    response.setHeader("Content-Type", "text/html");
    // All in one segment, or nearly: every chunk is a piece for itself.
    response.cork();
    for (let at = 0; at < text.length; ) {
      const length = 1 + below(3);
      response.write(text.slice(at, at + length));
      at += length;
    }
    response.end();
  });
  const holdfast = await startHoldfast(t, { config: config(address), files: FILES });
  const connection = await RawConnection.open(holdfast.port);
  const body = async (path: string): Promise<string> => {
    connection.write(`GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`);
    return (await connection.readResponse()).body;
  };
  for (const query of randomQueries(100)) {
    assert.equal(await body(`/split?${query}`), await body(`/all?${query}`), query);
    assert.equal(await body(`/split-first?${query}`), await body(`/first?${query}`), query);
  }
  connection.close();
});

test("what is wrong is refused in nginx's words", async (t) => {
  const wrong: readonly (readonly [line: string, sentence: string])[] = [
    ['sub_filter "" a;', "empty search pattern"],
    ["sub_filter a;", 'invalid number of arguments in "sub_filter" directive'],
    [Array.from({ length: 256 }, (_, i) => `sub_filter a${i} b;`).join(" "), "number of search patterns exceeds 255"],
    ["sub_filter_once on; sub_filter_once on;", '"sub_filter_once" directive is duplicate'],
  ];
  for (const [line, sentence] of wrong) {
    const { stderr } = await runHoldfast(t, { config: `http { ${line} }`, args: ["-t"] });
    assert.ok(stderr.includes(`[emerg] ${sentence} in `), stderr);
  }
});
