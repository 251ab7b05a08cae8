/** Holdfast's own version, and how it names itself in `Server` and on error pages. */
export const VERSION = "0.1.0";
export const SERVER = `holdfast/${VERSION}`;
