/** HTTP/2's frames (RFC 9113): their names, and the bytes of those that are sent. */

export const DATA = 0;
export const HEADERS = 1;
export const PRIORITY = 2;
export const RST_STREAM = 3;
export const SETTINGS = 4;
export const PUSH_PROMISE = 5;
export const PING = 6;
export const GOAWAY = 7;
export const WINDOW_UPDATE = 8;
export const CONTINUATION = 9;
/** RFC 9218 section 7.1 */
export const PRIORITY_UPDATE = 16;

export const FLAG = { ACK: 1, END_STREAM: 1, END_HEADERS: 4, PADDED: 8, PRIORITY: 0x20 } as const;

export const SETTING = {
  HEADER_TABLE_SIZE: 1,
  ENABLE_PUSH: 2,
  MAX_CONCURRENT_STREAMS: 3,
  INITIAL_WINDOW_SIZE: 4,
  MAX_FRAME_SIZE: 5,
  ENABLE_CONNECT_PROTOCOL: 8,
} as const;

/** Error codes (RFC 9113 section 7). */
export const ERROR = {
  NO_ERROR: 0,
  PROTOCOL_ERROR: 1,
  INTERNAL_ERROR: 2,
  FLOW_CONTROL_ERROR: 3,
  STREAM_CLOSED: 5,
  FRAME_SIZE_ERROR: 6,
  REFUSED_STREAM: 7,
  CANCEL: 8,
  COMPRESSION_ERROR: 9,
  ENHANCE_YOUR_CALM: 11,
} as const;

/** What a client sends first. */
export const PREFACE = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/** What a header block begins with that says: the sender uses no dynamic table (RFC 7541 section 6.3). */
export const NO_TABLE = "\x20";

export const FRAME_HEAD = 9;
export const DEFAULT_WINDOW = 65_535;
export const MAX_WINDOW = 0x7fff_ffff;
export const MAX_STREAM = 0x7fff_ffff;
export const DEFAULT_FRAME_SIZE = 16_384;
export const MAX_FRAME_SIZE = 0xff_ffff;

/** A frame's head as a byte string. */
export function frameHead(length: number, type: number, flags: number, stream: number): string {
  return String.fromCharCode(
    length >>> 16,
    (length >>> 8) & 0xff,
    length & 0xff,
    type,
    flags,
    stream >>> 24,
    (stream >>> 16) & 0xff,
    (stream >>> 8) & 0xff,
    stream & 0xff,
  );
}

/** Writes a frame's head to `bytes` from `at` on. Returns where it ends. */
export function writeFrameHead(
  bytes: Uint8Array,
  at: number,
  length: number,
  type: number,
  flags: number,
  stream: number,
): number {
  bytes[at] = length >>> 16;
  bytes[at + 1] = length >>> 8;
  bytes[at + 2] = length;
  bytes[at + 3] = type;
  bytes[at + 4] = flags;
  bytes[at + 5] = stream >>> 24;
  bytes[at + 6] = stream >>> 16;
  bytes[at + 7] = stream >>> 8;
  bytes[at + 8] = stream;
  return at + FRAME_HEAD;
}

/** 32 bits as a byte string. */
function word(value: number): string {
  return String.fromCharCode(value >>> 24, (value >>> 16) & 0xff, (value >>> 8) & 0xff, value & 0xff);
}

export function settingsFrame(settings: readonly (readonly [id: number, value: number])[]): string {
  const body = settings.map(([id, value]) => `${String.fromCharCode(id >>> 8, id & 0xff)}${word(value)}`).join("");
  return frameHead(body.length, SETTINGS, 0, 0) + body;
}

export const SETTINGS_ACK = frameHead(0, SETTINGS, FLAG.ACK, 0);

export function windowUpdate(stream: number, increment: number): string {
  return frameHead(4, WINDOW_UPDATE, 0, stream) + word(increment);
}

export function rstStream(stream: number, error: number): string {
  return frameHead(4, RST_STREAM, 0, stream) + word(error);
}

export function goaway(last: number, error: number): string {
  return frameHead(8, GOAWAY, 0, 0) + word(last) + word(error);
}

/** `data`: eight bytes. */
export function ping(data: string): string {
  return frameHead(8, PING, 0, 0) + data;
}

/** `data`: the eight bytes of the PING that it answers. */
export function pingAck(data: string): string {
  return frameHead(8, PING, FLAG.ACK, 0) + data;
}

/** A header block as HEADERS, and CONTINUATION where it is longer than a frame may be. */
export function headersFrames(stream: number, block: string, endStream: boolean, most: number): string {
  const end = endStream ? FLAG.END_STREAM : 0;
  if (block.length <= most) return frameHead(block.length, HEADERS, end | FLAG.END_HEADERS, stream) + block;
  let frames = frameHead(most, HEADERS, end, stream) + block.slice(0, most);
  for (let at = most; at < block.length; at += most) {
    const piece = block.slice(at, at + most);
    frames += frameHead(piece.length, CONTINUATION, at + most >= block.length ? FLAG.END_HEADERS : 0, stream) + piece;
  }
  return frames;
}
