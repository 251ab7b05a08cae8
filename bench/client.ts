/** The least an HTTP/1.1 client needs to count responses of servers that are trusted: ours, in a measurement. */

/** Where a response stands between two reads. */
export interface Progress {
  /** Bytes of the head seen so far, while the head is not complete. */
  head: string;
  /** Bytes of the body still to come; -1 while the head is being read, Infinity for a chunked one. */
  left: number;
  /** The last bytes of a chunked body. */
  tail: string;
  status: number;
}

export function newProgress(): Progress {
  return { head: "", left: -1, tail: "", status: 0 };
}

const LAST_CHUNK = "\r\n0\r\n\r\n";

/** Takes the next bytes; true when the response is complete with them. Only one response may be under way. */
export function advance(progress: Progress, bytes: Buffer): boolean {
  let length = bytes.length;
  if (progress.left < 0) {
    progress.head += bytes.toString("latin1");
    const end = progress.head.indexOf("\r\n\r\n");
    if (end < 0) return false;
    const head = progress.head.slice(0, end);
    const declared = /\r\ncontent-length: *(\d+)/i.exec(head);
    const chunked = /\r\ntransfer-encoding: *chunked/i.test(head);
    if (declared === null && !chunked) throw new Error("a response without Content-Length");
    progress.status = Number(head.slice(9, 12));
    progress.left = declared === null ? Number.POSITIVE_INFINITY : Number(declared[1]);
    progress.tail = "";
    length = progress.head.length - end - 4;
    progress.head = "";
  }
  progress.left -= length;
  if (progress.left === Number.POSITIVE_INFINITY) {
    const last = bytes.subarray(Math.max(bytes.length - length, bytes.length - LAST_CHUNK.length));
    progress.tail = (progress.tail + last.toString("latin1")).slice(-LAST_CHUNK.length);
    if (progress.tail !== LAST_CHUNK) return false;
  } else if (progress.left > 0) {
    return false;
  }
  progress.left = -1;
  return true;
}

/** `fields`: lines of the head behind Host. */
export function requestFor(url: URL, fields: readonly string[] = []): string {
  const lines = [`GET ${url.pathname} HTTP/1.1`, `Host: ${url.host}`, ...fields];
  return `${lines.join("\r\n")}\r\n\r\n`;
}
