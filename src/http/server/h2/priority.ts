/** How soon a stream is to be served, and whether in parts: of what a client says, and no more than that. */
export interface Prioritized {
  urgency: number;
  incremental: boolean;
}

/** u=0 to u=7 in a Priority field, which is a dictionary (RFC 9218 section 4, RFC 8941 section 3.2). */
const URGENCY = /(?:^|[ ,\t])u=([0-7])(?=[ ,;\t]|$)/;
const INCREMENTAL = /(?:^|[ ,\t])i(?:=\?([01]))?(?=[ ,;\t]|$)/;

/** Takes over what the value of a Priority field says; what it does not say is as the RFC has it. */
export function prioritize(stream: Prioritized, value: string): void {
  const urgency = URGENCY.exec(value);
  const incremental = INCREMENTAL.exec(value);
  stream.urgency = urgency === null ? 3 : Number(urgency[1]);
  stream.incremental = incremental !== null && incremental[1] !== "0";
}
