import type { TestContext } from "node:test";
import * as h2 from "../../src/wire/h2/frames.ts";
import { httpBackend } from "./backend.ts";
import { RawH2 } from "./h2.ts";
import { data, type Fields, request } from "./h2_bytes.ts";
import { greetingLines, streamLines } from "./h2_transcript.ts";
import { type ProgramOptions, type Running, startHoldfast, startNginx } from "./holdfast.ts";
import { LogMarks, withoutPlaces } from "./log_marks.ts";
import { assertAsNginx, type Said } from "./recorded_nginx.ts";
import { waitFor } from "./wait.ts";

/** Clients of HTTP/2 that Holdfast and nginx are asked by: what they send, and all that they get. */

/** What is sent; a function waits for something. */
export type Step = string | ((client: RawH2) => Promise<unknown>);

export interface Case {
  /** The address to connect to. */
  readonly server: string;
  readonly steps: readonly Step[];
  /** How many streams end before the client closes; 0: it waits for the server to close. */
  readonly streams?: number;
  /** The lengths of frames are compared. */
  readonly sizes?: boolean;
  /** The body is not read: so is what the client is told of that. */
  readonly unread?: boolean;
  readonly greeting?: boolean;
  /** The client closes at the end of the steps. */
  readonly leaves?: boolean;
}

/** To the server that is named "plain". */
export const plain = (...steps: Step[]): Case => ({ server: "plain", steps });
export const at = (server: string, ...steps: Step[]): Case => ({ server, steps });
/** The server closes. */
export const until = (one: Case): Case => ({ ...one, streams: 0 });
export const leaving = (...steps: Step[]): Case => ({ ...plain(...steps), leaves: true });

export const ended = (stream: number) => (client: RawH2) =>
  waitFor(() => hasEnded(client, stream), `the end of stream ${stream}`);

function hasEnded({ frames, ended }: RawH2, stream: number): boolean {
  const ends = ({ type, flags }: { readonly type: number; readonly flags: number }) =>
    type === h2.RST_STREAM || ((type === h2.DATA || type === h2.HEADERS) && (flags & h2.FLAG.END_STREAM) !== 0);
  return ended || frames.some((one) => one.stream === stream && ends(one));
}

/** What the servers behind have been asked in the case at hand. */
let asks: string[] = [];
export const asked = (what: string) => () => waitFor(() => asks.includes(what), `"${what}" at the server`);

/** A request whose body goes on once its server has got the head and what has come of it. */
export const streamed = (fields: Fields = []): Step[] => [
  request(1, "POST", "/stream", fields, h2.FLAG.END_HEADERS) + data(1, "123", 0),
  asked("POST /stream"),
];

/** The address of each server: of the one and only port, with an IP address of its own. */
export function hostsOf(servers: readonly string[]): ReadonlyMap<string, string> {
  return new Map(servers.map((name, i) => [name, `127.0.0.${i + 2}`]));
}

export interface ClientTest {
  /** Of the file in test/recorded. */
  readonly name: string;
  readonly hosts: ReadonlyMap<string, string>;
  /** `backend`: the address of a server that answers what it was asked, and nothing to /silent. The log's lines are about requests. */
  readonly config: (backend: string) => (ports: readonly number[]) => string;
  readonly files?: ProgramOptions["files"];
  readonly cases: Readonly<Record<string, Case>>;
  /** Cases that must differ, and why. */
  readonly others: Readonly<Record<string, string>>;
}

/** Plays the cases with Holdfast, and compares with nginx. */
export async function compareClients(
  t: TestContext,
  { name, hosts, config, files, cases, others }: ClientTest,
): Promise<void> {
  const backend = await httpBackend(t, (asking, response) => {
    const { method, url, headers } = asking;
    asks.push(`${method} ${url}`);
    asking.on("error", () => {});
    if (url === "/silent") return;
    if (url === "/hints") response.writeEarlyHints({ link: "</style.css>; rel=preload; as=style" });
    if (url === "/set") response.writeHead(200, { server: "theirs", date: "today", "x-one": headers.x ?? "" });
    let body = "";
    asking.setEncoding("latin1");
    asking.on("data", (text: string) => {
      body += text;
    });
    asking.on("end", () => response.end(`${method} ${url} ${body}`));
  });
  const options = { config: config(backend.address), files };
  const observe = async (server: Running): Promise<Said> => {
    const marks = new LogMarks(server, server.port, { [backend.address]: "BACKEND" });
    await marks.lines();
    const said = new Map<string, string[]>();
    for (const [what, one] of Object.entries(cases)) {
      const lines = await play(t, server, hosts.get(one.server) ?? "127.0.0.1", one);
      said.set(what, [...lines, ...(await marks.lines())]);
    }
    return said;
  };
  const said = await observe(await startHoldfast(t, options));
  await assertAsNginx(name, said, async (binary) => observe(await startNginx(t, options, binary)), others);
}

async function play(t: TestContext, server: Running, host: string, one: Case): Promise<string[]> {
  asks = [];
  const client = await RawH2.open(t, server.port, [], host);
  for (const step of one.steps) {
    if (typeof step === "string") client.write(step);
    else await step(client);
  }
  const { streams = 1, leaves = false } = one;
  if (!leaves) for (let i = 0; i < streams; i++) await ended(2 * i + 1)(client);
  const { ended: closed } = client;
  // It reads until the server has closed too: else what still comes is answered with a reset, which is logged.
  if (streams !== 0) client.socket.end();
  await waitFor(() => client.ended, "the end of the connection");
  client.socket.destroy();
  return [
    ...(one.greeting === true ? greetingLines(client.frames) : []),
    ...streamLines(client.frames, one).map((line) => withoutPlaces(line, server)),
    ...(closed || streams === 0 ? ["closed"] : []),
  ];
}
