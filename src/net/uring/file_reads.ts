import { errnoName } from "../../sys/errno.ts";
import { contain } from "../../sys/guard.ts";
import { REGISTER_IOWQ_MAX_WORKERS } from "../../sys/io_uring.ts";
import { libc } from "../../sys/libc.ts";
import { FILE_PIECE, type FileReadHandler } from "../engine.ts";
import { streamError } from "../errors.ts";
import type { Context } from "./context.ts";
import type { Operator } from "./owners.ts";
import type { Piece } from "./send_memory.ts";

/**
 * How many threads of the kernel's may read at a time. By default it is four for each core: so many that wait for a file
 * server that is gone would keep all others waiting.
 */
const THREADS = 64;

const EINTR = -4;
const EAGAIN = -11;
const ENOMEM = -12;
/** <fcntl.h> */
const F_GETFL = 3;
const F_SETFL = 4;
const O_NONBLOCK = 0x800;

const NOTHING = Buffer.alloc(0);

/** Reads files through the ring: `Engine.readFile`. */
export class FileReads {
  private readonly context: Context;
  /** Those that are over, to be used again. */
  private readonly idle: FileRead[] = [];

  constructor(context: Context) {
    const { calls, ring } = context;
    this.context = context;
    // Without it there are fewer.
    calls.register(ring.fd, REGISTER_IOWQ_MAX_WORKERS, new Uint8Array(new Uint32Array([THREADS, 0]).buffer), 2);
  }

  read(fd: number, position: number, length: number, handler: FileReadHandler): void {
    const { context, idle } = this;
    const wanted = Math.min(length, FILE_PIECE);
    const piece = context.memory.take(wanted);
    if (piece === undefined) context.loop.loop.defer(withoutMemory, handler, undefined);
    else (idle.pop() ?? new FileRead(context, idle)).start(fd, position, wanted, handler, piece);
  }
}

function withoutMemory(handler: FileReadHandler): void {
  pass(handler, NOTHING, ENOMEM);
}

function pass(handler: FileReadHandler, bytes: Buffer, result: number): void {
  try {
    handler.onFileRead(bytes, result < 0 ? streamError({ code: errnoName(result) }) : undefined);
  } catch (error) {
    contain(handler, error);
  }
}

/** A read under way. */
class FileRead implements Operator {
  private readonly context: Context;
  private readonly idle: FileRead[];
  private readonly id: number;
  private fd = -1;
  private position = 0;
  private length = 0;
  private handler: FileReadHandler | undefined = undefined;
  /** What the kernel reads into. */
  private piece: Piece | undefined = undefined;
  /** It was tried again. */
  private again = false;

  constructor(context: Context, idle: FileRead[]) {
    this.context = context;
    this.idle = idle;
    this.id = context.ring.owners.add(this);
  }

  start(fd: number, position: number, length: number, handler: FileReadHandler, piece: Piece): void {
    this.fd = fd;
    this.position = position;
    this.length = length;
    this.handler = handler;
    this.piece = piece;
    this.again = false;
    this.context.loop.hold();
    this.submit(piece);
  }

  private submit({ addressLow, addressHigh }: Piece): void {
    this.context.ring.readFile(this.id, this.fd, addressLow, addressHigh, this.length, this.position);
  }

  complete(_kind: number, result: number): void {
    const { handler, piece } = this;
    if (handler === undefined || piece === undefined) return;
    if ((result === EAGAIN || result === EINTR) && !this.again) {
      // Some kernels do not wait for file systems such as FUSE where O_NONBLOCK is set, as it is for FIFOs (open_file.ts).
      const c = libc();
      c.fcntl(this.fd, F_SETFL, c.fcntl(this.fd, F_GETFL, 0) & ~O_NONBLOCK);
      this.again = true;
      this.submit(piece);
      return;
    }
    this.handler = undefined;
    this.piece = undefined;
    pass(handler, result < 0 ? NOTHING : piece.bytes.subarray(0, result), result);
    piece.release();
    this.idle.push(this);
    this.context.loop.letGo();
  }
}
