/** Numbers, sizes and times (ngx_parse.c). All functions return undefined for what nginx refuses. */

/** 2^63-1, the greatest value in nginx. Results above 2^53 are rounded. */
const MAX = 9223372036854775807n;

/** Decimal digits only, at most 2^63-1. */
export function parseNumber(text: string): number | undefined {
  return scaled(text, 1n);
}

/** A size in bytes: digits, with `k` or `m`. */
export function parseSize(text: string): number | undefined {
  switch (text.at(-1)) {
    case "K":
    case "k":
      return scaled(text.slice(0, -1), 1024n);
    case "M":
    case "m":
      return scaled(text.slice(0, -1), 1024n * 1024n);
    default:
      return scaled(text, 1n);
  }
}

/** A file offset or length in bytes: as a size, and also with `g`. */
export function parseOffset(text: string): number | undefined {
  const unit = text.at(-1);
  if (unit === "G" || unit === "g") return scaled(text.slice(0, -1), 1024n * 1024n * 1024n);
  return parseSize(text);
}

function scaled(digits: string, scale: bigint): number | undefined {
  if (!/^[0-9]+$/.test(digits)) return undefined;
  if (digits.length <= 6) return Number(digits) * Number(scale);
  const value = BigInt(digits) * scale;
  return value > MAX ? undefined : Number(value);
}

/** A time in milliseconds: `500ms`, `10s`, `1h30m`; a bare number is seconds. Years and months are not allowed. */
export function parseMsec(text: string): number | undefined {
  return parseTime(text, "ms");
}

/** A time in seconds: `10s`, `1h 30m`, `1y`, `1M` (30 days); a bare number is seconds. Milliseconds are not allowed. */
export function parseSec(text: string): number | undefined {
  return parseTime(text, "s");
}

/** Units in the order they must be written, and their seconds. A number before a space is seconds, and must be the last. */
const UNITS = ["y", "M", "w", "d", "h", "m", "s", "ms", " "];
const SECONDS = [31_536_000n, 2_592_000n, 604_800n, 86_400n, 3600n, 60n, 1n, 0n, 1n];
const MILLISECONDS = UNITS.indexOf("ms");
const WEEK = UNITS.indexOf("w");
const SECOND = UNITS.indexOf("s");

function parseTime(text: string, result: "s" | "ms"): number | undefined {
  const simple = /^([0-9]{1,9})(ms|[smhd]?)$/.exec(text);
  if (simple !== null) return simpleTime(Number(simple[1]), simple[2], result);

  const part = /([0-9]*)(ms|[yMwdhms ]|$) */gy;
  const first = result === "ms" ? WEEK : 0;
  let least = first;
  let total = 0n;
  let anyDigit = false;
  while (part.lastIndex < text.length) {
    const match = part.exec(text);
    if (match === null) return undefined;
    const [, digits, unit] = match;
    anyDigit ||= digits !== "";
    const value = digits === "" ? 0n : BigInt(digits);
    if (value > MAX) return undefined;
    if (unit === "") {
      total += value * (result === "ms" ? 1000n : 1n);
    } else {
      const step = UNITS.indexOf(unit);
      if (step < least || (unit === " " && least > SECOND)) return undefined;
      if (unit === "ms" && result === "s") return undefined;
      least = step + 1;
      if (step === MILLISECONDS) total += value;
      else total += value * SECONDS[step] * (result === "ms" ? 1000n : 1n);
    }
    if (total > MAX) return undefined;
  }
  return anyDigit ? Number(total) : undefined;
}

function simpleTime(value: number, unit: string, result: "s" | "ms"): number | undefined {
  if (unit === "ms") return result === "ms" ? value : undefined;
  const seconds = value * (unit === "m" ? 60 : unit === "h" ? 3600 : unit === "d" ? 86_400 : 1);
  return result === "ms" ? seconds * 1000 : seconds;
}

/** A size as in a configuration: `8k`, `1m`. */
export function sizeText(bytes: number): string {
  if (bytes === 0) return "0";
  for (const [unit, scale] of [["g", 2 ** 30] as const, ["m", 2 ** 20] as const, ["k", 2 ** 10] as const]) {
    if (bytes % scale === 0) return `${bytes / scale}${unit}`;
  }
  return String(bytes);
}

/** A time in ms as in a configuration: `60s`, `1h`, `500ms`. */
export function timeText(ms: number): string {
  if (ms === 0) return "0";
  if (ms % 1000 !== 0) return `${ms}ms`;
  if (ms % 86_400_000 === 0) return `${ms / 86_400_000}d`;
  if (ms % 3_600_000 === 0) return `${ms / 3_600_000}h`;
  return `${ms / 1000}s`;
}
