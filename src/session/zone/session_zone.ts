import type { Cycle } from "../../runtime/cycle.ts";
import { openMainLog } from "../../runtime/log/directive.ts";
import type { SessionLimits } from "./change.ts";
import { EmbeddedStore } from "./embedded_store.ts";
import { openEnvironment } from "./environment.ts";
import { Signer } from "./session_id.ts";
import type { SessionStore } from "./store.ts";

/** `session_zone` */
export interface ZoneSettings extends SessionLimits {
  readonly name: string;
  /** Bytes that sessions may take. */
  readonly size: number;
  /** Its directory, as written. */
  readonly path: string;
  /** The file of the keys that sign cookies; undefined: one made by the store. */
  readonly keys: string | undefined;
}

/** A zone of sessions as a process has it in one cycle. */
export class SessionZone {
  readonly settings: ZoneSettings;
  readonly directory: string;
  readonly #cycle: Cycle;
  readonly #fileKeys: readonly Buffer[];
  #store: SessionStore | undefined;
  #signer: Signer | undefined;

  /** `keys`: of its file; empty where it has none. */
  constructor(settings: ZoneSettings, cycle: Cycle, keys: readonly Buffer[]) {
    this.settings = settings;
    this.#cycle = cycle;
    this.directory = cycle.path(settings.path);
    this.#fileKeys = keys;
  }

  /** Opens the store, in a process that uses it. */
  open(): void {
    const { size, name } = this.settings;
    const log = openMainLog(this.#cycle);
    const trouble = (sentence: string): void => log.write("crit", `session zone "${name}": ${sentence}`);
    this.#store = new EmbeddedStore(openEnvironment(this.directory, size, false), this.settings, trouble);
    this.#signer = new Signer(name, this.#fileKeys.length > 0 ? this.#fileKeys : this.#store.keys());
  }

  get store(): SessionStore {
    if (this.#store === undefined)
      throw new Error(`session zone "${this.settings.name}" was used before it was opened`);
    return this.#store;
  }

  get signer(): Signer {
    if (this.#signer === undefined)
      throw new Error(`session zone "${this.settings.name}" was used before it was opened`);
    return this.#signer;
  }
}
