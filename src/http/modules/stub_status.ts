import { directive } from "../../config/directives.ts";
import { headText } from "../../wire/head_text.ts";
import { defineModule, type HttpBuild } from "../conf/module.ts";
import { OK } from "../core/codes.ts";
import { COUNTER, COUNTERS } from "../core/counters.ts";
import { discardBody } from "../core/discard_body.ts";
import { sendText } from "../core/engine.ts";
import type { Handler } from "../core/types.ts";

const TEXT_PLAIN = headText("text/plain");

/** Counters that are variables as well. */
const VARIABLES = {
  connections_active: COUNTER.active,
  connections_reading: COUNTER.reading,
  connections_writing: COUNTER.writing,
  connections_waiting: COUNTER.waiting,
} as const;

/** ngx_http_stub_status_module: how many connections and requests there are, over all workers. */
export const stubStatus = defineModule({
  name: "http_stub_status",
  configure: "--with-http_stub_status_module",
  directives: {
    stub_status: directive<boolean>({
      in: ["server", "location"],
      args: [0, 1],
      syntax: "",
      doc: "Answers with the numbers of connections and requests, as nginx formats them.",
      initial: () => false,
      inherit: false,
      read: () => true,
    }),
  },
  setup(http) {
    const words = countersOf(http);
    for (const [name, counter] of Object.entries(VARIABLES)) {
      http.variables.declare(name, { get: () => String(sum(words, counter)) });
    }
  },
  build: (settings, { http }): Handler | undefined => (settings.stub_status ? page(countersOf(http)) : undefined),
  content: (handler) => handler,
});

function countersOf({ cycle }: HttpBuild): Int32Array {
  return cycle.zone(COUNTERS).words;
}

/** Workers count in rows of their own; the numbers wrap at 2^32. */
function sum(words: Int32Array, counter: number): number {
  let total = 0;
  for (let at = counter; at < words.length; at += COUNTER.words) total += Atomics.load(words, at) >>> 0;
  return total;
}

function page(words: Int32Array): Handler {
  return (request) => {
    if (request.method !== "GET" && request.method !== "HEAD") return 405;
    const broken = discardBody(request);
    if (broken !== OK) return broken;
    const of = (counter: number): number => sum(words, counter);
    const body =
      `Active connections: ${of(COUNTER.active)} \n` +
      "server accepts handled requests\n" +
      ` ${of(COUNTER.accepted)} ${of(COUNTER.handled)} ${of(COUNTER.requests)} \n` +
      `Reading: ${of(COUNTER.reading)} Writing: ${of(COUNTER.writing)} Waiting: ${of(COUNTER.waiting)} \n`;
    return sendText(request, 200, TEXT_PLAIN, body);
  };
}
