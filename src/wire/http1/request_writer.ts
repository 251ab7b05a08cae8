import type { HeadText, HeadWord } from "../head_text.ts";

// The head of a request to a server is written of these, line by line; a blank line ends it.

export function requestLine(method: HeadWord, target: HeadWord, version: "1.0" | "1.1"): string {
  return `${method} ${target} HTTP/${version}\r\n`;
}

export function fieldLine(name: HeadText, value: HeadText): string {
  return `${name}: ${value}\r\n`;
}
