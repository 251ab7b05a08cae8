import type { Zone } from "./zone.ts";

/**
 * Allocates memory within a zone, as ngx_slab.c does: pages of 4 KiB; a request of up to half a page gets a slot, and a page
 * holds slots of one size; a larger request gets a run of pages. Slots have a power of two bytes, or, unlike nginx's, three
 * quarters of one: an entry of a cache has less than 96 bytes, of which a page takes 42, where nginx has 32. Memory is named by the
 * index of its first word, an even one, so that a float fits. The first word of what is free belongs to the slab; the
 * others are as they were left, zeros at first. Everything here wants the zone's lock held.
 *
 *     heads (a word for each slot size, one for free runs) · six words for each page · pages
 *
 * All metadata is in words that `repair` can read at any point where a process may have died.
 */
const PAGE_SHIFT = 12;
const PAGE_BYTES = 1 << PAGE_SHIFT;
const PAGE_WORDS = PAGE_BYTES / 4;

/**
 * What a page is: as here, or the kind of its slots, which is twice the exponent of the next power of two, less one for three
 * quarters of that. The first and the last page of a run say how long it is.
 */
const FREE = 0;
const BUSY = 1;
/** Slots of 8 bytes. */
const LEAST_KIND = 6;
/** Slots of 2,048 bytes. */
const GREATEST_KIND = 2 * (PAGE_SHIFT - 1);

/** Bytes of the slots of a kind. */
function slotBytes(kind: number): number {
  return (kind & 1) === 0 ? 1 << (kind >> 1) : 3 << ((kind - 3) >> 1);
}

/** How many a page holds. */
function slotsOf(kind: number): number {
  return Math.floor(PAGE_BYTES / slotBytes(kind));
}

/** The kind of the least slots with that many bytes, up to half a page. Slots begin at even words: 12 bytes would not do. */
function kindFor(bytes: number): number {
  if (bytes <= 8) return LEAST_KIND;
  const shift = 32 - Math.clz32(bytes - 1);
  return bytes > 16 && bytes <= 3 << (shift - 2) ? 2 * shift - 1 : 2 * shift;
}

/** Words of a page's description. */
const KIND = 0;
/** Of slots: how many are in use. Of a run: its pages, in its first and last page. */
const COUNT = 1;
/** The list that the page is in: free runs, or pages of one size with a free slot. Page numbers plus one; 0 for none. */
const NEXT = 2;
const PREVIOUS = 3;
/** A slot that was freed, whose first word is the next such slot; 0 for none. */
const FREED = 4;
/** How many slots from the page's start on have ever been in use. */
const REACHED = 5;
const DESCRIPTION = 6;

/** The lists' heads: free runs, then pages of each kind. */
const RUNS = 0;
const HEADS = GREATEST_KIND + 1;

export class Slab {
  readonly #words: Int32Array;
  /** The word index of the heads, of the first description and of the first page. */
  readonly #heads: number;
  readonly #descriptions: number;
  readonly #first: number;
  /** How many pages there are. */
  readonly pages: number;

  /** Over the words of a zone from `from` on. `format` first, unless that was done. */
  constructor({ words }: Zone, from: number) {
    this.#words = words;
    this.#heads = from;
    this.#descriptions = from + HEADS;
    const left = words.length - this.#descriptions - 1;
    this.pages = Math.max(0, Math.floor(left / (PAGE_WORDS + DESCRIPTION)));
    const end = this.#descriptions + this.pages * DESCRIPTION;
    this.#first = end + (end & 1);
  }

  /** Makes all of it free. */
  format(): void {
    this.#words.fill(0, this.#heads, this.#first);
    if (this.pages > 0) this.#addRun(0, this.pages);
  }

  /** Memory of at least that many bytes; undefined where there is none. */
  alloc(bytes: number): number | undefined {
    if (bytes > PAGE_BYTES / 2) {
      const page = this.#takeRun(Math.ceil(bytes / PAGE_BYTES), BUSY);
      return page === -1 ? undefined : this.#first + page * PAGE_WORDS;
    }
    const kind = kindFor(bytes);
    let page = this.#words[this.#heads + kind] - 1;
    if (page === -1) {
      page = this.#takeRun(1, kind);
      if (page === -1) return undefined;
      this.#push(kind, page);
    }
    return this.#takeSlot(page, kind);
  }

