import { CLIENT_CLOSED_REQUEST, DONE, OK } from "../../http/core/codes.ts";
import { finalizeRequest, sendHeader } from "../../http/core/engine.ts";
import { FLUSH, LAST, passBody, takesMore } from "../../http/core/filters.ts";
import type { Request } from "../../http/core/request.ts";
import { headText } from "../../wire/head_text.ts";
import type { EventHub, Listener } from "./event_hub.ts";

/** Server-sent events (HTML Living Standard section 9.2): a first one with the whole matrix, and one for each change. */

const TYPE = headText("text/event-stream");
const CACHE_CONTROL = headText("Cache-Control");
const NO_STORE = headText("no-store");
/** For an nginx in front. */
const BUFFERING = headText("X-Accel-Buffering");
const NO = headText("no");
/** How long a client waits before it comes back, ms. */
const RETRY = "retry: 1000\n\n";
const EVENT_ID = /^([0-9a-f]{1,16})-(\d{1,15})$/;

/** Whether a request is for events: by `?events`, or its Accept field. */
export function wantsEvents({ args, headers }: Request): boolean {
  if (/(?:^|&)events(?:[=&]|$)/.test(args)) return true;
  return /(?:^|[\s,])text\/event-stream\b/i.test(headers.get("accept") ?? "");
}

/** Answers with events. Returns what a content handler returns. */
export function streamEvents(request: Request, hub: EventHub): number {
  if (hub.full) return 503;
  const { response } = request;
  response.status = 200;
  response.contentType = TYPE;
  response.headers.add(CACHE_CONTROL, "cache-control", NO_STORE);
  response.headers.add(BUFFERING, "x-accel-buffering", NO);
  const code = sendHeader(request);
  if (code !== OK || request.headerOnly) return code;
  hub.add(new EventStream(request, hub));
  return DONE;
}

class EventStream implements Listener {
  epoch = "";
  number = 0;
  readonly #request: Request;

  constructor(request: Request, hub: EventHub) {
    this.#request = request;
    const [, epoch, number] = EVENT_ID.exec(request.headers.get("last-event-id") ?? "") ?? [];
    if (epoch !== undefined) {
      this.epoch = epoch;
      this.number = Number(number);
    }
    request.cleanup ??= [];
    request.cleanup.push(() => hub.delete(this));
    request.onAbort = gone;
    request.onWritable = () => hub.catchUp(this);
    this.send(RETRY);
  }

  get blocked(): boolean {
    return !takesMore(this.#request);
  }

  send(text: string): void {
    if (!this.#request.finalized) passBody(this.#request, 0, text, FLUSH);
  }

  end(): void {
    const request = this.#request;
    if (request.finalized) return;
    request.onWritable = undefined;
    passBody(request, 0, "", LAST);
    finalizeRequest(request, OK);
  }
}

function gone(request: Request): void {
  finalizeRequest(request, CLIENT_CLOSED_REQUEST);
}
