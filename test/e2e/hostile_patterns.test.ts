import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { have } from "../support/have.ts";
import { type Running, startHoldfast, startNginx } from "../support/holdfast.ts";
import { get, request } from "../support/tcp.ts";

/** Careless patterns in every directive that takes one from the configuration and a subject from the client or a server. */
const config = ([port, backend]: readonly number[]): string => `
worker_processes 1;
http {
  map $arg_m $mapped { "~(?>(?:a|aa)+c)b$" hit; default none; }
  server {
    listen 127.0.0.1:${port};
    location ~ "^/back/(?<x>(a|aa)+)\\k<x>!$" { return 200 back; }
    location ~ "(?=/ahead)/ahead(a+)+b$" { return 200 ahead; }
    location ~ "^/counted/(\\w{1,20})+$" { return 200 counted; }
    location ~ "^/host/([a-z0-9]{1,63}\\.?)+$" { return 200 host; }
    location ~ "^/list/(.*?,){20}P" { return 200 list; }
    location ~ "(*UTF8)^/utf/(a+)+$" { return 200 utf; }
    location ~ "^(?:/(?:([a-z]+)|([0-9]+)))+/?$" { return 200 parts; }
    location /MAP { return 200 $mapped; }
    location /IF { if ($arg_i ~ "(?>(?:a|aa)+c)b$") { return 200 yes; } return 200 no; }
    location /REWRITE { rewrite "(?>(?:a|aa)+c)b$" /other last; return 200 unchanged; }
    location /BACKEND {
      proxy_pass http://127.0.0.1:${backend};
      proxy_redirect "~(?>(?:a|aa)+c)b$" /changed;
      proxy_cookie_path "~(?>(?:a|aa)+c)b$" /changed;
    }
    location / { return 200 other; }
  }
  server {
    listen 127.0.0.1:${backend};
    location / { add_header Set-Cookie "k=v; Path=/$arg_s"; return 302 /$arg_s; }
  }
}`;

const many = "a".repeat(60);

/** What is asked, and the status and text of the answer; `nginx` where PCRE gives a search up that ours need not. */
const ASKED: readonly { path: string; status: number; text?: string; nginx?: number }[] = [
  { path: `/back/${many}!b`, status: 500 },
  { path: `/ahead${many}bC`, status: 200, text: "other", nginx: 500 },
  { path: `/counted/${many}!`, status: 200, text: "other", nginx: 500 },
  { path: `/host/${many}!`, status: 200, text: "other", nginx: 500 },
  { path: `/list/${"1,".repeat(60)}QP`, status: 200, text: "other", nginx: 500 },
  { path: `/utf/${many}!`, status: 200, text: "other", nginx: 500 },
  { path: "/ab/12".repeat(450), status: 200, text: "parts" },
  { path: `/MAP?m=${many}bc`, status: 200, text: "none" },
  { path: `/IF?i=${many}bc`, status: 500 },
  { path: `/REWRITE/${many}bc`, status: 500 },
  { path: `/BACKEND?s=${many}bc`, status: 302 },
];

async function ask(running: Running): Promise<readonly { readonly status: number; readonly text: string }[]> {
  const answers: { status: number; text: string }[] = [];
  for (const { path } of ASKED) {
    const answer = await get(running.port, path);
    const place = `${answer.header("location")} ${answer.header("set-cookie")}`;
    answers.push({ status: answer.status, text: answer.status === 302 ? place : answer.body });
  }
  return answers;
}

const start = (t: TestContext): Promise<Running> => startHoldfast(t, { config });

test("hostile subjects are answered by PCRE's rules, and the worker serves on", async (t) => {
  const holdfast = await start(t);
  for (const [i, { status, text }] of (await ask(holdfast)).entries()) {
    assert.equal(status, ASKED[i].status, ASKED[i].path);
    if (ASKED[i].text !== undefined) assert.equal(text, ASKED[i].text, ASKED[i].path);
  }
  const log = holdfast.errorLog();
  assert.match(log, /\[alert\] [^\n]*pcre2_match\(\) failed: -47 on "\/back\/a+!b" using "\^\/back[^\n]*request: "GET/);
  assert.match(log, /pcre2_match\(\) failed: -47 on "a+bc" using "\(\?>\(\?:a\|aa\)\+c\)b\$"/);
  assert.equal(await holdfast.reload(), true);
  assert.equal((await get(holdfast.port, "/fine")).body, "parts");
  assert.doesNotMatch(holdfast.errorLog(), /exited/);
  assert.equal(holdfast.errorLog().split("start worker process ").length, 2);
});

test("many hostile requests at once hold up neither others nor a reload", async (t) => {
  const holdfast = await start(t);
  const hostile = ASKED.filter(({ status }) => status === 200).flatMap(({ path }) => [path, path, path, path]);
  const answers = hostile.map((path) => get(holdfast.port, path));
  assert.equal((await get(holdfast.port, "/fine")).body, "parts");
  assert.equal(await holdfast.reload(), true);
  for (const answer of await Promise.all(answers)) assert.equal(answer.status, 200);
});

test("a pattern too large to compile is refused in nginx's words", async (t) => {
  const holdfast = await start(t);
  const server = "server { listen 127.0.0.1:1; location ~ ";
  assert.equal(await holdfast.reload(`http { ${server} "(?:(?:ab){1000}){1000}" { } } }`), false);
  await holdfast.waitForLog(
    /\[emerg\] [^\n]*pcre2_compile\(\) failed: regular expression is too large in "\(\?:\(\?:ab\)\{1000\}\)\{1000\}" in [^\n]*nginx\.conf:1/,
  );
});

test("nginx answers the same where PCRE finds an answer", { skip: have("nginx") }, async (t) => {
  const nginx = await startNginx(t, { config });
  const holdfast = await start(t);
  const theirs = await ask(nginx);
  for (const [i, ours] of (await ask(holdfast)).entries()) {
    const expected = ASKED[i].nginx ?? ASKED[i].status;
    assert.equal(theirs[i].status, expected, ASKED[i].path);
    if (ASKED[i].nginx !== undefined || expected === 500) continue;
    const plain = (text: string): string => text.replaceAll(/:\d+/g, "");
    assert.equal(plain(ours.text), plain(theirs[i].text), ASKED[i].path);
  }
});

test("a Host that a pattern gives up on, and one that it takes", async (t) => {
  const holdfast = await startHoldfast(t, {
    config: ([port]) => `worker_processes 1; http {
      server { listen 127.0.0.1:${port}; return 200 first; }
      server { listen 127.0.0.1:${port}; server_name "~^(?<x>(a|aa)+)\\k<x>!$"; return 200 $x; } }`,
  });
  const head = (host: string): string => `GET / HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`;
  assert.equal((await request(holdfast.port, head(`${many}!b`))).status, 500);
  assert.equal((await request(holdfast.port, head(`${many}b`))).body, "first");
  assert.equal((await request(holdfast.port, head("aaaa!"))).body, "aa");
  assert.match(holdfast.errorLog(), /\[alert\] [^\n]*pcre2_match\(\) failed: -47 on "a+!b" using/);
  assert.doesNotMatch(holdfast.errorLog(), /exited/);
});
