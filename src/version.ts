/** Holdfast's own version, and how it names itself in `Server` and on error pages. */
export const VERSION = "0.1.0";
export const SERVER = `holdfast/${VERSION}`;
/** The nginx whose configuration and behaviour are followed: what -V and $nginx_version say, because scripts read them. */
export const NGINX_VERSION = "1.31.5";
