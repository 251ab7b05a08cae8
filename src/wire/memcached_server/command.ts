/**
 * What clients of a memcached ask for, in its text protocol (memcached's doc/protocol.txt). Keys and lines are byte strings; times are
 * as sent, in seconds: 0 is never, up to 30 days is from now on, more is a time of the wall clock, and less than 0 has passed.
 */
export type Command = Get | Store | Refused | Delete | Touch | Arithmetic | Meta | Flush | Stats | Reply | Close;

/** get, gets, gat, gats */
export interface Get {
  readonly kind: "get";
  readonly keys: readonly string[];
  readonly withCas: boolean;
  /** gat and gats: the items' new time. */
  readonly exptime: number | undefined;
}

export type StoreMode = "set" | "add" | "replace" | "append" | "prepend" | "cas";

/** What is to be stored, and under what. */
export interface Stored {
  readonly mode: StoreMode;
  readonly key: string;
  readonly flags: number;
  readonly exptime: number;
  /** The value that the item's cas unique must have; 0: any. */
  readonly cas: number;
}

export interface Store extends Stored {
  readonly kind: "store";
  readonly quiet: boolean;
  readonly data: Buffer;
  /** It came as ms, and is answered as that. */
  readonly meta: MetaFlags | undefined;
}

/** A value that was not taken. `key`: of an item that must not stay, since the client takes it to be replaced. */
export interface Refused {
  readonly kind: "refused";
  readonly key: string | undefined;
  readonly text: string;
}

export interface Delete {
  readonly kind: "delete";
  readonly key: string;
  readonly quiet: boolean;
}

export interface Touch {
  readonly kind: "touch";
  readonly key: string;
  readonly exptime: number;
  readonly quiet: boolean;
}

/** incr, decr */
export interface Arithmetic {
  readonly kind: "arithmetic";
  readonly key: string;
  readonly increment: boolean;
  readonly delta: bigint;
  readonly quiet: boolean;
}

export interface Flush {
  readonly kind: "flush";
  /** In so many seconds, or at that time; 0 or less: now. */
  readonly exptime: number;
  readonly quiet: boolean;
}

export interface Stats {
  readonly kind: "stats";
  /** "" for the general ones. */
  readonly of: string;
}

/** All that is to be done is to answer. */
export interface Reply {
  readonly kind: "reply";
  /** Without its line end; "": nothing. */
  readonly text: string;
}

export interface Close {
  readonly kind: "close";
  /** Why, for the log; "": the client asked for it. */
  readonly reason: string;
}

/** A value of `length` bytes and its line end follow on the command line. */
export interface DataFollows {
  readonly kind: "data";
  readonly length: number;
  /** undefined: the value is skipped, and this is the answer. */
  readonly stored: Stored | undefined;
  /** Of ms. */
  readonly meta: MetaFlags | undefined;
  readonly quiet: boolean;
  readonly error: string;
}

/** A meta command, but for ms, which is a Store. */
export interface Meta {
  readonly kind: "mg" | "md" | "ma" | "me";
  readonly key: string;
  readonly flags: MetaFlags;
}

/** What a meta command's flags say (struct _meta_flags). Times are as sent, in seconds. */
export interface MetaFlags {
  /** As they were sent: the answer has some of them again, in this order. */
  readonly words: readonly string[];
  /** b: the key was sent in Base64. */
  binary: boolean;
  /** q */
  quiet: boolean;
  /** v */
  value: boolean;
  /** I */
  invalidate: boolean;
  /** N */
  vivify: number | undefined;
  /** R */
  recache: number | undefined;
  /** T */
  exptime: number | undefined;
  /** F */
  clientFlags: number;
  /** C */
  cas: number | undefined;
  /** M: a letter; "" without. */
  mode: string;
  /** D */
  delta: bigint;
  /** J */
  initial: bigint;
}

/** KEY_MAX_LENGTH */
export const MOST_KEY_BYTES = 250;
/** What a value's length may be at all, in the command line: it is a C int, with the line end. */
export const MOST_DATA = 2 ** 31 - 1 - 2;
export const BAD_FORMAT = "CLIENT_ERROR bad command line format";

export function replyWith(text: string, quiet = false): Reply {
  return { kind: "reply", text: quiet ? "" : text };
}
