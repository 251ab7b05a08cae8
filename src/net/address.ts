/** A socket address. */
export type Address = InetAddress | UnixAddress;

export interface InetAddress {
  readonly family: "ipv4" | "ipv6";
  readonly host: string;
  readonly port: number;
}

export interface UnixAddress {
  readonly family: "unix";
  readonly path: string;
}

/** Of a socket that has none: a client's unix socket, or one that is not connected any more. */
export const NO_ADDRESS: Address = { family: "unix", path: "" };

/** ngx_sock_ntop: `127.0.0.1:80`, `[::1]:80`, `unix:/path`. */
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

/** The same without the port: `127.0.0.1`, `::1`, `unix:/path`; `unix:` of a client, whose socket has no path. */
export function hostText(address: Address): string {
  return address.family === "unix" ? addressText(address) : address.host;
}

/** 0 of a unix socket. */
export function portOf(address: Address): number {
  return address.family === "unix" ? 0 : address.port;
}

/** The address with another port; a unix socket has none. */
export function withPort(address: Address, port: number): Address {
  return address.family === "unix" ? address : { ...address, port };
}

/** Whether it is `0.0.0.0` or `[::]`. */
export function isWildcard(address: Address): boolean {
  return address.family !== "unix" && (address.host === "0.0.0.0" || address.host === "::");
}

/** The address that Node reports of a socket. IPv4-mapped IPv6 stays IPv6, as in nginx. */
export function socketAddress(host: string, port: number, family: string | undefined): Address {
  return { family: family === "IPv6" ? "ipv6" : "ipv4", host, port };
}
