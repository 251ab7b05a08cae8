/** Bytes of a request's body that are kept. */
const MOST = 16 * 1024;

/**
 * The beginning of a body that is passed on as it comes. A server of HTTP/2 may say that it has not processed a request
 * (REFUSED_STREAM, GOAWAY): one that has had no more than this goes to another.
 */
export class KeptBody {
  readonly pieces: Buffer[] = [];
  /** The client's body was asked for. */
  started = false;
  /** More has come, or an answer. */
  lost = false;
  private length = 0;

  /** A piece, lent for the call. */
  add(bytes: Buffer): void {
    if (this.lost) return;
    this.length += bytes.length;
    if (this.length > MOST) this.drop();
    else this.pieces.push(Buffer.from(bytes));
  }

  drop(): void {
    this.lost = true;
    this.pieces.length = 0;
  }
}
