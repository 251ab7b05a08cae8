import type { BalanceInput } from "../../balancer/attempt.ts";
import type { Group } from "../../balancer/group.ts";
import type { Pool } from "../../balancer/pool.ts";
import type { Level } from "../../runtime/log/log.ts";
import type { HeadText } from "../../wire/head_text.ts";
import type { HeaderList } from "../../wire/http1/header_list.ts";
import type { ResponseRules, UpstreamSettings } from "./settings.ts";

// What AnswerReader's functions return, whatever the protocol: HTTP/1's own codes.
export { DATA, INFORMATIONAL, INVALID, LAST, MORE, OVER } from "../../wire/http1/response_reader.ts";

/**
 * A wire protocol that servers are spoken to in. One object for all connections; what it knows of a single one (windows,
 * numbers of streams) begins with `open`.
 */
export interface UpstreamProtocol {
  /** Makes the codec of a new connection, before that is there. */
  open(port: CodecPort): UpstreamCodec;
}

/** What a codec has of its connection. */
export interface CodecPort {
  /** Sends bytes of the protocol's own, such as an acknowledgement or a window update. */
  write(bytes: Uint8Array | string): void;
  /** Logs what the server said beside its answer (FastCGI's error stream). `sentence` goes without "while reading …". */
  log(level: Level, sentence: string): void;
  /** `BodyCoding.room` has grown: the request's body may go on. */
  roomGrown(): void;
}

/** A protocol on one connection: one request and its answer at a time. */
export interface UpstreamCodec {
  readonly reader: AnswerReader;
  /** What is sent ahead of the body, as a byte string, of `target.head`: a new request begins with it. */
  requestHead(head: string): string;
  /** How that request's body is cut up; undefined where it goes as it is. `known`: its length was announced. */
  bodyCoding(known: boolean): BodyCoding | undefined;
}

/** How a request's body is cut up on the wire. Texts are byte strings. */
export interface BodyCoding {
  /** The largest piece that may be sent now. Where it is 0, the body waits for `CodecPort.roomGrown`. */
  readonly room: number;
  /** What stands before a piece of so many bytes, which is sent next, and behind it. */
  before(length: number): string;
  after(length: number): string;
  /** What follows the last piece. */
  readonly end: string;
}

/** An answer's head as requests use it, whatever it looked like on the wire. Valid until the reader begins another one. */
export interface AnswerHead {
  /** 9 where there is none (HTTP/0.9): the client gets none either. */
  readonly version: number;
  readonly status: number;
  /** The code and its text, as sent. */
  readonly statusLine: HeadText;
  readonly headers: HeaderList;
  /** -1 where it is not announced. */
  readonly contentLength: number;
  /** Bytes of the head. */
  readonly length: number;
  /** Where in `headers` the first Set-Cookie is, -1 without. */
  readonly setCookieAt: number;
  /** Sentences about fields that were left out (level warn). */
  readonly ignored: readonly string[] | undefined;
  readonly xAccelRedirect: string | undefined;
  readonly xAccelBuffering: string | undefined;
  readonly xAccelLimitRate: string | undefined;
  readonly xAccelCharset: HeadText | undefined;
}

/**
 * Reads the answers that come on one connection to a server: first a head, then its body. Made once a connection and
 * reused for every answer on it. Bytes are lent for the call; those that were read may be changed.
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
  /** After INVALID, and after HEAD where it is worth a word (level error): without "while reading …". */
  readonly error: string;
  /** After LAST and OVER: what is wrong with what followed (level warn), "" for nothing. */
  readonly excess: string;
  /** The whole answer has been read. */
  readonly whole: boolean;
  /** As far as the protocol goes, the connection can carry another request. */
  readonly reusable: boolean;

  /** Gets ready for an answer, its head of at most `bufferSize` bytes. */
  begin(bufferSize: number): void;
  /** Reads on in the head at `from`: MORE, HEAD, INFORMATIONAL or INVALID. */
  readHead(bytes: Buffer, from: number): number;
  /** After HEAD: finds out how the body ends. `more`: bytes follow the head already. */
  frame(headRequest: boolean, more: boolean): void;
  /** Reads on in the body at `from`: MORE, DATA, LAST, OVER or INVALID. */
  readBody(bytes: Buffer, from: number): number;
  /** The server has closed: whether the body is complete by that. */
  endsWithConnection(): boolean;
  /** The trailer fields of the body that was read, if any; they are the caller's. */
  takeTrailers(): HeaderList | undefined;
  /** The head stays with its request: the next answer gets another object. */
  leaveHead(): void;
}

/** How a request's bytes are made, and where they go. Filled by the protocol's module. */
export interface UpstreamTarget {
  readonly protocol: UpstreamProtocol;
  readonly group: Group;
  readonly pool: Pool | undefined;
  readonly settings: UpstreamSettings;
  readonly rules: ResponseRules;
  /** What `keepalive … local` knows the location by: the same text in every generation. */
  readonly place: string;
  /** What goes ahead of the body, as a byte string, for the codec's `requestHead`: for HTTP/1 the head with its blank line. */
  readonly head: string;
  /** proxy_set_body: the body in place of the client's. */
  readonly body: string | undefined;
  /** The head announces the length of the client's body, or there is none. */
  readonly lengthKnown: boolean;
  /** The method sent is HEAD: the answer has no body. */
  readonly headRequest: boolean;
  readonly input: BalanceInput;
  /** `http://upstream/uri` for the error log: scheme and uri, the peer is put between. */
  readonly scheme: string;
  readonly uri: string;
}
