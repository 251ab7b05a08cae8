import assert from "node:assert/strict";
import { Readable } from "node:stream";
import { test } from "node:test";
import { httpBackend, tcpBackend } from "../support/backend.ts";
import { startHoldfast } from "../support/holdfast.ts";
import { watchPeak, workersOf } from "../support/processes.ts";
import { everySplit } from "../support/splits.ts";
import { get } from "../support/tcp.ts";

/** SSI commands in pages that a backend sends in whatever pieces, and to harm. */

const FAILED = "[an error occurred while processing the directive]";

function chunk(piece: string): string {
  return piece === "" ? "" : `${piece.length.toString(16)}\r\n${piece}\r\n`;
}

const HEAD = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked\r\n\r\n";

test("a page is the same however its backend cuts it into pieces", async (t) => {
  const page = `<<!-a<!--#set var="v" value="<$arg_x>" --><!--#echo var="v"--><!-- b --><!--#include virtual="/part" wait="yes" -->c
<!--#if expr="$v = /<(.)>/" -->d<!--#echo var="1" --><!--#include virtual="/part" set="s" --><!--#else-->e<!--#endif--><!--#echo var="s"-->
<!--#block name="b"-->f<!--<!--#echo var="v" --><!--#endblock--><!--#include virtual="/none" stub="b"--><!--#bad --->g--><`;
  const splits = everySplit(Buffer.from(page));
  const backend = await tcpBackend(t, async (connection) => {
    for (;;) {
      const head = await connection.readHeader();
      if (head === undefined) return;
      const cuts = splits[Number(/^GET \/(\d+)/.exec(head)?.[1] ?? 0)];
      const pieces = [...cuts, page.length].map((to, i) => page.slice(i === 0 ? 0 : cuts[i - 1], to));
      connection.write(`${HEAD}${pieces.map(chunk).join("")}0\r\n\r\n`);
    }
  });
  const { port } = await startHoldfast(t, {
    config: (p) => `http { upstream b { server ${backend.address}; keepalive 4; }
      server { listen 127.0.0.1:${p[0]}; ssi on; root html; error_log logs/ssi.log crit;
        location / { proxy_pass http://b; proxy_http_version 1.1; proxy_set_header Connection ""; }
        location /none { return 403; } location /part { return 200 P; } } }`,
  });
  const expected = `<<!-a&lt;1&gt;<!-- b -->Pc\nd1P\nf<!--&lt;1&gt;${FAILED}<`;
  assert.equal((await get(port, "/0?x=1")).body, expected);
  for (let i = 1; i < splits.length; i++) {
    assert.equal((await get(port, `/${i}?x=1`)).body, expected, `cut at ${splits[i]}`);
  }
});

test("pages that are made to use up memory or time get no more than their share", async (t) => {
  const MIB = 1024 * 1024;
  const pages: Readonly<Record<string, () => Iterable<string>>> = {
    // A command, a parameter, an error that never end.
    *command() {
      for (let i = 0; i < 16; i++) yield "<!--#".padEnd(MIB, "x");
    },
    *params() {
      yield "<!--#echo";
      for (let i = 0; i < 8; i++) yield " a='b'".repeat(MIB / 8);
    },
    // A variable that doubles with each command.
    *doubling() {
      yield '<!--#set var="a" value="0123456789abcdef" -->';
      yield '<!--#set var="a" value="$a$a" -->'.repeat(60);
    },
    *variables() {
      yield `<!--#set var="a" value="${"x".repeat(200)}" -->`;
      yield '<!--#set var="a" value="$a$a" -->'.repeat(12);
      for (let i = 0; i < 1000; i++) yield `<!--#set var="v${i}" value="x$a" -->`;
    },
    *block() {
      yield '<!--#block name="b" -->';
      for (let i = 0; i < 24; i++) yield "x".repeat(MIB);
    },
    // A regex that backtracks, often.
    *regex() {
      yield `<!--#set var="a" value="${"a".repeat(200)}b" -->`;
      yield '<!--#if expr="$a = /^(a|aa)+$/" --><!--#endif -->'.replace("+$", "+\\$").repeat(2000);
    },
  };
  const backend = await httpBackend(t, (incoming, response) => {
    response.writeHead(200, { "Content-Type": "text/html" });
    const page = pages[incoming.url?.slice(1) ?? ""];
    Readable.from(page()).pipe(response);
  });
  const holdfast = await startHoldfast(t, {
    config: (p) => `worker_processes 1; http { server { listen 127.0.0.1:${p[0]}; ssi on; error_log logs/ssi.log crit;
        location / { proxy_pass http://${backend.address}; } location /alive { return 200 alive; } } }`,
  });
  const [worker] = workersOf(holdfast.pid);
  const grown = watchPeak(worker);
  for (const name of Object.keys(pages)) {
    const page = get(holdfast.port, `/${name}`);
    assert.equal((await get(holdfast.port, "/alive")).body, "alive");
    const { status, body } = await page;
    assert.equal(status, 200, name);
    assert.ok(body.length < 1000 * FAILED.length, name);
  }
  const most = grown();
  assert.ok(most < 150 * 1024, `${most} KiB`);
});
