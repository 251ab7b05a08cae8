import type { TestContext } from "node:test";
import { type Backend, type BackendConnection, tcpBackend } from "./backend.ts";

/** The protocols whose requests are a packet of parameters and then the body. */
export type PacketProtocol = "uwsgi" | "scgi";

/** A request as an application got it. Byte strings. */
export interface PacketRequest {
  /** The packet as it came. */
  readonly packet: string;
  readonly params: ReadonlyMap<string, string>;
  readonly body: string;
}

/** An application of the test's own that speaks uwsgi or SCGI. `respond` is called once a connection, and closes it. */
export function packetBackend(
  t: TestContext,
  protocol: PacketProtocol,
  respond: (request: PacketRequest, connection: BackendConnection) => void | Promise<void>,
): Promise<Backend> {
  const packet = protocol === "uwsgi" ? uwsgiPacket : scgiPacket;
  return tcpBackend(t, async (connection) => {
    const head = await connection.read((received) => packet(received) !== undefined);
    const read = head === undefined ? undefined : packet(head);
    if (head === undefined || read === undefined) return;
    const { end, params } = read;
    connection.received = head.slice(end) + connection.received;
    const length = Number(params.get("CONTENT_LENGTH") ?? "");
    const body = length === 0 ? "" : await connection.read((received) => received.length >= length);
    if (body !== undefined) await respond({ packet: head.slice(0, end), params, body }, connection);
  });
}

interface Packet {
  readonly end: number;
  readonly params: ReadonlyMap<string, string>;
}

/** The packet at the beginning of `bytes`; undefined while it is not whole. */
function uwsgiPacket(bytes: string): Packet | undefined {
  const number = (at: number) => bytes.charCodeAt(at) | (bytes.charCodeAt(at + 1) << 8);
  const end = bytes.length < 4 ? Number.POSITIVE_INFINITY : 4 + number(1);
  if (bytes.length < end) return undefined;
  const params = new Map<string, string>();
  for (let at = 4; at < end; ) {
    const value = at + 2 + number(at);
    const next = value + 2 + number(value);
    params.set(bytes.slice(at + 2, value), bytes.slice(value + 2, next));
    at = next;
  }
  return { end, params };
}

function scgiPacket(bytes: string): Packet | undefined {
  const [head, length] = /^(\d+):/.exec(bytes) ?? [];
  if (head === undefined || bytes.length < head.length + Number(length) + 1) return undefined;
  const end = head.length + Number(length);
  const texts = bytes.slice(head.length, end - 1).split("\0");
  const params = new Map<string, string>();
  for (let at = 0; at + 1 < texts.length; at += 2) params.set(texts[at], texts[at + 1]);
  return { end: end + 1, params };
}
