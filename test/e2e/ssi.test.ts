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

const GROUPS: [name: string, rows: readonly Page[]][] = [];

function pages(name: string, rows: readonly Page[]): void {
  GROUPS.push([name, rows]);
}

async function becomes(running: Running, { page, body, path = "/page.html?x=1&y=a.b", log = [] }: Page): Promise<void> {
  writeFileSync(join(running.prefix, "html/page.html"), page, "latin1");
  writeFileSync(join(running.prefix, "html/dir/page.html"), page, "latin1");
  const seen = await getLogged(running, path, log.length);
  assert.equal(seen.body, body, `${page} at ${path}`);
  const said = seen.log.map((line) =>
    line
      .replace(/^\[error\] /, "")
      .replace(/ while sending .*/, "")
      .replace(/^open.*(\/none).*/, "$1"),
  );
  assert.deepEqual(said, log, page);
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

const BRANCHES = (expr: string) =>
  `<!--#if expr="${expr}" -->IF<!--#elif expr="$arg_y" -->ELIF<!--#else -->ELSE<!--#endif -->`;

pages("if shows the branch whose expression holds", [
  { page: `${BRANCHES("$arg_x")},${BRANCHES("$arg_z")}`, body: "IF,ELIF" },
  { page: BRANCHES("$arg_z"), body: "ELSE", path: "/page.html?y=" },
  { page: BRANCHES("ABC$arg_x = abc1"), body: "IF" },
  { page: BRANCHES("$arg_x  =  1 "), body: "ELIF" },
  { page: BRANCHES("$arg_x != 2"), body: "IF" },
  {
    page: BRANCHES("/ = \\\\/"),
    body: `${FAILED}IF${FAILED}ELIF${FAILED}ELSE${FAILED}`,
    log: [
      'invalid expression in "/ = \\\\/"',
      'invalid context of SSI command: "elif"',
      'invalid context of SSI command: "else"',
      'invalid context of SSI command: "endif"',
    ],
  },
  {
    page:
      BRANCHES("$uri = /(p.)g(?P<rest>.*)\\$/") +
      '<!--#echo var="0" -->,<!--#echo var="1" -->,<!--#echo var="2" -->,<!--#echo var="3" -->,<!--#echo var="rest" -->',
    body: "IFpage.html,pa,e.html,(none),e.html",
  },
  { page: BRANCHES("$uri = /\\.HTML/"), body: "ELIF" },
  { page: `${BRANCHES("$uri = /p.g/")}<!--#echo var="0" -->,<!--#echo var="1" -->`, body: "IFpag,(none)" },
  { page: BRANCHES("$uri != /^.page\\.html\\$/"), body: "ELIF" },
  {
    page: '<!--#if expr="$arg_x = /(/" -->a',
    body: `${FAILED}a`,
    log: ['pcre2_compile() failed: missing closing parenthesis in "("'],
  },
  {
    page: '<!--#if expr="$arg_x" --><!--#if expr="$arg_x" -->a<!--#endif -->',
    body: `${FAILED}a`,
    log: ['the "if" command inside the "if" command'],
  },
  {
    page: '<!--#if expr="$arg_z" -->a<!--#bad --><!--#echo var="uri" --><!--#block name="b" -->b<!--#endblock -->c',
    body: "c",
  },
]);

pages("block keeps a part of the page for includes that fail or are empty", [
  {
    page: `<!--#block name="b" -->[<!--#echo var='arg_x' --><!--#bad --><!--#if expr="$arg_x"-->y<!--#else-->n<!--#endif-->]<!--#endblock -->
<!--#include virtual="/none?x=2" stub="b" --><!--#include virtual="/inc.html" stub="b" --><!--#include virtual="/status" stub="b" -->
<!--#include virtual="/none" wait="yes" stub="b" -->`,
    body: "\n[2y]<i>/inc.html</i>gone\n[(none)n]",
    log: ["/none", "/none"],
  },
  {
    // What is empty is not searched for commands, nor is what stands in its place.
    page: '<!--#block name="b" -->a<!--#echo var="uri"--><!--#endblock --><!--#include virtual="/empty.html" stub="b" -->',
    body: 'a<!--#echo var="uri" -->',
  },
  {
    page: '<!--#include virtual="/inc.html" stub="no" -->',
    body: FAILED,
    log: ['"stub"="no" for "include" not found'],
  },
  {
    page: '<!--#block name="b" -->1<!--#endblock --><!--#block name="b" -->2<!--#endblock --><!--#include virtual="/none" stub="b" -->',
    body: "1",
    log: ["/none"],
  },
]);

pages("include sets a variable to what a subrequest answers", [
  {
    page: '<!--#include virtual="/args?v" set="V" -->(<!--#echo var="v" -->)<!--#include virtual="/status" set="v" --><!--#echo var="v" -->',
    body: "([v])[v]",
  },
  {
    page: '<!--#include file="inc.html" set="w" -->(<!--#echo var="w" encoding="none" -->)',
    body: "(<i>/inc.html</i>)",
  },
]);

pages("what is wrong is said, and the rest of the page goes on", [
  { page: "a<!--#bad -->b", body: `a${FAILED}b`, log: ['invalid SSI command: "bad"'] },
  { page: "<!--#echo -->", body: FAILED, log: ['mandatory "var" parameter is absent in "echo" SSI command'] },
  { page: '<!--#echo var="a" var="b" -->', body: FAILED, log: ['duplicate "var" parameter in "echo" SSI command'] },
  { page: '<!--#echo name="a" -->', body: FAILED, log: ['invalid parameter name: "name" in "echo" SSI command'] },
  { page: `<!--#echo ${"a='b' ".repeat(17)}-->`, body: FAILED, log: ['too many SSI command parameters: "echo"'] },
  {
    page: '<!--#set var="a" value="$" --><!--#set var="a" value="${b" -->',
    body: FAILED + FAILED,
    log: ['invalid variable name in "$"', 'the closing bracket in "b" variable is missing'],
  },
  { page: "<!--#include -->", body: FAILED, log: ['no parameter in "include" SSI command'] },
  {
    page: '<!--#include file="a" virtual="b" -->',
    body: FAILED,
    log: ['inclusion may be either virtual="b" or file="a"'],
  },
  { page: '<!--#include file="a" wait="yes" -->', body: FAILED, log: ['"wait" cannot be used with file="a"'] },
  { page: '<!--#include virtual="a" wait="1" -->', body: FAILED, log: ['invalid value "1" in the "wait" parameter'] },
  {
    page: '<!--#include virtual="a" set="b" stub="c" -->',
    body: FAILED,
    log: ['"set" and "stub" cannot be used together in "include" SSI command'],
  },
  { page: '<!--#config errmsg="<oops>" --><!--#bad -->', body: "<oops>", log: ['invalid SSI command: "bad"'] },
  { page: "a<!--#bad -->b", path: "/silent/page.html", body: "ab", log: ['invalid SSI command: "bad"'] },
  {
    page: '<!--#echo var="12345678" --><!--#echo var="123456789" -->',
    path: "/short/page.html",
    body: `(none)${FAILED}`,
    log: ['too long "123456789..." value of "var" parameter in "echo" SSI command'],
  },
  { page: 'a<!--#echo var="uri" -->', path: "/off/page.html", body: 'a<!--#echo var="uri" -->' },
]);

pages("config says how dates are shown", [
  {
    page: '<!--#config timefmt="%%x%n" --><!--#echo var="date_gmt" --><!--#config timefmt="%Z" --><!--#set var="d" value="$date_gmt" --><!--#echo var="d" -->',
    body: "%x\nGMT",
  },
]);

for (const [program, start, skip] of PROGRAMS) {
  test(`pages of ${program}`, { skip }, async (t) => {
    const running = await start(t, CONFIG);
    for (const [name, rows] of GROUPS) {
      await t.test(name, async () => {
        for (const row of rows) await becomes(running, row);
      });
    }
  });
}
