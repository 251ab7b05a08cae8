/** A byte string as a path for node:fs, which would otherwise encode its high bytes as UTF-8. */
export function osPath(path: string): string | Buffer {
  return /[\x80-\xff]/.test(path) ? Buffer.from(path, "latin1") : path;
}

/** ngx_get_full_name: a relative path is appended to the prefix, which ends with "/". */
export function fullName(path: string, prefix: string): string {
  return path.startsWith("/") ? path : prefix + path;
}
