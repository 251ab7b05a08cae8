/** Requests of SCGI, as a web server writes them: a netstring of headers, then the body as it is. Byte strings. */

/** A header in parts, for `request`: what precedes its value, and what follows it. */
export const HEADER = {
  before: (name: string): string => `${name}\0`,
  after: "\0",
};

export function header(name: string, value: string): string {
  return HEADER.before(name) + value + HEADER.after;
}

/** `contentLength`: of the body, whose header comes first. `headers`: the others, joined. */
export function request(contentLength: number, headers: string): string {
  const all = `CONTENT_LENGTH\0${contentLength}\0${headers}`;
  return `${all.length}:${all},`;
}
