/** Requests of SCGI, as a web server writes them: a netstring of headers, then the body as it is. Byte strings. */

/** A header, for `request`. */
export function header(name: string, value: string): string {
  return `${name}\0${value}\0`;
}

/** `contentLength`: of the body, whose header comes first. `headers`: results of `header`, joined. */
export function request(contentLength: number, headers: string): string {
  const all = header("CONTENT_LENGTH", String(contentLength)) + headers;
  return `${all.length}:${all},`;
}
