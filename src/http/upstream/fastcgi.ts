import { STDIN_STREAM } from "../../wire/fastcgi.ts";
import { FastcgiReader } from "../../wire/fastcgi_reader.ts";
import type { BodyCoding, UpstreamCodec, UpstreamProtocol } from "./protocol.ts";

/** The request's body in records of at most 32 KiB, as nginx sends it. */
const STDIN: BodyCoding = { room: 32 * 1024, ...STDIN_STREAM };

/**
 * FastCGI. `target.head` has the records up to the end of the parameters. `keepConn`: what they ask of the connection.
 * `catchStderr`: an answer before whose head one of these is written to the error stream is invalid.
 */
export function fastcgiProtocol(keepConn: boolean, catchStderr: readonly string[]): UpstreamProtocol {
  return {
    identity: ["fastcgi", keepConn, ...catchStderr].join("\0"),
    open(port): UpstreamCodec {
      const stderr = (text: string): boolean => {
        const message = trimmed(text);
        port.log("error", `FastCGI sent in stderr: "${message}"`);
        return catchStderr.some((pattern) => message.includes(pattern));
      };
      return {
        reader: new FastcgiReader(keepConn, stderr),
        requestHead: (head) => head,
        bodyCoding: () => STDIN,
      };
    },
  };
}

const TRIMMED = "\r\n. ";

/** Without what ends a message; at least one character stays (nginx). */
function trimmed(text: string): string {
  let end = text.length;
  while (end > 1 && TRIMMED.includes(text[end - 1])) end--;
  return text.slice(0, end);
}
