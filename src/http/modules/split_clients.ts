import { directive, wrongArguments } from "../../config/directives.ts";
import { refusalsOf } from "../../config/errors.ts";
import { fail, valueIn } from "../../config/schema.ts";
import type { Directive } from "../../config/types.ts";
import { evaluate } from "../../script/variables.ts";
import { defineModule, type HttpModule } from "../conf/module.ts";
import { logError } from "../core/log_context.ts";
import type { Request } from "../core/request.ts";
import { type Template, template } from "../core/script.ts";

interface Part {
  /** The value of hashes below this one; 0: of all others. */
  readonly below: number;
  readonly value: string;
}

interface Split {
  readonly at: Directive;
  readonly name: string;
  readonly source: Template;
  readonly parts: readonly Part[];
}

const splitSpec = directive<readonly Split[]>({
  in: ["http"],
  args: [2, 2],
  block: "free",
  syntax: "string $variable { percent% value; … * value; }",
  doc: "A variable whose value depends on the hash of a string, so that each value is given to its percentage of clients; `*` takes the rest.",
  initial: () => [],
  repeat: true,
  read(at, scope, previous) {
    const [source, name] = at.args;
    const from = template(scope, at, source);
    if (!name.startsWith("$")) fail(at, `invalid variable name "${name}"`);
    const parts = readParts(at);
    return [...(previous ?? []), { at, name: name.slice(1), source: from, parts }];
  },
});

function readParts(at: Directive): readonly Part[] {
  const lines = [...(at.block ?? [])].map((line) => {
    if (line.args.length !== 1) wrongArguments(line);
    return { hundredths: line.name === "*" ? 0 : percentOf(line), value: line.args[0] };
  });
  let sum = 0;
  let last = 0;
  return lines.map(({ hundredths, value }) => {
    sum = hundredths === 0 ? 10_000 : sum + hundredths;
    if (sum > 10_000) {
      const { file, line, endLine } = at;
      fail({ ...at, file, line: endLine ?? line }, "percent total is greater than 100%");
    }
    if (sum === 10_000) return { below: 0, value };
    last += Math.floor((hundredths * 0xffff_ffff) / 10_000);
    return { below: last, value };
  });
}

/** `12.34%` as 1234. */
function percentOf(line: Directive): number {
  const found = /^(\d+)(?:\.(\d{0,2}))?%$/.exec(line.name);
  const hundredths = found === null ? 0 : Number(found[1]) * 100 + Number((found[2] ?? "").padEnd(2, "0"));
  if (hundredths === 0) fail(line, `invalid percent value "${line.name}"`);
  return hundredths;
}

/** Austin Appleby's MurmurHash2 of a byte string, with seed 0. */
function murmurHash2(text: string): number {
  let left = text.length;
  let at = 0;
  let hash = left;
  for (; left >= 4; left -= 4, at += 4) {
    let word = byte(text, at) | (byte(text, at + 1) << 8) | (byte(text, at + 2) << 16) | (byte(text, at + 3) << 24);
    word = Math.imul(word, 0x5bd1e995);
    word ^= word >>> 24;
    hash = Math.imul(hash, 0x5bd1e995) ^ Math.imul(word, 0x5bd1e995);
  }
  if (left > 0) {
    for (let i = left - 1; i >= 0; i--) hash ^= byte(text, at + i) << (8 * i);
    hash = Math.imul(hash, 0x5bd1e995);
  }
  hash ^= hash >>> 13;
  hash = Math.imul(hash, 0x5bd1e995);
  return (hash ^ (hash >>> 15)) >>> 0;
}

function byte(text: string, at: number): number {
  return text.charCodeAt(at) & 0xff;
}

function chosen(parts: readonly Part[], hash: number): string {
  for (const { below, value } of parts) if (below === 0 || hash < below) return value;
  return "";
}

export const splitClients: HttpModule = defineModule({
  name: "http_split_clients",
  directives: { split_clients: splitSpec },
  setup({ scope, variables }) {
    const refusals = refusalsOf(scope);
    for (const { at, name, source, parts } of valueIn(scope, splitSpec)) {
      const lower = name.toLowerCase();
      const pick = (request: Request): string => chosen(parts, murmurHash2(source.render(request)));
      const get = (request: Request): string | undefined => evaluate(request, lower, pick, logError);
      refusals.attempt(() => variables.declare(name, { get, cached: true, changeable: true }, at));
    }
  },
});
