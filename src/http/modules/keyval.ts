import { existsSync } from "node:fs";
import { dirname } from "node:path";
import { directive, refuse } from "../../config/directives.ts";
import { fail, type Scope, valueIn } from "../../config/schema.ts";
import type { Directive } from "../../config/types.ts";
import { parseMsec } from "../../config/values.ts";
import { openMainLog } from "../../runtime/log/directive.ts";
import { evaluate } from "../../script/variables.ts";
import { type DeclaredZone, declareZone, readZone } from "../../shm/registry.ts";
import { osPath } from "../../sys/paths.ts";
import { defineModule, type HttpBuild } from "../conf/module.ts";
import { registerSynced } from "../conf/synced.ts";
import { logError } from "../core/log_context.ts";
import type { Request } from "../core/request.ts";
import { type Template, template } from "../core/script.ts";
import { keyvalCommands, refusal } from "../keyval/commands.ts";
import { KeyvalKeeper } from "../keyval/keeper.ts";
import { enterKeyvalZones, haveKeyvalZones, KeyvalZone } from "../keyval/keyval_zone.ts";
import { PAIR_TYPES, type PairType } from "../keyval/pair_key.ts";
import { KEYVAL_ZONE } from "../keyval/pair_table.ts";
import { sharedPairs } from "../keyval/shared_pairs.ts";

interface Keyval {
  readonly at: Directive;
  readonly name: string;
  readonly key: Template;
  readonly declared: DeclaredZone;
}

const zoneSpec = directive<readonly KeyvalZone[]>({
  in: ["http"],
  args: [1, Number.POSITIVE_INFINITY],
  repeat: true,
  syntax: "zone=name:size [state=file] [timeout=time] [type=string|ip|prefix] [sync]",
  doc: "A shared memory zone of keys and their values, which `keyval` looks up and `holdfast keyval` changes. They outlive a reload, also one with another size, and an upgrade; with `state` also a restart: the checker writes them to that file, as JSON, soon after each change. With `timeout` pairs are removed so long after they were set. A key is found where it is that very one (`string`), where it is the address or a network of the address that is looked for (`ip`), or where what is looked for begins with it (`prefix`); of several the longest. What finds no room is not set. With `sync`, which needs a `timeout`, the nodes of a `cluster` with a `store` have the same pairs: each change, removals too, is told to the others within some 100 ms.",
  initial: () => [],
  read: (at, scope, previous = []) => [...previous, readKeyvalZone(at, scope, previous)],
});

function readKeyvalZone(at: Directive, scope: Scope, previous: readonly KeyvalZone[]): KeyvalZone {
  let zone: { readonly name: string; readonly size: number } | undefined;
  let state: string | undefined;
  let timeout: number | undefined;
  let type: PairType | undefined;
  let sync = false;
  for (const parameter of at.args) {
    const [, word, value] = /^(zone|state|timeout|type)=(.*)$/s.exec(parameter) ?? [undefined, parameter, ""];
    switch (word) {
      case "zone":
        if (zone !== undefined) refuse(at, "duplicate zone");
        zone = readZone(at, parameter);
        if (zone.name === "") fail(at, `invalid zone name "${parameter}"`);
        break;
      case "state":
        if (state !== undefined) refuse(at, "duplicate state");
        if (value === "") fail(at, `invalid state "${parameter}"`);
        state = value;
        break;
      case "timeout":
        if (timeout !== undefined) refuse(at, "duplicate timeout");
        timeout = parseMsec(value) || fail(at, `invalid timeout "${parameter}"`);
        break;
      case "type":
        if (type !== undefined) refuse(at, "duplicate type");
        type = PAIR_TYPES.find((known) => known === value) ?? fail(at, `invalid type "${parameter}"`);
        break;
      case "sync":
        sync = true;
        break;
      default:
        fail(at, `invalid parameter "${parameter}"`);
    }
  }
  if (zone === undefined) fail(at, `"${at.name}" must have "zone" parameter`);
  if (sync && timeout === undefined) fail(at, `"sync" requires the "timeout" parameter in "${at.name}"`);
  const { name, size } = zone;
  const declared = declareZone(at, scope, KEYVAL_ZONE, name, size);
  for (const other of previous) {
    if (other.settings.declared === declared) fail(at, `keyval_zone "${name}" is already defined`);
    if (state !== undefined && other.settings.state === state) {
      fail(at, `the state file "${state}" is already that of keyval_zone "${other.name}"`);
    }
  }
  return new KeyvalZone({
    declared,
    at,
    type: type ?? "string",
    timeout: timeout ?? Number.POSITIVE_INFINITY,
    state,
    sync,
  });
}

