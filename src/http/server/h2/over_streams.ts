/**
 * Streams that are over here before the client has ended its side of them: what it has sent, and sends until it knows, is passed over
 * (RFC 9113 section 5.1: "minimally process and then discard").
 */
export class OverStreams {
  /** In the order in which they ended: of the last ones the client may not know. */
  private ids: Set<number> | undefined = undefined;

  has(id: number): boolean {
    return this.ids?.has(id) === true;
  }

  /** `most`: how many streams the client may have at a time. When it has opened others, it knew of the first ones. */
  add(id: number, most: number): void {
    this.ids ??= new Set();
    this.ids.add(id);
    if (this.ids.size <= most) return;
    for (const first of this.ids) {
      this.ids.delete(first);
      return;
    }
  }

  /** The client has ended its side. False: it had done so before, or was known to know. */
  end(id: number): boolean {
    return this.ids?.delete(id) === true;
  }
}
