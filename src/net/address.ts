/** A socket address as a plain value: what listeners bind, upstreams connect to and logs print. */
export type Address =
  | { readonly family: "ipv4" | "ipv6"; readonly host: string; readonly port: number }
  | { readonly family: "unix"; readonly path: string };

/** nginx's text of an address: `127.0.0.1:80`, `[::1]:80`, `unix:/path`. */
export function addressText(address: Address): string {
  switch (address.family) {
    case "unix":
      return `unix:${address.path}`;
    case "ipv6":
      return `[${address.host}]:${address.port}`;
    default:
      return `${address.host}:${address.port}`;
  }
}
