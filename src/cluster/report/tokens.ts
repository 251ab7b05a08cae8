import { fail } from "../../config/schema.ts";
import type { Directive } from "../../config/types.ts";
import type { Cycle } from "../../runtime/cycle.ts";
import { crypto } from "../../sys/builtin.ts";
import { errorCode, errorText } from "../../sys/errno.ts";

/** The fewest characters of a token. */
const LEAST_TOKEN = 16;

interface Token {
  readonly digest: Buffer;
  /** What it may speak for: an upstream, or `UPSTREAM/ADDRESS`; none: every server. */
  readonly rows: readonly string[];
}

/** The tokens by which servers are known. Comparing them takes as long whatever is asked. */
export class Tokens {
  readonly #tokens: readonly Token[];

  constructor(tokens: readonly Token[]) {
    this.#tokens = tokens;
  }

  /** The rows that a token may speak for; undefined: it is none. */
  rowsOf(token: string): readonly string[] | undefined {
    const digest = digestOf(token);
    let found: readonly string[] | undefined;
    for (const one of this.#tokens) if (crypto().timingSafeEqual(one.digest, digest)) found = one.rows;
    return found;
  }
}

export function maySpeak(rows: readonly string[], upstream: string, server: string): boolean {
  return rows.length === 0 || rows.some((row) => row === upstream || row === `${upstream}/${server}`);
}

/** The file of a directive: a token a line, and behind it what it may speak for. Throws ConfigError. */
export function readTokens(at: Directive, cycle: Cycle): Tokens {
  const path = cycle.path(at.args[0], "conf");
  let text: string;
  try {
    text = Buffer.from(cycle.readFile(path)).latin1Slice();
  } catch (error) {
    return fail(at, `cannot read the tokens "${path}" (${errorText(errorCode(error))})`);
  }
  const lines = text
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "" && !line.startsWith("#"));
  const tokens = lines.map((line): Token => {
    const [token, ...rows] = line.split(/\s+/);
    if (token.length < LEAST_TOKEN) fail(at, `a token in "${path}" has fewer than ${LEAST_TOKEN} characters`);
    return { digest: digestOf(token), rows };
  });
  if (tokens.length === 0) fail(at, `there is no token in "${path}"`);
  return new Tokens(tokens);
}

function digestOf(token: string): Buffer {
  return crypto().createHash("sha256").update(token, "latin1").digest();
}