  #takeSlot(page: number, kind: number): number {
    const words = this.#words;
    const at = this.#descriptions + page * DESCRIPTION;
    let slot = words[at + FREED];
    if (slot !== 0) words[at + FREED] = words[slot];
    else slot = this.#first + page * PAGE_WORDS + words[at + REACHED]++ * (slotBytes(kind) >> 2);
    if (++words[at + COUNT] === slotsOf(kind)) this.#unlink(kind, page);
    return slot;
  }

  /** Gives memory back. Throws RangeError for what `alloc` cannot have given out. */
  free(slot: number): void {
    const words = this.#words;
    const page = this.#pageOf(slot);
    const at = this.#descriptions + page * DESCRIPTION;
    const kind = words[at + KIND];
    const offset = slot - this.#first - page * PAGE_WORDS;
    if (kind === BUSY && offset === 0) {
      this.#freeRun(page, words[at + COUNT]);
      return;
    }
    const slotWords = slotBytes(kind) >> 2;
    if (kind < LEAST_KIND || offset % slotWords !== 0 || offset >= slotsOf(kind) * slotWords) {
      throw new RangeError(`no memory at word ${slot} is in use`);
    }
    words[slot] = words[at + FREED];
    words[at + FREED] = slot;
    const used = --words[at + COUNT];
    if (used + 1 === slotsOf(kind)) this.#push(kind, page);
    if (used > 0) return;
    this.#unlink(kind, page);
    this.#freeRun(page, 1);
  }

  #pageOf(slot: number): number {
    const page = Math.floor((slot - this.#first) / PAGE_WORDS);
    if (!(page >= 0 && page < this.pages)) throw new RangeError(`no memory at word ${slot}`);
    return page;
  }

  // ---- runs of pages

  /** The first free run that is long enough gives its first pages; -1 where none is. */
  #takeRun(pages: number, kind: number): number {
    const words = this.#words;
    for (let run = words[this.#heads + RUNS] - 1; run !== -1; ) {
      const at = this.#descriptions + run * DESCRIPTION;
      const length = words[at + COUNT];
      if (length < pages) {
        run = words[at + NEXT] - 1;
        continue;
      }
      this.#unlink(RUNS, run);
      // The rest before what is taken: until that is described, `repair` finds the whole run free.
      if (length > pages) this.#addRun(run + pages, length - pages);
      this.#describe(run, pages, kind);
      return run;
    }
    return -1;
  }

  #describe(page: number, pages: number, kind: number): void {
    const words = this.#words;
    const at = this.#descriptions + page * DESCRIPTION;
    if (pages > 1) {
      const last = at + (pages - 1) * DESCRIPTION;
      words[last + KIND] = kind;
      words[last + COUNT] = pages;
    }
    words[at + COUNT] = kind >= LEAST_KIND ? 0 : pages;
    words[at + FREED] = 0;
    words[at + REACHED] = 0;
    // What was there before must not pass for something in use.
    if (kind !== FREE) words.fill(0, this.#first + page * PAGE_WORDS, this.#first + (page + pages) * PAGE_WORDS);
    words[at + KIND] = kind;
  }

  #addRun(page: number, pages: number): void {
    this.#describe(page, pages, FREE);
    this.#push(RUNS, page);
  }

  /** Frees pages, in one run with those beside them that are free. */
  #freeRun(page: number, pages: number): void {
    const words = this.#words;
    let first = page;
    let length = pages;
    const after = this.#descriptions + (page + pages) * DESCRIPTION;
    if (page + pages < this.pages && words[after + KIND] === FREE) {
      this.#unlink(RUNS, page + pages);
      length += words[after + COUNT];
    }
    const before = this.#descriptions + (page - 1) * DESCRIPTION;
    if (page > 0 && words[before + KIND] === FREE) {
      first -= words[before + COUNT];
      length += words[before + COUNT];
      this.#unlink(RUNS, first);
    }
    this.#addRun(first, length);
  }

  // ---- lists of pages

  #push(list: number, page: number): void {
    const words = this.#words;
    const head = this.#heads + list;
    const at = this.#descriptions + page * DESCRIPTION;
    const next = words[head];
    words[at + NEXT] = next;
    words[at + PREVIOUS] = 0;
    if (next !== 0) words[this.#descriptions + (next - 1) * DESCRIPTION + PREVIOUS] = page + 1;
    words[head] = page + 1;
  }

  #unlink(list: number, page: number): void {
    const words = this.#words;
    const at = this.#descriptions + page * DESCRIPTION;
    const next = words[at + NEXT];
    const previous = words[at + PREVIOUS];
    if (previous === 0) words[this.#heads + list] = next;
    else words[this.#descriptions + (previous - 1) * DESCRIPTION + NEXT] = next;
    if (next !== 0) words[this.#descriptions + (next - 1) * DESCRIPTION + PREVIOUS] = previous;
  }

  // ---- after a process died with the lock held

  /**
   * Makes the metadata anew out of what each page is, wherever a process was interrupted. `inUse` says of each piece of
   * memory that may be in use whether it is: it must tell from a word that its owner sets last and clears first, and not
   * the first one. The rest is free afterwards.
   */
  repair(inUse: (slot: number, bytes: number) => boolean): void {
    const words = this.#words;
    words.fill(0, this.#heads, this.#descriptions);
    /** Free pages just before `page`. */
    let free = 0;
    for (let page = 0; page < this.pages; ) {
      const pages = this.#repairPage(page, inUse);
      if (pages > 0) {
        if (free > 0) this.#addRun(page - free, free);
        free = 0;
        page += pages;
      } else {
        free -= pages;
        page -= pages;
      }
    }
    if (free > 0) this.#addRun(this.pages - free, free);
  }

  /** How many pages it stands for; negative where they are free. */
  #repairPage(page: number, inUse: (slot: number, bytes: number) => boolean): number {
    const words = this.#words;
    const at = this.#descriptions + page * DESCRIPTION;
    const kind = words[at + KIND];
    const start = this.#first + page * PAGE_WORDS;
    if (kind < LEAST_KIND) {
      const pages = Math.min(Math.max(words[at + COUNT], 1), this.pages - page);
      return kind === BUSY && inUse(start, pages * PAGE_BYTES) ? pages : -pages;
    }
    const slots = slotsOf(kind);
    const size = slotBytes(kind) >> 2;
    let used = 0;
    let freed = 0;
    for (let i = slots - 1; i >= 0; i--) {
      const slot = start + i * size;
      if (inUse(slot, slotBytes(kind))) used++;
      else {
        words[slot] = freed;
        freed = slot;
      }
    }
    if (used === 0) return -1;
    words[at + COUNT] = used;
    words[at + FREED] = freed;
    words[at + REACHED] = slots;
    if (used < slots) this.#push(kind, page);
    return 1;
  }
}
