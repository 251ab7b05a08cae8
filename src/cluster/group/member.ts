import type { AnswerBody, NodeFacts } from "./messages.ts";
import { type Opinion, type OpinionChanged, OpinionsCopy } from "./opinions.ts";

/** Another node of the group, as its answers to this one show it. */
export class Member {
  readonly name: string;
  /** Of the process that answers there; "": none has yet. */
  run = "";
  /** undefined until it has answered, and from when it was found to be down. */
  facts: NodeFacts | undefined = undefined;
  /** It said last that it leaves: where it is not heard any more, nothing has happened to it. */
  left = false;
  /** Monotonic ms of its last answer. */
  heardAt = Number.NEGATIVE_INFINITY;
  /** How far its clock is ahead of this node's, ms. */
  clockAhead = 0;
  /** The versions of the protocol that it understands. */
  protocol = "";
  /** It has said that it may be asked over TLS. */
  tls = false;
  /** It was asked over TLS last. */
  encrypted = false;
  /** Up to which of this node's own opinions it has asked. */
  toldNumber = 0;
  readonly #opinions: OpinionsCopy;
  #changed: OpinionChanged = () => {};
  /** Its opinions count: it is not about to leave. */
  #counts = true;
  /** Whether this node has told it that it leaves. */
  toldLeaving = false;

  constructor(name: string) {
    this.name = name;
    this.#opinions = new OpinionsCopy((key, before, after) => {
      if (this.#counts) this.#changed(key, before, after);
    });
  }

  /** From now on that hears of its opinions, of those it has too, as long as they count. */
  watch(changed: OpinionChanged): void {
    this.#changed = changed;
    if (this.#counts) for (const [key, opinion] of this.opinions) changed(key, undefined, opinion);
  }

  /** Up to which number its opinions are known. */
  get known(): number {
    return this.#opinions.number;
  }

  get opinions(): ReadonlyMap<string, Opinion> {
    return this.#opinions.known;
  }

  /** A verified answer. `now`: monotonic ms. Returns false where it says more than a node can mean. */
  heard(run: string, { facts, changes }: AnswerBody, clockAhead: number, now: number): boolean {
    const anew = run !== this.run;
    this.run = run;
    this.facts = facts;
    this.left = facts.state === "leaving";
    this.#count(facts.state !== "leaving");
    this.heardAt = now;
    this.clockAhead = clockAhead;
    const taken = this.#opinions.take(changes, anew);
    const { isTooMany } = this.#opinions;
    // What it was asked was of an earlier state: it is asked for everything.
    if (!taken || isTooMany) this.#opinions.clear();
    return !isTooMany;
  }

  #count(counts: boolean): void {
    if (counts === this.#counts) return;
    this.#counts = counts;
    for (const [key, opinion] of this.opinions)
      this.#changed(key, counts ? undefined : opinion, counts ? opinion : undefined);
  }

  /** It does not answer any more: what it said last counts for nothing. */
  lost(): void {
    this.facts = undefined;
    this.#opinions.clear();
    this.run = "";
  }
}
