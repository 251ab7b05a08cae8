import fs from "node:fs";
import { directive } from "../../config/directives.ts";
import { argument } from "../../wire/uri.ts";
import { LOCATION } from "../conf/contexts.ts";
import { defineModule } from "../conf/module.ts";
import { DECLINED, OK } from "../core/codes.ts";
import type { Request } from "../core/request.ts";
import { mapUriToPath } from "../files/file_root.ts";
import { fileHead, openServed, type ServedFile, sendFileHead } from "../files/served_file.ts";
import { type FileBody, sendFile } from "../files/static_file.ts";

/** ngx_http_flv_module: Flash videos from a position on. */
export const flv = defineModule({
  name: "http_flv",
  configure: "--with-http_flv_module",
  directives: {
    flv: directive<boolean>({
      in: LOCATION,
      args: [0, 0],
      syntax: "",
      doc: "Serves files as Flash videos: with an argument `start`, the file from that byte on, with the header of a video before it.",
      initial: () => false,
      inherit: false,
      read: () => true,
    }),
  },
  content: (settings) => (settings.flv ? serve : undefined),
});

/** Version 1, with audio and video, a header of 9 bytes; and the size of the tag before the first. */
const HEADER = Buffer.from("FLV\x01\x05\0\0\0\x09\0\0\0\0", "latin1");

function serve(request: Request): number {
  const { method, uri } = request;
  if (method !== "GET" && method !== "HEAD") return 405;
  if (uri.endsWith("/")) return DECLINED;
  const mapped = mapUriToPath(request);
  if (mapped === undefined) return 500;
  const file = openServed(request, mapped.path);
  return typeof file === "number" ? file : serveOpen(request, mapped.path, file);
}

/** Owns the descriptor: it is closed here, or by sendFile. */
function serveOpen(request: Request, path: string, { fd, stats }: ServedFile): number {
  let sending = false;
  try {
    if (!stats.isFile()) return DECLINED;
    const start = startOf(request, stats.size);
    const body: FileBody = { prefix: start === 0 ? NO_HEADER : HEADER, start, end: stats.size };
    const length = body.prefix.length + body.end - start;
    const code = sendFileHead(request, length, fileHead(stats, length));
    if (code !== OK || request.headerOnly) return code;
    sending = true;
    return sendFile(request, fd, path, stats, body);
  } finally {
    if (!sending) fs.closeSync(fd);
  }
}

const NO_HEADER = Buffer.alloc(0);

/** The argument `start`; 0 if it is no number, or not within the file. */
function startOf(request: Request, size: number): number {
  const text = argument(request.args, "start");
  const start = text !== undefined && /^\d+$/.test(text) ? Number(text) : 0;
  return start < size ? start : 0;
}
