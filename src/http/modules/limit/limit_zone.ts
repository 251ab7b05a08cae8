import { enumeration, flag, number } from "../../../config/directives.ts";
import { type DirectiveSpec, fail, type Scope } from "../../../config/schema.ts";
import type { Directive } from "../../../config/types.ts";
import { parseNumber } from "../../../config/values.ts";
import type { Cycle } from "../../../runtime/cycle.ts";
import { openMainLog } from "../../../runtime/log/directive.ts";
import { LruHash, OWN_WORDS } from "../../../shm/lru_hash.ts";
import { type DeclaredZone, declareZone, readZone } from "../../../shm/registry.ts";
import type { ZoneKind } from "../../../shm/zone.ts";
import { HTTP_LOCATION } from "../../conf/contexts.ts";
import { logError } from "../../core/log_context.ts";
import type { Request } from "../../core/request.ts";
import { type Template, template } from "../../core/script.ts";
import { CHANGED_WORDS, ChangedEntries } from "./changed_entries.ts";

/**
 * What limit_req and limit_conn share: zones with an entry for each key, and the directives that configure refusals.
 */

export type LogLevel = "info" | "notice" | "warn" | "error";

/** The second kind of a zone that is shared with other nodes: its entries have more. */
function syncedKind({ name, version }: ZoneKind): ZoneKind {
  return { name: `${name} sync`, version };
}

export class LimitZone {
  readonly name: string;
  readonly key: Template;
  /** limit_req's rate in thousandths of requests a second. */
  readonly rate: number;
  /** `sync`: where the configuration says so. */
  readonly sync: Directive | undefined;
  /** It is shared indeed: changes are noted in `changed`. */
  shared = false;
  readonly #declared: DeclaredZone;
  readonly #links: number;
  #changed: ChangedEntries | undefined;
  #cycle: Cycle | undefined;
  #entries: LruHash | undefined;

  /** `links`: where in a value of a shared zone its list of changes has two words. */
  constructor(declared: DeclaredZone, key: Template, rate: number, sync: Directive | undefined, links: number) {
    this.name = declared.name;
    this.key = key;
    this.rate = rate;
    this.sync = sync;
    this.#declared = declared;
    this.#links = links;
  }

  /**
   * Called when the configuration has been read. `what`: nginx's word for the zone in the error about a changed key.
   */
  open(cycle: Cycle, what: string): void {
    const { kind: own, name, size } = this.#declared;
    const kind = this.sync === undefined ? own : syncedKind(own);
    const { text } = this.key;
    this.#cycle = cycle;
    const refusal = (before: string): string =>
      `${what} "${name}" uses the "${text}" key while previously it used the "${before}" key`;
    const zone = cycle.zone({ kind, name, size, key: { text, refusal } });
    this.#entries = new LruHash(zone, this.sync === undefined ? 0 : CHANGED_WORDS);
    if (this.sync !== undefined) this.#changed = new ChangedEntries(this.#entries, OWN_WORDS, this.#links);
  }

  /** Takes the zone's lock. True if a worker died holding it, which is logged. */
  lock(): boolean {
    const { entries } = this;
    if (!entries.lock()) return false;
    this.#changed?.repair();
    const text = `a worker died with zone "${this.name}" locked, ${entries.size} entries were put in order`;
    if (this.#cycle !== undefined) openMainLog(this.#cycle).write("alert", text);
    return true;
  }

  unlock(): void {
    this.entries.unlock();
  }

  /** What the other nodes are to be told of; undefined in a zone that is not declared as shared. */
  get changed(): ChangedEntries | undefined {
    return this.#changed;
  }

  get entries(): LruHash {
    if (this.#entries === undefined) throw new Error(`zone "${this.name}" was used before it was opened`);
    return this.#entries;
  }

  /** The request's key; "" if it is not limited because its key is empty or longer than `most` bytes. */
  keyOf(request: Request, most: number): string {
    const key = this.key.render(request);
    if (key.length <= most) return key;
    logError(request, "error", `the value of the "${this.key.text}" key is more than ${most} bytes: "${key}"`);
    return "";
  }
}

/** The zones of one of the two modules, by their declarations. */
export class LimitZones {
  readonly #kind: ZoneKind;
  readonly #links: number;
  readonly #bound = new WeakMap<DeclaredZone, LimitZone>();

  /** `links`: see LimitZone. */
  constructor(kind: ZoneKind, links: number) {
    this.#kind = kind;
    this.#links = links;
  }

  /** `limit_…_zone key zone=name:size [rate=rate]` */
  read(at: Directive, scope: Scope): LimitZone {
    const [text, ...parameters] = at.args;
    const key = template(scope, at, text);
    let name = "";
    let size = 0;
    let rate = 1000;
    let sync: Directive | undefined;
    for (const parameter of parameters) {
      if (parameter.startsWith("zone=")) ({ name, size } = readZone(at, parameter));
      else if (at.name === "limit_req_zone" && parameter.startsWith("rate=")) rate = readRate(at, parameter);
      else if (parameter === "sync") sync = at;
      else fail(at, `invalid parameter "${parameter}"`);
    }
    if (name === "") withoutZone(at);
    const declared = declareZone(at, scope, this.#kind, name, size);
    const known = this.#bound.get(declared);
    if (known !== undefined) fail(at, `${at.name} "${name}" is already bound to key "${known.key.text}"`);
    const made = new LimitZone(declared, key, rate, sync, this.#links);
    this.#bound.set(declared, made);
    return made;
  }

  /** The zone that a directive names, which may be declared later in the configuration. */
  name(at: Directive, scope: Scope, name: string): DeclaredZone {
    return declareZone(at, scope, this.#kind, name, 0);
  }

  /**
   * Called when the configuration has been read. Undefined for a zone that was not declared, which is reported
   * elsewhere.
   */
  find(declared: DeclaredZone): LimitZone | undefined {
    return this.#bound.get(declared);
  }
}

/** `rate=5r/s` or `rate=30r/m`, in thousandths of requests a second. */
function readRate(at: Directive, parameter: string): number {
  const [, text, unit] = /^rate=(.*?)(r\/[sm])?$/s.exec(parameter) ?? [];
  const rate = parseNumber(text);
  if (!rate) fail(at, `invalid rate "${parameter}"`);
  return Math.floor((rate * 1000) / (unit === "r/m" ? 60 : 1));
}

export function withoutZone(at: Directive): never {
  return fail(at, `"${at.name}" must have "zone" parameter`);
}

export function logLevel(doc: string): DirectiveSpec<LogLevel> {
  return enumeration({ in: HTTP_LOCATION, values: ["info", "notice", "warn", "error"], default: "error", doc });
}

export function refusalStatus(doc: string): DirectiveSpec<number> {
  return number({ in: HTTP_LOCATION, min: 400, max: 599, default: 503, doc });
}

export function dryRun(doc: string): DirectiveSpec<boolean> {
  return flag({ in: HTTP_LOCATION, default: false, doc });
}
