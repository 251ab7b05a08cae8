import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { have } from "../support/have.ts";
import { type Running, startHoldfast, startNginx } from "../support/holdfast.ts";
import { getLogged } from "../support/logged.ts";

/** SSI commands in pages. Each scenario holds for nginx too. */

const FAILED = "[an error occurred while processing the directive]";

const FILES = {
  "html/inc.html": '<i><!--#echo var="uri" --></i>',
  "html/dir/near.html": "near",
  "html/plain.txt": '<!--#echo var="uri" -->',
  "html/empty.html": "",
  "html/long.html": "x".repeat(5000),
};

type Start = (t: TestContext, config: string) => Promise<Running>;

const PROGRAMS: readonly (readonly [name: string, start: Start, skip: false | string])[] = [
  [
    "holdfast",
    (t, config) => startHoldfast(t, { config: (p) => config.replaceAll("PORT", String(p[0])), files: FILES }),
    false,
  ],
  [
    "nginx",
    (t, config) => startNginx(t, { config: (p) => config.replaceAll("PORT", String(p[0])), files: FILES }),
    have("nginx"),
  ],
];

const CONFIG = `http { server { listen 127.0.0.1:PORT; root html; default_type text/html; types { text/plain txt; } ssi on;
  location /silent/ { ssi_silent_errors on; alias html/; }
  location /short/ { ssi_value_length 8; alias html/; }
  location /off/ { ssi off; alias html/; }
  location /status { return 404 gone; }
  location /nothing { return 204; }
  location /args { return 200 "[$args]"; } } }`;

/** A page, what it becomes, and what the error log says of it. */
interface Page {
  readonly page: string;
  readonly body: string;
  /** Default: `/page.html?x=1&y=a.b`. */
  readonly path?: string;
  readonly log?: readonly string[];
}

function pages(name: string, rows: readonly Page[]): void {
  for (const [program, start, skip] of PROGRAMS) {
    test(`${name} (${program})`, { skip }, async (t) => {
      const running = await start(t, CONFIG);
      for (const { page, body, path = "/page.html?x=1&y=a.b", log = [] } of rows) {
        writeFileSync(join(running.prefix, "html/page.html"), page, "latin1");
        writeFileSync(join(running.prefix, "html/dir/page.html"), page, "latin1");
        const seen = await getLogged(running, path, log.length);
        assert.equal(seen.body, body, `${page} at ${path}`);
        const said = seen.log.map((line) => line.replace(/^\[error\] /, "").replace(/ while sending .*/, ""));
        assert.deepEqual(said, log, page);
      }
    });
  }
}

pages("echo shows a variable of the request or of the page", [
  { page: "a<!--#echo var=\"arg_x\" -->b<!--# echo\tvar = 'ARG_y'\r\n-->c", body: "a1ba.bc" },
  {
    page: '<!--#echo var="arg_z" -->,<!--#echo var="arg_z" default="none" -->,<!--#echo var="arg_z" default="" -->',
    body: "(none),none,",
  },
  { page: `<!--#set var="V" value="$x-${"$"}{arg_x}-$ARG_Y\\$" --><!--#echo var="v" -->`, body: "-1-a.b$" },
  {
    page: '<!--#set var="h" value="<a b=\'c\' d=\\"%é&\\">" --><!--#echo var="h" -->|<!--#echo var="h" encoding="url"-->|<!--#echo var="h" -->|<!--#echo var="h" encoding="none"-->'.replaceAll(
      "é",
      "\xe9",
    ),
    body: "&lt;a b='c' d=&quot;%\xe9&amp;&quot;&gt;|%3Ca%20b=%27c%27%20d=%22%25%E9&%22%3E|%3Ca%20b=%27c%27%20d=%22%25%E9&%22%3E|<a b='c' d=\"%\xe9&\">",
  },
  {
    page: '<!--#echo var="uri" encoding="x" -->',
    body: "/page.html",
    log: ['unknown encoding "x" in the "echo" command'],
  },
]);

pages("include puts other pages of the server into the page", [
  {
    page: 'a<!--#include virtual="/inc.html?q" -->b<!--#include file="inc.html" -->c',
    body: "a<i>/inc.html</i>b<i>/inc.html</i>c",
  },
  {
    page: '<!--#include virtual="near.html" --><!--#include virtual="../inc.html"-->',
    path: "/dir/page.html",
    body: `near${FAILED}`,
    log: ['unsafe URI "/dir/../inc.html" was detected'],
  },
  {
    page: `<!--#include virtual="/args?${"$"}{arg_y}&%41" --><!--#include virtual="/a%72gs?z" -->`,
    body: "[a.b&%41][z]",
  },
  { page: '<!--#include virtual="/plain.txt" -->', body: '<!--#echo var="uri" -->' },
  {
    page: '<!--#include virtual="/inc.html" wait="yes" --><!--#include virtual="/inc.html" wait="NO" -->',
    body: "<i>/inc.html</i><i>/inc.html</i>",
  },
]);
