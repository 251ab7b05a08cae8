import { largeBlock } from "../../../config/directives.ts";
import { refusalsOf } from "../../../config/errors.ts";
import { fail, valueIn, withoutLines } from "../../../config/schema.ts";
import type { Directive } from "../../../config/types.ts";
import type { Address } from "../../../net/address.ts";
import { clientAddress, keptClientAddress } from "../../../net/ip.ts";
import { parseAddr } from "../../../net/parse_url.ts";
import { evaluate, variableValue } from "../../../script/variables.ts";
import { defineModule, type HttpBuild, type HttpModule } from "../../conf/module.ts";
import { forwardedAddress } from "../../core/forwarded.ts";
import { logError } from "../../core/log_context.ts";
import type { Request } from "../../core/request.ts";
import { type Variable, whenVariablesKnown } from "../../core/script.ts";
import { type GeoBlock, readGeoBlock, valueFor } from "./geo_block.ts";

interface Geo {
  readonly at: Directive;
  readonly name: string;
  /** The variable that has the address; undefined: the client's. */
  source: Variable | undefined;
  readonly block: GeoBlock;
}

const geoSpec = largeBlock<readonly Geo[]>({
  in: ["http"],
  args: [1, 2],
  syntax: "[$address] $variable { network value; … }",
  doc: "A variable whose value depends on the client's address, or on that in `$address`: the most specific network decides. `default` is the value of all others. `ranges`, before any network, makes them ranges of IPv4 addresses (`first-last`). `delete` takes a network back, `include` reads a file. Behind a trusted `proxy` the address is taken from `X-Forwarded-For`, with `proxy_recursive` the last one that is not trusted itself. `volatile` switches off caching.",
  initial: () => [],
  repeat: true,
  *readSliced(at, scope, previous) {
    const names = at.args.map((written) => variableName(at, written));
    const block = yield* readGeoBlock(at, scope);
    const geo: Geo = { at: withoutLines(at), name: names[names.length - 1], source: undefined, block };
    if (names.length === 2) {
      whenVariablesKnown(scope, (variables) => {
        geo.source = variables.use(names[0], at);
      });
    }
    return [...(previous ?? []), geo];
  },
});

function variableName(at: Directive, written: string): string {
  if (!written.startsWith("$") || written === "$") fail(at, `invalid variable name "${written}"`);
  return written.slice(1);
}

function declareGeo({ variables }: HttpBuild, geo: Geo): void {
  const name = geo.name.toLowerCase();
  const look = (request: Request): string => lookUp(request, geo);
  const get = (request: Request) => evaluate(request, name, look, logError);
  variables.declare(geo.name, { get, cached: !geo.block.volatile, changeable: true }, geo.at);
}

function lookUp(request: Request, { source, block }: Geo): string {
  const { remote } = request;
  const written = source === undefined ? undefined : variableValue(request, source);
  const own = source === undefined ? remote : written === undefined ? undefined : parseAddr(written, 0);
  const address = own === undefined || block.proxies.length === 0 ? own : forwarded(request, own, block);
  if (address === undefined) return valueFor(block, undefined);
  return valueFor(block, address === remote ? keptClientAddress(address) : clientAddress(address));
}

function forwarded({ headers }: Request, peer: Address, { proxies, proxyRecursive }: GeoBlock): Address {
  if (headers.get("x-forwarded-for") === undefined) return peer;
  return forwardedAddress(peer, headers.getAll("x-forwarded-for"), proxies, proxyRecursive) ?? peer;
}

/** ngx_http_geo_module. */
export const geo: HttpModule = defineModule({
  name: "http_geo",
  directives: { geo: geoSpec },
  setup(http) {
    const refusals = refusalsOf(http.scope);
    for (const block of valueIn(http.scope, geoSpec)) refusals.attempt(() => declareGeo(http, block));
  },
});
