/** A stream that has got something of what was read at once. */
export interface ReadStream {
  /** It will be told of its answer, and that more of its request may be sent. */
  answerCame: boolean;
  roomCame: boolean;
  /** The later it has sent something of its request, the larger. */
  readonly lastSent: number;
  onRead(): void;
  onRoom(): void;
  onFault(error: unknown): void;
}

/**
 * What streams have got of one read: they are told when all of it is passed on, once each, however many frames there were. A window
 * that is opened by single bytes is then one that is opened by many.
 */
export class ReadEnd<T extends ReadStream> {
  private readonly answered: T[] = [];
  private readonly roomy: T[] = [];

  answer(stream: T): void {
    if (stream.answerCame) return;
    stream.answerCame = true;
    this.answered.push(stream);
  }

  room(stream: T): void {
    if (stream.roomCame) return;
    stream.roomCame = true;
    this.roomy.push(stream);
  }

  /** All is passed on. Nothing is read meanwhile. */
  tell(): void {
    const { answered, roomy } = this;
    for (const stream of answered) {
      stream.answerCame = false;
      try {
        stream.onRead();
      } catch (error) {
        stream.onFault(error);
      }
    }
    answered.length = 0;
    if (roomy.length > 1) roomy.sort(byLastSent);
    for (const stream of roomy) {
      stream.roomCame = false;
      try {
        stream.onRoom();
      } catch (error) {
        stream.onFault(error);
      }
    }
    roomy.length = 0;
  }
}

/** Who has waited longest comes first: what there is room for on the connection may be no more than one can use. */
export function byLastSent(a: { readonly lastSent: number }, b: { readonly lastSent: number }): number {
  return a.lastSent - b.lastSent;
}
