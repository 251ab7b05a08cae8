import { SlabQueue } from "../../../net/slabs.ts";
import { BODY_FILTER, LAST, PART_END } from "../../core/filters.ts";
import { Gatherer } from "../../core/gatherer.ts";
import type { Request } from "../../core/request.ts";
import type { Template } from "../../core/script.ts";
import type { BodyFilter } from "../../core/types.ts";
import { FOUND, PARTIAL, type Patterns } from "./patterns.ts";

const BIT = 1 << BODY_FILTER.sub;
const NOTHING = Buffer.alloc(0);

/** Replaces the patterns in the body of one response (ngx_http_sub_body_filter). */
export class Substitution implements BodyFilter {
  readonly place = BODY_FILTER.sub;
  private readonly patterns: Patterns;
  /** Replacements by pattern; evaluated when first needed. */
  private readonly values: readonly Template[];
  private readonly texts: (Buffer | undefined)[];
  /** With sub_filter_once: the patterns already replaced, and the number of those left. */
  private readonly used: Uint8Array | undefined;
  private left: number;
  private readonly out = new Gatherer();
  /** A possible beginning of a pattern at the end of what was searched. */
  private begun: Buffer = NOTHING;
  /** Input not searched yet because the next step takes no more, and the flags it came with. */
  private kept: SlabQueue | undefined = undefined;
  private flags = 0;

  constructor(patterns: Patterns, values: readonly Template[], once: boolean) {
    this.patterns = patterns;
    this.values = values;
    this.texts = new Array<Buffer | undefined>(values.length).fill(undefined);
    this.used = once ? new Uint8Array(values.length) : undefined;
    this.left = values.length;
  }

  push(request: Request, bytes: Uint8Array | string, flags: number, next: number): boolean {
    const data = typeof bytes === "string" ? Buffer.from(bytes, "latin1") : bytes;
    this.flags |= flags;
    if (this.kept !== undefined && this.kept.length > 0) {
      this.kept.push(data);
      return false;
    }
    this.out.begin(request, next, this.place);
    const searched = this.search(request, data);
    if (searched < data.length) this.keep(request).push(searched === 0 ? data : data.subarray(searched));
    return this.end(request);
  }

  drain(request: Request, next: number): boolean {
    const { kept, out } = this;
    if (kept === undefined || kept.length === 0) return true;
    // Called from within our own call of passBody, which continues.
    if (out.busy) return false;
    out.begin(request, next, this.place);
    while (out.more && kept.length > 0) kept.drop(this.search(request, kept.first()));
    return this.end(request);
  }

  private keep(request: Request): SlabQueue {
    if (this.kept !== undefined) return this.kept;
    const kept = new SlabQueue();
    this.kept = kept;
    request.cleanup ??= [];
    request.cleanup.push(() => kept.clear());
    return kept;
  }

  /** Searches bytes and passes the result on as long as more is taken. Returns how many bytes were consumed. */
  private search(request: Request, data: Uint8Array): number {
    const { out, patterns, used } = this;
    if (!out.more) return 0;
    const before = this.begun.length;
    const bytes = before === 0 ? data : Buffer.concat([this.begun, data]);
    this.begun = NOTHING;
    let at = 0;
    while (out.more && at < bytes.length) {
      if (this.left === 0) {
        out.put(at === 0 ? bytes : bytes.subarray(at));
        return data.length;
      }
      const code = patterns.find(bytes, at, used);
      // Read at once: `put` may lead to a search in another response.
      const { start, index, end } = patterns;
      if (start > at) out.put(start - at === bytes.length ? bytes : bytes.subarray(at, start));
      if (code !== FOUND) {
        if (code === PARTIAL) this.begun = Buffer.from(bytes.subarray(start));
        return data.length;
      }
      at = end;
      out.put(this.text(request, index));
      if (used === undefined) continue;
      used[index] = 1;
      this.left--;
    }
    if (at >= before) return at - before;
    this.begun = Buffer.from(bytes.subarray(at, before));
    return 0;
  }

  private text(request: Request, index: number): Buffer {
    let text = this.texts[index];
    if (text === undefined) {
      text = Buffer.from(this.values[index].render(request), "latin1");
      this.texts[index] = text;
    }
    return text;
  }

  /** Passes on what was gathered, with the flags if nothing is left. */
  private end(request: Request): boolean {
    const { out, flags } = this;
    if (this.kept !== undefined && this.kept.length > 0) {
      request.buffered |= BIT;
      out.end(0, true);
      return false;
    }
    if ((flags & (LAST | PART_END)) !== 0 && this.begun.length > 0) {
      // It did not become the pattern; like nginx this does not search it for others.
      out.put(this.begun);
      this.begun = NOTHING;
    }
    this.flags = 0;
    request.buffered &= ~BIT;
    return out.end(flags, false);
  }
}
