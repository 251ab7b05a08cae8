import os from "node:os";
import { type Address, hostText, portOf } from "../../net/address.ts";
import { parseIpv4, socketIpv6 } from "../../net/ip.ts";
import { proxyProtocolTlv } from "../../net/proxy_protocol.ts";
import { iso8601, logTime, now } from "../../sys/clock.ts";
import { NGINX_VERSION } from "../../version.ts";
import { logError } from "../core/log_context.ts";
import { ofConnection, once, type VariableSpec } from "../core/script.ts";

const hostname = os.hostname().toLowerCase();

/** Variables of the connection, the process and the clock. */
export const CONNECTION_VARIABLES: Readonly<Record<string, VariableSpec>> = {
  binary_remote_addr: once((r) => binaryAddress(r.remote)),
  remote_addr: { ...once((r) => hostText(r.remote)), ofConnection: true },
  remote_port: { ...once((r) => portText(portOf(r.remote))), ofConnection: true },
  server_addr: ofConnection((r) => hostText(r.connection.local)),
  server_port: ofConnection((r) => portText(portOf(r.connection.local))),
  proxy_protocol_addr: { get: (r) => r.connection.proxyProtocol?.sourceAddress },
  proxy_protocol_port: { get: (r) => optionalPort(r.connection.proxyProtocol?.sourcePort) },
  proxy_protocol_server_addr: { get: (r) => r.connection.proxyProtocol?.destinationAddress },
  proxy_protocol_server_port: { get: (r) => optionalPort(r.connection.proxyProtocol?.destinationPort) },
  connection: { get: (r) => String(r.connection.number) },
  connection_requests: { get: (r) => String(r.connection.requests) },
  connection_time: { get: (r) => seconds(now() - r.connection.startedAt) },
  pipe: { get: (r) => (r.connection.pipelined ? "p" : ".") },
  // Node does not give access to TCP_INFO: not found, as in nginx on systems without it.
  tcpinfo_rtt: { get: () => undefined },
  tcpinfo_rttvar: { get: () => undefined },
  tcpinfo_snd_cwnd: { get: () => undefined },
  tcpinfo_rcv_space: { get: () => undefined },
  nginx_version: ofConnection(() => NGINX_VERSION),
  hostname: { get: () => hostname },
  pid: { get: () => String(process.pid) },
  msec: { get: () => seconds(Date.now()) },
  time_iso8601: { get: iso8601 },
  time_local: { get: logTime },
};

/** `$proxy_protocol_tlv_NAME` */
export function tlvVariable(name: string): VariableSpec {
  return once((request) => {
    const header = request.connection.proxyProtocol;
    if (header === undefined) return undefined;
    const { value, error } = proxyProtocolTlv(header, name);
    if (error !== undefined) logError(request, "error", error);
    return value;
  });
}

/** Milliseconds as nginx prints times: `1.234`. */
export function seconds(ms: number): string {
  const whole = Math.max(0, Math.floor(ms));
  return `${Math.floor(whole / 1000)}.${String(whole % 1000).padStart(3, "0")}`;
}

export function portText(port: number): string {
  return port > 0 && port < 65_536 ? String(port) : "";
}

function optionalPort(port: number | undefined): string | undefined {
  return port === undefined ? undefined : portText(port);
}

/** The address in network byte order, as a byte string: a short key for zones. */
function binaryAddress(address: Address): string {
  if (address.family === "unix") return "unix:";
  if (address.family === "ipv6") return String.fromCharCode(...socketIpv6(address.host));
  const value = parseIpv4(address.host);
  if (value === undefined) return "";
  return String.fromCharCode(value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255);
}
