import { refusalsOf, warn } from "../../config/errors.ts";
import { defineDirectives, fail, type Scope, type SettingsOf, valueIn } from "../../config/schema.ts";
import { rulesIn } from "../../http/conf/access_rule.ts";
import { addressesOf, listenSpec } from "../../http/conf/addresses.ts";
import { defineModule, type HttpBuild, type HttpModule, type ModuleListener } from "../../http/conf/module.ts";
import { buildAccessRules } from "../../net/access_rules.ts";
import { type Address, addressText } from "../../net/address.ts";
import type { HostWanted } from "../../runtime/application.ts";
import { coreDirectives as processDirectives } from "../../runtime/directives.ts";
import { type ErrorLogTarget, openErrorLog } from "../../runtime/log/error_log.ts";
import { zonesIn } from "../zone/zones.ts";
import { blockDirectives, type ListenLine, sessionListen } from "./directives.ts";
import { GroupItems } from "./group_items.ts";
import { Items } from "./items.ts";
import { MemcachedSite } from "./site.ts";
import { Statistics, statisticsZone } from "./statistics.ts";
import { listenTls } from "./tls.ts";

const inBlock = defineDirectives("http_session_listen", blockDirectives);

/** `session_listen`: session zones for servers that keep sessions in memcached. */
export const memcachedSessions: HttpModule = defineModule({
  name: "http_session_listen",
  directives: { session_listen: sessionListen, ...blockDirectives },
  hosts: (http) => linesIn(http).flatMap(({ line }) => hostOf(line)),
  setup(http) {
    const refusals = refusalsOf(http.scope);
    for (const { line, block } of linesIn(http.scope)) {
      refusals.attempt(() => openListener(http, line, block), "complete");
    }
  },
});

interface Written {
  readonly line: ListenLine;
  /** undefined: it has no block. */
  readonly block: Scope | undefined;
}

function linesIn(http: Scope): Written[] {
  const blocks = http.order.filter(({ spec }) => spec === sessionListen);
  return valueIn(http, sessionListen).map((line) => ({
    line,
    block: blocks.find(({ directive }) => directive === line.at)?.child,
  }));
}

function hostOf({ at, listen }: ListenLine): HostWanted[] {
  if ("addresses" in listen.place) return [];
  const error = `host not found in "${at.args[0]}" of the "session_listen" directive`;
  return [{ host: listen.place.host, file: at.file, line: at.line, error }];
}

function openListener(http: HttpBuild, line: ListenLine, block: Scope | undefined): void {
  const { cycle, scope } = http;
  const { at, listen } = line;
  const zone = zonesIn(cycle).get(line.zone) ?? fail(at, `session zone "${line.zone}" is not defined`);
  const settings = inBlock.in(block ?? scope);
  const rules = block === undefined ? [] : rulesIn(block, blockDirectives.allow, blockDirectives.deny);
  const tls = listen.options.ssl ? secured(settings, line, block, http) : undefined;
  const targets: readonly ErrorLogTarget[] = valueIn(scope, processDirectives.specs.error_log);
  for (const warning of listen.warnings) warn(at, scope, warning);
  for (const address of addressesOf(listen, at, cycle)) {
    const text = addressText(address);
    if (rules.length === 0 && tls?.verifies !== true && !isLocal(address)) {
      warn(at, scope, `"session_listen" lets any client at ${text}: there is no "allow" or "deny"`);
    }
    const statistics = new Statistics(cycle.zone(statisticsZone(text)));
    const listener: ModuleListener = {
      spec: listenSpec({ address, options: listen.options }),
      at,
      open(worker, previous) {
        const { maxConnections, timeout, idleTimeout } = line;
        const current = {
          address,
          items: zone.group === undefined ? new Items(zone, worker.slot) : new GroupItems(zone, worker.slot),
          statistics,
          errorLog: openErrorLog(targets, cycle),
          rules: rules.length === 0 ? undefined : buildAccessRules(rules),
          tls,
          maxConnections,
          timeout,
          idleTimeout,
        };
        if (!(previous instanceof MemcachedSite)) return new MemcachedSite(current, text, worker);
        previous.change(current);
        return previous;
      },
    };
    http.listeners.push(listener);
    http.workers.push({ enter() {}, forget: (slot) => statistics.forget(slot) });
  }
}

function secured(
  settings: SettingsOf<typeof blockDirectives>,
  { at }: ListenLine,
  block: Scope | undefined,
  { cycle }: HttpBuild,
): ReturnType<typeof listenTls> {
  return block === undefined
    ? fail(at, 'no "ssl_certificate" is defined for a "session_listen" with ssl')
    : listenTls(settings, block, cycle);
}

/** Nobody but this machine reaches it. */
function isLocal(address: Address): boolean {
  return address.family === "unix" || address.host === "::1" || address.host.startsWith("127.");
}
