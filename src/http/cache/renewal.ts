import fs from "node:fs";
import { errorCode, errorText } from "../../sys/errno.ts";
import { osPath } from "../../sys/paths.ts";
import { logOf } from "../core/log_context.ts";
import type { Request } from "../core/request.ts";
import type { Cache } from "./cache.ts";
import { decodeHead, fileFacts, renewedNumbers, type Validity } from "./entry_file.ts";
import type { StoredResponse } from "./stored_response.ts";

const { O_RDWR, O_NONBLOCK } = fs.constants;

/**
 * Notes in a stored response's file for how long it is fresh now, and returns it as it is with that
 * (ngx_http_file_cache_update_header). Nothing is written where the entry has another file by now. The numbers and their checksum
 * are written by one call, and a reader that gets a wrong checksum reads once more: it may have come in between.
 */
export function renewStored(
  request: Request,
  cache: Cache,
  digest: string,
  stored: StoredResponse,
  validity: Validity,
): StoredResponse {
  const head = { ...stored.head, ...validity };
  const renewed = { ...stored, head };
  const { body: file } = stored;
  // One that may be revalidated is not taken from memory.
  if (typeof file === "string") return renewed;
  let fd = -1;
  try {
    fd = fs.openSync(osPath(file.path), O_RDWR | O_NONBLOCK);
    const stats = fs.fstatSync(fd);
    // The other file is open still, so that no new one can have its number.
    if (stats.ino !== file.stats.ino || stats.dev !== file.stats.dev) return renewed;
    const bytes = Buffer.alloc(head.headBytes);
    if (fs.readSync(fd, bytes, 0, bytes.length, 0) < bytes.length || typeof decodeHead(bytes) === "string")
      return renewed;
    fs.writeSync(fd, renewedNumbers(bytes, validity), 0, undefined, 0);
    const generation = cache.index.renew(digest, stored.generation, fileFacts(head.headBytes, fs.fstatSync(fd)));
    return { ...renewed, generation };
  } catch (error) {
    const code = errorCode(error);
    if (code !== "ENOENT") {
      const call = fd < 0 ? "open" : "pwrite";
      const sentence = `${call}() "${file.path}" failed (${errorText(code)}) while reading response header from upstream`;
      cache.diskTrouble(logOf(request), sentence);
    }
    return renewed;
  } finally {
    if (fd >= 0) fs.closeSync(fd);
  }
}
