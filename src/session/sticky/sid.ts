import type { Peer } from "../../balancer/peer.ts";
import { crypto } from "../../sys/builtin.ts";

/** By what requests are bound to a server, as in nginx: its `route`, else the MD5 of its address as text. */
export function sidOf({ route, name }: Peer): string {
  return route === "" ? md5Of(name) : route;
}

/** In hexadecimal. */
export function md5Of(text: string): string {
  return crypto().hash("md5", Buffer.from(text, "latin1"), "hex");
}