const keyvalSpec = directive<readonly Keyval[]>({
  in: ["http"],
  args: [3, 3],
  repeat: true,
  syntax: "key $variable zone=name",
  doc: "A variable whose value is that of a key, which may have variables, in a `keyval_zone`; empty where the zone has none. `set $variable value` sets the pair of that key for all requests that follow.",
  initial: () => [],
  read(at, scope, previous = []) {
    const [key, name, zone] = at.args;
    if (!name.startsWith("$") || name === "$") fail(at, `invalid variable name "${name}"`);
    if (!/^zone=./s.test(zone)) fail(at, `invalid parameter "${zone}"`);
    const declared = declareZone(at, scope, KEYVAL_ZONE, zone.slice("zone=".length), 0);
    return [...previous, { at, name: name.slice(1), key: template(scope, at, key), declared }];
  },
});

/** ngx_http_keyval_module, as NGINX Plus has it. */
export const keyval = defineModule({
  name: "http_keyval",
  directives: { keyval: keyvalSpec, keyval_zone: zoneSpec },
  setup(http) {
    const { cycle, scope, masters, workers, checkers, commands, directories } = http;
    const log = openMainLog(cycle);
    const zones = valueIn(scope, zoneSpec);
    for (const [name, command] of keyvalCommands(zones)) commands.set(name, command);
    // Before zones are opened: one that cannot be is said alone, and not that its variables are unknown.
    for (const keyval of valueIn(scope, keyvalSpec)) {
      const zone = zones.find(({ settings }) => settings.declared === keyval.declared);
      declareKeyval(http, keyval, zone);
    }
    for (const zone of zones) {
      zone.open(cycle, log);
      masters.push({ prepare: () => prepareState(zone), test: () => zone.tryState(), leave() {} });
      if (zone.file !== undefined && !existsSync(osPath(dirname(zone.file)))) directories.add(dirname(zone.file));
      workers.push({ enter() {}, forget: () => zone.table.recover() });
      if (zone.settings.sync) registerSynced(cycle, sharedPairs(zone));
    }
    if (zones.length === 0 && !haveKeyvalZones()) return;
    workers.push({ enter: () => enterKeyvalZones(zones, log), forget() {} });
    checkers.push({
      name: "http_keyval",
      check(previous) {
        enterKeyvalZones(zones, log);
        return new KeyvalKeeper(zones, log, previous);
      },
    });
  },
});

/** State files that this master has looked at, or its children written: what is in memory is the truth by now. */
const tried = new Set<string>();

function prepareState(zone: KeyvalZone): undefined {
  const { file } = zone;
  if (file === undefined || tried.has(file)) return undefined;
  zone.tryState();
  tried.add(file);
  return undefined;
}

/** Without a zone, which is refused elsewhere, the variable is there, and empty. */
function declareKeyval({ variables }: HttpBuild, { at, name, key }: Keyval, zone: KeyvalZone | undefined): void {
  const lower = name.toLowerCase();
  const look = (request: Request): string | undefined => zone?.find(key.render(request));
  const get = (request: Request) => evaluate(request, lower, look, logError);
  const set = (request: Request, value: string): void => {
    const text = key.render(request);
    const result = zone?.set(text, value) ?? "done";
    if (zone !== undefined && result !== "done") logError(request, "error", refusal(zone, text, result));
    else request.variables[variable.index] = value;
  };
  variables.declare(name, { get, set, cached: true, changeable: true }, at);
  const variable = variables.use(name, at);
}
