import fs from "node:fs";
import { directive, flag, size } from "../../../config/directives.ts";
import { argument } from "../../../wire/uri.ts";
import { HTTP_LOCATION, LOCATION } from "../../conf/contexts.ts";
import { defineModule } from "../../conf/module.ts";
import { DECLINED, DONE, OK } from "../../core/codes.ts";
import { finalizeIfAborted, finalizeRequest } from "../../core/engine.ts";
import type { Request } from "../../core/request.ts";
import { mapUriToPath } from "../../files/file_root.ts";
import { fileHead, openServed, type ServedFile, sendFileHead } from "../../files/served_file.ts";
import { type FileBody, sendFile } from "../../files/static_file.ts";
import { type Mp4Limits, Mp4Reading, type Mp4Result } from "./mp4_file.ts";

interface Settings {
  readonly limits: Mp4Limits;
  readonly fromKeyFrame: boolean;
}

/** ngx_http_mp4_module: a part of a movie, by time. */
export const mp4 = defineModule({
  name: "http_mp4",
  configure: "--with-http_mp4_module",
  directives: {
    mp4: directive<boolean>({
      in: LOCATION,
      args: [0, 0],
      syntax: "",
      doc: "Serves files as MP4 movies: with the arguments `start` and `end`, in seconds, the movie between them.",
      initial: () => false,
      inherit: false,
      read: () => true,
    }),
    mp4_buffer_size: size({
      in: HTTP_LOCATION,
      default: 512 * 1024,
      doc: "How long the metadata of a movie may be in any case, its atom `moov`.",
    }),
    mp4_max_buffer_size: size({
      in: HTTP_LOCATION,
      default: 10 * 1024 * 1024,
      doc: "How long the metadata of a movie may be at most, which is in memory while the movie is sent. A movie with longer ones is answered with 500.",
    }),
    mp4_start_key_frame: flag({
      in: HTTP_LOCATION,
      default: false,
      doc: "Whether the part of a movie begins with the key frame before `start`; an edit list has players skip what precedes `start`.",
    }),
  },
  build: (settings): Settings | undefined =>
    settings.mp4
      ? {
          limits: { bufferSize: settings.mp4_buffer_size, maxBufferSize: settings.mp4_max_buffer_size },
          fromKeyFrame: settings.mp4_start_key_frame,
        }
      : undefined,
  content: (settings) => settings && ((request) => serve(request, settings)),
});

function serve(request: Request, settings: Settings): number {
  const { method, uri } = request;
  if (method !== "GET" && method !== "HEAD") return 405;
  if (uri.endsWith("/")) return DECLINED;
  const mapped = mapUriToPath(request);
  if (mapped === undefined) return 500;
  const { path } = mapped;
  const file = openServed(request, path);
  if (typeof file === "number") return file;
  if (!file.stats.isFile()) {
    fs.closeSync(file.fd);
    return DECLINED;
  }
  const times = timesOf(request.args);
  if (times === undefined) return answer(request, path, file, undefined);
  return new PartialMovie(request, path, file, times, settings).begin();
}

/** A part of a movie, which is found in the file before it can be answered. */
class PartialMovie {
  readonly #request: Request;
  readonly #path: string;
  readonly #file: ServedFile;
  readonly #reading: Mp4Reading;
  /** The content handler has returned, so that the request is finalized here. */
  #waited = false;
  /** What the handler returns; undefined until the part is found. */
  #code: number | undefined = undefined;

  constructor(request: Request, path: string, file: ServedFile, times: Times, { limits, fromKeyFrame }: Settings) {
    this.#request = request;
    this.#path = path;
    this.#file = file;
    const cut = { file: path, size: file.stats.size, ...times, fromKeyFrame };
    this.#reading = new Mp4Reading(request, file.fd, cut, limits, (result) => this.#found(result));
    request.cleanup ??= [];
    request.cleanup.push(() => this.#reading.close());
  }

  /** Returns the content handler's code. */
  begin(): number {
    this.#reading.begin();
    if (this.#code !== undefined) return this.#code;
    const request = this.#request;
    this.#waited = true;
    request.onAbort = finalizeIfAborted;
    return DONE;
  }

  #found(result: Mp4Result): void {
    const request = this.#request;
    request.onAbort = undefined;
    const code = this.#answer(result);
    this.#code = code;
    if (this.#waited) finalizeRequest(request, code);
  }

  #answer(result: Mp4Result): number {
    if (result === "failed") {
      this.#reading.close();
      return 500;
    }
    this.#reading.handOver();
    return answer(this.#request, this.#path, this.#file, result === "whole" ? undefined : result);
  }
}

/** Answers with an open file, or with part of it behind what is in memory, and closes it. */
function answer(request: Request, path: string, { fd, stats }: ServedFile, body: FileBody | undefined): number {
  let sending = false;
  try {
    const length = body === undefined ? stats.size : body.prefix.length + body.end - body.start;
    const code = sendFileHead(request, length, fileHead(stats, length));
    if (code !== OK || request.headerOnly) return code;
    sending = true;
    return sendFile(request, fd, path, stats, body);
  } finally {
    if (!sending) fs.closeSync(fd);
  }
}

interface Times {
  /** Milliseconds; a length of 0 goes to the end. */
  readonly start: bigint;
  readonly length: bigint;
}

/** The arguments `start` and `end`; undefined without one that counts. */
function timesOf(args: string): Times | undefined {
  const start = milliseconds(argument(args, "start"));
  const end = milliseconds(argument(args, "end"));
  if (end === undefined || end === 0n) return start === undefined ? undefined : { start, length: 0n };
  const from = start ?? 0n;
  return { start: from, length: end > from ? end - from : 0n };
}

const MOST = 2n ** 63n - 1n;

/** Seconds with any number of decimals, of which three count (ngx_http_mp4_atofp). Undefined if it is no such number. */
function milliseconds(text: string | undefined): bigint | undefined {
  const parts = text === undefined ? null : /^(\d*)(?:\.(\d*))?$/.exec(text);
  if (parts === null || text === "") return undefined;
  const [, whole, decimals = ""] = parts;
  // Longer ones do not fit.
  if (whole.replace(/^0+/, "").length > 19) return undefined;
  const value = BigInt(`0${whole}${decimals.slice(0, 3).padEnd(3, "0")}`);
  return value > MOST ? undefined : value;
}
