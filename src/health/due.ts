/** An item of the heap. `place` is its index there; -1 while it is not in it. */
export interface Due {
  due: number;
  place: number;
}

/** A binary heap by due time, earliest first. All operations are O(log n); none allocates. */
export class DueHeap<T extends Due> {
  private readonly items: T[] = [];

  get first(): T | undefined {
    return this.items[0];
  }

  get size(): number {
    return this.items.length;
  }

  /** Puts an item in, or moves it to its new time. */
  set(item: T, due: number): void {
    item.due = due;
    if (item.place === -1) {
      item.place = this.items.length;
      this.items.push(item);
    }
    this.up(item);
    this.down(item);
  }

  remove(item: T): void {
    const { place } = item;
    if (place === -1) return;
    item.place = -1;
    const last = this.items.pop();
    if (last === undefined || last === item) return;
    this.items[place] = last;
    last.place = place;
    this.up(last);
    this.down(last);
  }

  private up(item: T): void {
    let { place } = item;
    while (place > 0) {
      const above = (place - 1) >> 1;
      const other = this.items[above];
      if (other.due <= item.due) break;
      this.items[place] = other;
      other.place = place;
      place = above;
    }
    this.items[place] = item;
    item.place = place;
  }

  private down(item: T): void {
    const { items } = this;
    let { place } = item;
    for (;;) {
      let below = 2 * place + 1;
      if (below >= items.length) break;
      if (below + 1 < items.length && items[below + 1].due < items[below].due) below++;
      const other = items[below];
      if (other.due >= item.due) break;
      items[place] = other;
      other.place = place;
      place = below;
    }
    items[place] = item;
    item.place = place;
  }
}
