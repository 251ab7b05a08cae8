import assert from "node:assert/strict";
import { buildSockets } from "../../../../src/http/conf/addresses.ts";
import { buildHttp } from "../../../../src/http/conf/build.ts";
import { defineModule } from "../../../../src/http/conf/module.ts";
import { httpProgram, httpScope } from "../../../../src/http/conf/program.ts";
import { httpModules } from "../../../../src/http/conf/registry.ts";
import { DONE } from "../../../../src/http/core/codes.ts";
import { COUNTER } from "../../../../src/http/core/counters.ts";
import { finalizeRequest, sendText } from "../../../../src/http/core/engine.ts";
import type { Request } from "../../../../src/http/core/request.ts";
import { readBody } from "../../../../src/http/core/request_body.ts";
import { H1Connection } from "../../../../src/http/server/h1/connection.ts";
import type { Closable, ConnectionHost } from "../../../../src/http/server/types.ts";
import type { Cycle } from "../../../../src/runtime/cycle.ts";
import { coreDirectives, eventsDirectives } from "../../../../src/runtime/directives.ts";
import { makeZone } from "../../../../src/shm/zone.ts";
import { whole } from "../../../../src/sys/sliced.ts";
import { headText } from "../../../../src/wire/head_text.ts";
import { loadConfig, workspace, write } from "../../../config/workspace.ts";
import { FakeStream } from "./fake_stream.ts";

/** Connections over a stream of the test's own. */

const read = defineModule({
  name: "test_read",
  directives: {
    test_read: {
      in: ["location"],
      args: [0, 0],
      syntax: "",
      doc: "Answers with the request's body.",
      initial: () => false,
      read: () => true,
    },
  },
  content: ({ test_read }) => {
    if (!test_read) return undefined;
    return (request) => {
      readBody(request, (whole) => {
        const body = whole.body?.memory()?.toString("latin1") ?? "";
        finalizeRequest(whole, sendText(whole, 200, headText("text/plain"), `[${body}]`));
      });
      return DONE;
    };
  },
});

let held: (request: Request) => void = () => {};

/** What the test does with requests of /held and /slow: their bodies and answers are in its hands. */
export function whenHeld(handler: (request: Request) => void): void {
  held = handler;
}

const hold = defineModule({
  name: "test_hold",
  directives: {
    test_hold: {
      in: ["location"],
      args: [0, 0],
      syntax: "",
      doc: "Leaves the request to the test.",
      initial: () => false,
      read: () => true,
    },
  },
  content: ({ test_hold }) => {
    if (!test_hold) return undefined;
    return (request) => {
      held(request);
      return DONE;
    };
  },
});

const CONFIG = `events {} http { server { listen 127.0.0.1:1; server_name one; client_max_body_size 20;
  location / { return 200 "$request_uri"; } location /read { test_read; } location /missing { return 404; }
  location /held { test_hold; client_body_timeout 20ms; }
  location /linger { lingering_close always; lingering_time 0; return 200 "$request_uri"; }
  location /slow { test_hold; limit_rate 10; } } }`;

function makeHost(): ConnectionHost & { readonly words: Int32Array } {
  const directory = workspace();
  const modules = [...httpModules, read, hold];
  const program = httpProgram({ modules: [], tables: [], open: () => [] });
  const tables = [coreDirectives, eventsDirectives, ...program.directives, read.directives, hold.directives];
  const confFile = write(directory, "nginx.conf", CONFIG);
  const { root } = loadConfig({ confFile, confPrefix: directory }, tables);
  const scope = httpScope(root);
  assert.ok(scope !== undefined);
  const cycle: Cycle = {
    data: {
      generation: 1,
      directives: [],
      prefix: directory,
      confPrefix: directory,
      errorLog: `${directory}error.log`,
      zones: {},
      files: new Map(),
      hosts: {},
    },
    root,
    zone: ({ kind, name, size }) => makeZone(kind, name, size),
    readFile: () => Buffer.alloc(0),
    path: (path) => (path.startsWith("/") ? path : directory + path),
  };
  const [{ serves }] = buildSockets(whole(buildHttp(scope, cycle, modules as Parameters<typeof buildHttp>[2])), cycle);
  const words = new Int32Array(COUNTER.words);
  const open = new Set<Closable>();
  return {
    config: serves[0],
    exiting: false,
    lettingGo: false,
    lettingAllGo: false,
    counters: words,
    words,
    waits: () => {},
    opened: (connection) => open.add(connection),
    closed: (connection) => open.delete(connection),
    replaced: () => {},
  };
}

export const host = makeHost();

export function opened(): FakeStream {
  const stream = new FakeStream();
  stream.handler = new H1Connection(stream, host);
  return stream;
}

export function receive(stream: FakeStream, text: string): void {
  stream.handler.onData(stream, Buffer.from(text, "latin1"));
}

export const POST = "POST /held HTTP/1.1\r\nHost: one\r\nContent-Length: 5\r\n\r\n";

/** The answers in what was sent: status and body. */
export function answers(text: string): string[] {
  if (text === "") return [];
  return text.split(/(?=HTTP\/1\.1 \d)/).map((answer) => {
    const body = answer.slice(answer.indexOf("\r\n\r\n") + 4);
    return `${answer.slice(9, 12)} ${body.startsWith("<html>") ? "page" : body}`.trim();
  });
}
