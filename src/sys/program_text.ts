/**
 * The descriptor of the program's text: of the file that this process was started from (bundle.ts). The master's children are
 * started from the same. What has the file's name by then may be another version's, whose processes say other things to each other;
 * nginx's workers, which are forked, have the master's code too.
 */

/** Where a child finds it. */
export const CHILD_TEXT = 5;

let text: number | undefined;

export function setProgramText(fd: number | undefined): void {
  text = fd;
}

/** undefined where children are started from the source. */
export function programText(): number | undefined {
  return text;
}
