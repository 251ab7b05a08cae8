import type { BalanceInput } from "../../balancer/attempt.ts";
import type { Level } from "../../runtime/log/log.ts";
import type { HeaderList } from "../../wire/http1/header_list.ts";
import type { UpstreamEntry } from "../conf/upstreams.ts";
import type { AnswerHead } from "../core/upstream.ts";
import type { ResponseRules, UpstreamSettings } from "./settings.ts";
import type { TlsChoice } from "./tls.ts";

// What AnswerReader's functions return, whatever the protocol: HTTP/1's own codes.
export { BROKEN, DATA, INFORMATIONAL, INVALID, LAST, MORE, OVER } from "../../wire/http1/response_reader.ts";

/**
 * A wire protocol to servers. One object for all connections; the state of a connection is in the codec that `open` makes.
 */
export interface UpstreamProtocol {
  /** A connection in the pool is for requests with the same identity: the protocol, and what it was opened with. "" for HTTP/1. */
  readonly identity: string;
  /** Makes the codec of a new connection, before it is connected. Undefined: HTTP/2, whose connections carry several requests. */
  readonly open: ((port: CodecPort) => UpstreamCodec) | undefined;
  /** An answer that ends with its head has a body of no bytes, and a length of 0, if it announces none. */
  readonly zeroLength?: boolean;
}

/** What a codec may use of its connection. */
export interface CodecPort {
  /** Sends bytes of the protocol itself, such as an acknowledgement or a window update. */
  write(bytes: Uint8Array | string): void;
  /**
   * Logs messages that the server sent besides its answer (FastCGI's error stream), given without "while reading …".
   */
  log(level: Level, sentence: string): void;
  /** `BodyCoding.room` has grown: more of the request's body may be sent. */
  roomGrown(): void;
}

/** A protocol on one connection: one request and its answer at a time. */
export interface UpstreamCodec extends RequestCoding {
  readonly reader: AnswerReader;
}

/** How requests are written. */
export interface RequestCoding {
  /** A server may refuse a request unprocessed, so that the beginning of its body is kept for another. */
  readonly refuses?: boolean;
  /**
   * Returns what is sent ahead of the body, as a byte string, from `target.head`. A new request begins with this call.
   * `bodiless`: no body follows.
   */
  requestHead(head: string, bodiless: boolean): string;
  /** The framing of that request's body; undefined if it is sent as it is. `known`: its length was announced. */
  bodyCoding(lengthKnown: boolean): BodyCoding | undefined;
}

/** The framing of a request's body. Texts are byte strings. */
export interface BodyCoding {
  /** The largest piece that may be sent now. At 0 the body waits for `CodecPort.roomGrown`. */
  readonly room: number;
  /** What precedes a piece of `length` bytes, which is sent next, and what follows it. `last`: no other follows, nor `end`. */
  before(length: number, last: boolean): string;
  after(length: number, last: boolean): string;
  /** What follows the last piece, if that was not sent as such. */
  readonly end: string;
  /** What is sent in place of a body where there is none. */
  readonly none: string;
}

/**
 * Reads the answers on one connection to a server: first a head, then its body. Made once per connection and reused for
 * all its answers. Bytes are lent for the call, and those that were read may be overwritten.
 */
export interface AnswerReader {
  readonly head: AnswerHead;
  /** After `readHead`: the first byte behind the head. After DATA: where to go on. */
  readonly pos: number;
  /** Body bytes that an earlier `readHead` took for a head. */
  readonly early: Buffer | undefined;
  /** After DATA and LAST. */
  readonly dataStart: number;
  readonly dataEnd: number;
  /** After INVALID and BROKEN, and after HEAD if something should be logged (level error), without "while reading …". */
  readonly error: string;
  /** After LAST and OVER: what is wrong with what followed (level warn), "" for nothing. */
  readonly excess: string;
  /** The whole answer has been read. */
  readonly whole: boolean;
  /** The protocol allows another request on the connection. */
  readonly reusable: boolean;
  /** After OVER: the server says something more, and closes then; closed before, the connection would be reset. */
  readonly awaitsClose?: boolean;

  /** Prepares for an answer whose head may have `bufferSize` bytes. */
  begin(bufferSize: number): void;
  /** Reads on in the head at `from`: MORE, HEAD, INFORMATIONAL or INVALID. */
  readHead(bytes: Buffer, from: number): number;
  /** To be called after HEAD: determines how the body ends. `more`: bytes follow the head already. */
  frame(headRequest: boolean, more: boolean): void;
  /** Reads on in the body at `from`: MORE, DATA, LAST, OVER, INVALID or BROKEN. */
  readBody(bytes: Buffer, from: number): number;
  /** Called when the server has closed: whether that completes the body. */
  endsWithConnection(): boolean;
  /** The trailer fields of the body that was read, if any; the caller owns them. */
  takeTrailers(): HeaderList | undefined;
  /** Leaves the head to its request: the next answer gets another object. */
  leaveHead(): void;
}

/**
 * What to send to the server, and which servers there are. Filled in by the protocol's module; what is the same for all
 * requests of a location is in `settings`.
 */
export interface UpstreamTarget extends BalanceInput {
  readonly settings: UpstreamSettings;
  readonly rules: ResponseRules;
  readonly upstream: UpstreamEntry;
  /** Undefined: without TLS. */
  readonly tls: TlsChoice | undefined;
  /**
   * What precedes the body, as a byte string, for the codec's `requestHead`: for HTTP/1 the head with its empty line.
   */
  readonly head: string;
  /** proxy_set_body: the body in place of the client's. */
  readonly body: string | undefined;
  /** The head announces the length of the client's body, or there is none. */
  readonly lengthKnown: boolean;
  /** The method sent is HEAD: the answer has no body. */
  readonly headRequest: boolean;
  /** `http://upstream/uri` for the error log: scheme and URI, between which the peer is put. */
  readonly scheme: string;
  readonly uri: string;
}
