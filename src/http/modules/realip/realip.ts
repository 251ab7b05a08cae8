import { flag, list, text } from "../../../config/directives.ts";
import { warn } from "../../../config/errors.ts";
import { ownValue, type Scope, scopesThatSet } from "../../../config/schema.ts";
import type { Directive } from "../../../config/types.ts";
import { hostText, portOf } from "../../../net/address.ts";
import { type Cidr, parseCidr } from "../../../net/ip.ts";
import { hostAddresses } from "../../../net/parse_url.ts";
import type { HostWanted } from "../../../runtime/application.ts";
import { HTTP_LOCATION } from "../../conf/contexts.ts";
import { defineModule, type HttpModule } from "../../conf/module.ts";
import { DECLINED } from "../../core/codes.ts";
import { forwardedAddress, type TrustedProxies } from "../../core/forwarded.ts";
import type { Request } from "../../core/request.ts";
import type { Handler } from "../../core/types.ts";
import { portText } from "../../variables/connection.ts";

/** One `set_real_ip_from`; a host name has the addresses it had when the configuration was loaded. */
type Source = "unix" | Cidr | { readonly name: string; readonly at: Directive };

const specs = {
  set_real_ip_from: list<Source>({
    in: HTTP_LOCATION,
    args: [1, 1],
    syntax: "address | CIDR | hostname | unix:",
    doc: "Proxies that are believed when they say which client they ask for.",
    item: readSource,
  }),
  real_ip_header: text({
    in: HTTP_LOCATION,
    syntax: "field | X-Real-IP | X-Forwarded-For | proxy_protocol",
    doc: "Where trusted proxies say the client's address: a request header field, or the PROXY protocol.",
    default: "X-Real-IP",
  }),
  real_ip_recursive: flag({
    in: HTTP_LOCATION,
    doc: "Of several addresses, takes the last one that is not trusted itself, not simply the last.",
    default: false,
  }),
};

function readSource(at: Directive, scope: Scope): Source {
  const [written] = at.args;
  if (written === "unix:") return "unix";
  const parsed = parseCidr(written);
  if (parsed === undefined) return { name: written, at };
  if (parsed.lowBits) warn(at, scope, `low address bits of ${written} are meaningless`);
  return parsed.cidr;
}

/** Host names in `set_real_ip_from`. */
function names(http: Scope): HostWanted[] {
  const sources = scopesThatSet(http, specs.set_real_ip_from).flatMap(
    (scope) => ownValue(scope, specs.set_real_ip_from) ?? [],
  );
  const wanted: HostWanted[] = [];
  for (const source of sources) {
    if (typeof source === "string" || !("name" in source)) continue;
    const { name, at } = source;
    const error = `host not found in set_real_ip_from "${name}"`;
    wanted.push({ host: name, file: at.file, line: at.line, error });
  }
  return wanted;
}

interface RealIp {
  readonly proxies: TrustedProxies;
  /** The field's name in lower case. */
  readonly field: string;
  readonly from: "first" | "all" | "proxy_protocol";
  readonly recursive: boolean;
  /** Of the server level: applied in the post-read phase, before a location is chosen. */
  readonly early: boolean;
}

/** ngx_http_realip_module. */
export const realip: HttpModule<RealIp> = defineModule({
  name: "http_realip",
  configure: "--with-http_realip_module",
  directives: specs,
  variables: {
    realip_remote_addr: { get: ({ connection }) => hostText(connection.remote), cached: true },
    realip_remote_port: { get: ({ connection }) => portText(portOf(connection.remote)), cached: true },
  },
  hosts: names,
  build(settings, { http, scope, parent }): RealIp {
    if (parent !== undefined && !Object.values(specs).some((spec) => scope.values.has(spec))) return realip.of(parent);
    const header = settings.real_ip_header;
    return {
      proxies: settings.set_real_ip_from.flatMap((source) => {
        if (typeof source === "string" || !("name" in source)) return source;
        return hostAddresses(source.name, http.cycle.data.hosts).flatMap((address) => {
          const parsed = address.family === "unix" ? undefined : parseCidr(address.host);
          return parsed === undefined ? [] : parsed.cidr;
        });
      }),
      field: header.toLowerCase(),
      // nginx compares these two names case-sensitively; of any other field it takes the first line.
      from: header === "proxy_protocol" ? header : header === "X-Forwarded-For" ? "all" : "first",
      recursive: settings.real_ip_recursive,
      early: parent === undefined,
    };
  },
  postRead: finder,
  preaccess: (settings) => (settings.early ? undefined : finder(settings)),
});

function finder(settings: RealIp): Handler | undefined {
  if (settings.proxies.length === 0) return undefined;
  return (request) => findClient(request, settings);
}

/** Sets `request.remote` to the client behind the proxy, once per request. */
function findClient(request: Request, { from, field, proxies, recursive }: RealIp): number {
  const { connection } = request;
  const { remote } = connection;
  if (request.remote !== remote) return DECLINED;
  if (from === "proxy_protocol") {
    const header = connection.proxyProtocol;
    if (header === undefined) return DECLINED;
    const client = forwardedAddress(remote, [header.sourceAddress], proxies, recursive);
    if (client !== undefined && client.family !== "unix") request.remote = { ...client, port: header.sourcePort };
    return DECLINED;
  }
  const value = request.headers.get(field);
  if (value === undefined) return DECLINED;
  const lines = from === "all" ? request.headers.getAll(field) : [value];
  request.remote = forwardedAddress(remote, lines, proxies, recursive) ?? remote;
  return DECLINED;
}
