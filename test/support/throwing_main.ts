/** Holdfast with one module more: `throw_at PLACE` throws there, so that a test sees what becomes of an exception. */

import { fileURLToPath } from "node:url";
import { defineModule, type HttpModule } from "../../src/http/conf/module.ts";
import { httpProgram } from "../../src/http/conf/program.ts";
import { DECLINED, DONE, OK } from "../../src/http/core/codes.ts";
import { sendText } from "../../src/http/core/engine.ts";
import { addBodyFilter, BODY_FILTER } from "../../src/http/core/filters.ts";
import type { Request } from "../../src/http/core/request.ts";
import { readBody } from "../../src/http/core/request_body.ts";
import type { Handler } from "../../src/http/core/types.ts";
import { run } from "../../src/runtime/start.ts";
import { boundary, defer } from "../../src/sys/guard.ts";
import { childRole } from "../../src/sys/launch.ts";
import { Deadline, setDeadline } from "../../src/sys/timers.ts";
import { headText } from "../../src/wire/head_text.ts";

function thrown(): never {
  throw new TypeError("thrown on demand");
}

/** Content handlers that throw later, each in a callback of another kind. */
const LATER: Readonly<Record<string, (request: Request) => void>> = {
  deferred: (request) => void defer(thrown, request),
  deadline: (request) => setDeadline(new Deadline(request, thrown), 1),
  callback: (request) => void setTimeout(boundary(request, thrown), 1),
  body_read: (request) => readBody(request, thrown),
  body_sink: (request) => {
    request.bodySink = { onBody: thrown, onBodyEnd: thrown, onBodyError: thrown };
    request.exchange.startBody(request);
  },
};

const throwing = defineModule({
  name: "throwing",
  directives: {
    throw_at: {
      in: ["server", "location"],
      args: [1, 1],
      syntax: "",
      doc: "",
      initial: () => "",
      read: ({ args: [place] }): string => place,
    },
  },
  variables: { thrown: { get: thrown } },
  // In the master it would be an error of the configuration.
  build: (settings) => (settings.throw_at === "build" && childRole !== undefined ? thrown() : settings),
  rewrite: ({ throw_at }) => (throw_at === "rewrite" ? thrown : undefined),
  access: ({ throw_at }) => (throw_at === "access" ? thrown : undefined),
  content: ({ throw_at }): Handler | undefined => {
    const later = LATER[throw_at];
    if (later !== undefined) {
      return (request) => {
        later(request);
        return DONE;
      };
    }
    switch (throw_at) {
      case "content":
        return thrown;
      case "cleanup":
        return (request) => {
          request.cleanup = [thrown];
          return sendText(request, 200, headText("text/plain"), "sent");
        };
      default:
        return undefined;
    }
  },
  headerFilters: {
    range_header: ({ throw_at }) => {
      if (throw_at === "header_filter") return (request) => (request.errorStatus === 0 ? thrown() : OK);
      if (throw_at === "every_header_filter") return thrown;
      if (throw_at !== "body_filter") return undefined;
      return (request) => {
        addBodyFilter(request, { place: BODY_FILTER.gzip, push: thrown });
        return OK;
      };
    },
  },
  log: ({ throw_at }) => (throw_at === "log" ? thrown : () => DECLINED),
});

const program = httpProgram({
  modules: [throwing as HttpModule],
  tables: [],
  open: () => [],
});
run(program, new URL(import.meta.url), fileURLToPath(new URL("../../", import.meta.url)));
