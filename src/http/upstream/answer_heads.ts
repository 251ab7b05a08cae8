import type { Level } from "../../runtime/log/log.ts";
import { logError } from "../core/log_context.ts";
import type { Request } from "../core/request.ts";
import type { AnswerHead } from "../core/upstream.ts";
import { passEarlyHints } from "./headers.ts";
import { type AnswerReader, INFORMATIONAL, INVALID, MORE } from "./protocol.ts";
import type { UpstreamSettings } from "./settings.ts";

/** How many informational answers may precede the final one: a broken server might send them endlessly. */
const MOST_INFORMATIONAL = 100;

/**
 * Reads the head of an answer and the informational answers before it (RFC 9110 section 15.2): passes on early hints, and
 * logs what is wrong. One object for all answers on a connection.
 */
export class AnswerHeads {
  private readonly reader: AnswerReader;
  /** Informational answers so far, and the bytes of early hints in them. */
  private informational = 0;
  private hintsLength = 0;

  constructor(reader: AnswerReader) {
    this.reader = reader;
  }

  /** Prepares for a request's answer, whose head may have `bufferSize` bytes. */
  begin(bufferSize: number): void {
    this.informational = 0;
    this.hintsLength = 0;
    this.reader.begin(bufferSize);
  }

  /** Reads on: MORE, INVALID, or HEAD with the final answer's head, which ends at the reader's `pos`. */
  read(bytes: Buffer, request: Request, settings: UpstreamSettings): number {
    const { reader } = this;
    let code = reader.readHead(bytes, 0);
    while (code === INFORMATIONAL) {
      if (++this.informational > MOST_INFORMATIONAL) {
        log(request, "error", "upstream sent too many informational responses");
        return INVALID;
      }
      if (reader.head.status === 103) this.takeHints(reader.head, request, settings);
      const { pos } = reader;
      reader.begin(settings.bufferSize);
      if (pos === bytes.length) return MORE;
      code = reader.readHead(bytes, pos);
    }
    if (code === MORE) return MORE;
    if (reader.error !== "") log(request, "error", reader.error);
    if (code === INVALID) return INVALID;
    const { ignored } = reader.head;
    if (ignored !== undefined) {
      for (const sentence of ignored) log(request, "warn", sentence);
    }
    return code;
  }

  private takeHints(head: AnswerHead, request: Request, settings: UpstreamSettings): void {
    const { bufferSize, earlyHints, hidden } = settings;
    if (earlyHints.length === 0) return;
    this.hintsLength += head.length;
    if (this.hintsLength <= bufferSize) passEarlyHints(request, head.headers, earlyHints, hidden);
    else log(request, "info", "upstream sent too big early hints");
  }
}

function log(request: Request, level: Level, sentence: string): void {
  logError(request, level, `${sentence} while reading response header from upstream`);
}
