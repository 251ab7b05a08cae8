import fs from "node:fs";
import type { HeadText } from "../../wire/head_text.ts";
import { OK } from "../core/codes.ts";
import type { Request } from "../core/request.ts";
import { fileHead, sendFileHead } from "./served_file.ts";
import { keepSmallFile, SMALL, type SmallFile } from "./small_files.ts";
import { readSmall, sendFile, sendSmall } from "./static_file.ts";

/**
 * Answers with a file as it is. `coding`: how its content is compressed, where it stands for another file. Returns what a
 * content handler returns.
 */

/** Answers with a file in memory. */
export function sendKnown(request: Request, file: SmallFile, coding?: HeadText): number {
  const code = sendFileHead(request, file.body.length, file, coding);
  return code !== OK || request.headerOnly ? code : sendSmall(request, file.body);
}

/** Answers with an open file, and closes it. */
export function sendOpen(request: Request, path: string, fd: number, stats: fs.Stats, coding?: HeadText): number {
  let sending = false;
  try {
    const { size } = stats;
    const head = fileHead(stats, size);
    const code = sendFileHead(request, size, head, coding);
    if (code !== OK || request.headerOnly) return code;
    const body = size <= SMALL ? readSmall(fd, size) : undefined;
    if (body === undefined) {
      sending = true;
      return sendFile(request, fd, path, stats);
    }
    if (request.location.core.disableSymlinks === undefined) keepSmallFile(path, body, stats, head);
    return sendSmall(request, body);
  } finally {
    if (!sending) fs.closeSync(fd);
  }
}
