import type { TestContext } from "node:test";
import * as h2 from "../../src/wire/h2/frames.ts";
import { HpackDecoder } from "../../src/wire/h2/hpack_decoder.ts";
import { RawH2Server } from "./h2_backend.ts";
import { fieldsOf, oneLine, shortened } from "./h2_transcript.ts";

/** A server of HTTP/2 that answers with the frames of the test. */

const { END_STREAM, END_HEADERS } = h2.FLAG;

/** What is written for a request on that stream, piece by piece; undefined: the server closes then. */
export type Script = (stream: number) => readonly (string | undefined)[];

/** What came of requests since it was asked last: fields, body, and what else was said on their streams. */
export interface ScriptedServer {
  readonly port: number;
  requests(): string[];
}

/** What is written before a request is whole: once so many bytes of its body have come. */
export interface EarlyScript {
  readonly after: number;
  readonly script: Script;
}

/** Starts one that answers each request, once it is whole, as `scriptOf` its fields says; `earlyOf`: what it says before. */
export async function scriptedH2(
  t: TestContext,
  scriptOf: (fields: readonly string[]) => Script | undefined,
  earlyOf: (fields: readonly string[]) => EarlyScript | undefined = () => undefined,
): Promise<ScriptedServer> {
  let said: string[] = [];
  const server = await RawH2Server.start(t, h2.settingsFrame([]), (connection) => {
    const decoder = new HpackDecoder();
    const bodies = new Map<number, { fields: readonly string[]; body: string; early: EarlyScript | undefined }>();
    const play = async (stream: number, script: Script | undefined): Promise<void> => {
      for (const piece of script?.(stream) ?? []) {
        if (piece === undefined) connection.socket.end();
        else await new Promise((resolve) => connection.socket.write(Buffer.from(piece, "latin1"), resolve));
      }
    };
    const answer = (stream: number): Promise<void> => {
      const { fields = [], body = "" } = bodies.get(stream) ?? {};
      said.push(...fields.map((field) => `server: ${shortened(oneLine(field))}`));
      if (body !== "") said.push(`server: body ${shortened(oneLine(body))}`);
      return play(stream, scriptOf(fields));
    };
    const interrupt = (stream: number): void => {
      const of = bodies.get(stream);
      if (of?.early === undefined || of.body.length < of.early.after) return;
      const { script } = of.early;
      of.early = undefined;
      void play(stream, script);
    };
    let pending = Buffer.alloc(0);
    connection.onFrame = ({ type, flags, stream, payload }) => {
      if (type === h2.HEADERS || type === h2.CONTINUATION) {
        pending = Buffer.concat([pending, payload]);
        if ((flags & END_HEADERS) !== 0) {
          const fields = fieldsOf(decoder, pending);
          bodies.set(stream, { fields, body: "", early: earlyOf(fields) });
          pending = Buffer.alloc(0);
        }
      } else if (type === h2.DATA) {
        const of = bodies.get(stream);
        if (of !== undefined) of.body += payload.latin1Slice();
      } else if (type === h2.SETTINGS && (flags & h2.FLAG.ACK) === 0) {
        connection.write(h2.SETTINGS_ACK);
      }
      interrupt(stream);
      if ((type === h2.DATA || type === h2.HEADERS) && (flags & END_STREAM) !== 0) void answer(stream);
    };
  });
  return {
    port: server.port,
    requests() {
      const taken = said;
      said = [];
      return taken;
    },
  };
}
