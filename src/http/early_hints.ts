import type { HeaderList } from "./h1/header_list.ts";
import type { Request } from "./request.ts";
import type { Template } from "./template.ts";

/** Passes the fields of a 103 response on (RFC 8297) where `early_hints` wants them; those in `hidden` stay behind. */
export function passEarlyHints(
  request: Request,
  fields: HeaderList,
  wanted: readonly Template[],
  hidden: ReadonlySet<string>,
): void {
  if (request.headerSent || request.version < 1001 || !wanted.some((value) => holds(value.render(request)))) return;
  const { count, keys, names, values } = fields;
  let head = "";
  for (let i = 0; i < count; i++) if (!hidden.has(keys[i])) head += `${names[i]}: ${values[i]}\r\n`;
  if (head !== "") request.connection.sendInformational(request, `HTTP/1.1 103 Early Hints\r\n${head}\r\n`);
}

function holds(value: string): boolean {
  return value !== "" && value !== "0";
}
