import { enumeration, flag, number } from "../../../config/directives.ts";
import { type DirectiveSpec, fail, type Scope } from "../../../config/schema.ts";
import type { Directive } from "../../../config/types.ts";
import { parseNumber } from "../../../config/values.ts";
import type { Cycle } from "../../../runtime/cycle.ts";
import { openMainLog } from "../../../runtime/log/directive.ts";
import { LruHash } from "../../../shm/lru_hash.ts";
import { type DeclaredZone, declareZone, readZone } from "../../../shm/registry.ts";
import type { ZoneKind } from "../../../shm/zone.ts";
import { HTTP_LOCATION } from "../../conf/contexts.ts";
import { logError } from "../../core/log_context.ts";
import type { Request } from "../../core/request.ts";
import { type Template, template } from "../../core/script.ts";

/**
 * What limit_req and limit_conn share: zones with an entry for each key, and the directives that configure refusals.
 */

export type LogLevel = "info" | "notice" | "warn" | "error";

export class LimitZone {
  readonly name: string;
  readonly key: Template;
  /** limit_req's rate in thousandths of requests a second. */
  readonly rate: number;
  readonly #declared: DeclaredZone;
  #cycle: Cycle | undefined;
  #entries: LruHash | undefined;

  constructor(declared: DeclaredZone, key: Template, rate: number) {
    this.name = declared.name;
    this.key = key;
    this.rate = rate;
    this.#declared = declared;
  }

  /**
   * Called when the configuration has been read. `what`: nginx's word for the zone in the error about a changed key.
   */
  open(cycle: Cycle, what: string): void {
    const { kind, name, size } = this.#declared;
    const { text } = this.key;
    this.#cycle = cycle;
    const refusal = (before: string): string =>
      `${what} "${name}" uses the "${text}" key while previously it used the "${before}" key`;
    this.#entries = new LruHash(cycle.zone({ kind, name, size, key: { text, refusal } }));
  }

  /** Takes the zone's lock. True if a worker died holding it, which is logged. */
  lock(): boolean {
    const { entries } = this;
    if (!entries.lock()) return false;
    const text = `a worker died with zone "${this.name}" locked, ${entries.size} entries were put in order`;
    if (this.#cycle !== undefined) openMainLog(this.#cycle).write("alert", text);
    return true;
  }

  unlock(): void {
    this.entries.unlock();
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
  readonly #bound = new WeakMap<DeclaredZone, LimitZone>();

  constructor(kind: ZoneKind) {
    this.#kind = kind;
  }

  /** `limit_…_zone key zone=name:size [rate=rate]` */
  read(at: Directive, scope: Scope): LimitZone {
    const [text, ...parameters] = at.args;
    const key = template(scope, at, text);
    let name = "";
    let size = 0;
    let rate = 1000;
    for (const parameter of parameters) {
      if (parameter.startsWith("zone=")) ({ name, size } = readZone(at, parameter));
      else if (at.name === "limit_req_zone" && parameter.startsWith("rate=")) rate = readRate(at, parameter);
      else fail(at, `invalid parameter "${parameter}"`);
    }
    if (name === "") withoutZone(at);
    const declared = declareZone(at, scope, this.#kind, name, size);
    const known = this.#bound.get(declared);
    if (known !== undefined) fail(at, `${at.name} "${name}" is already bound to key "${known.key.text}"`);
    const made = new LimitZone(declared, key, rate);
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
