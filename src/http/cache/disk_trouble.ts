/** What an operator can do about an error of the system, by its number: the sentences that name it have `(28: No space left …)`. */
const REMEDIES: ReadonlyMap<string, string> = new Map([
  ["1", "its directory must be writable for the workers' user"],
  ["2", "its directory is missing"],
  ["5", "the disk is failing"],
  ["13", "its directory must be writable for the workers' user"],
  ["18", "all of its directory must be in one file system"],
  ["20", "something in the place of a directory has its name"],
  ["23", "the system has too many open files (fs.file-max)"],
  ["24", "more open files are needed (worker_rlimit_nofile)"],
  ["27", "the file is larger than the process may write (ulimit -f)"],
  ["28", "free some space, or lower max_size, or set min_free"],
  ["30", "its file system must be writable"],
  ["122", "raise the quota, or lower max_size"],
]);

/** `: what to do`, for a sentence that names the error; "" where nobody knows. */
export function remedyOf(sentence: string): string {
  const remedy = REMEDIES.get(/\((\d+): /.exec(sentence)?.[1] ?? "");
  return remedy === undefined ? "" : `: ${remedy}`;
}
