import { closeSync, constants, fstatSync, openSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import type { ErrorLog } from "../../../runtime/log/log.ts";
import { errnoCode } from "../../../sys/errno.ts";
import { osPath } from "../../../sys/paths.ts";
import type { CertificateZone } from "./certificate_zone.ts";
import type { Order } from "./order.ts";
import { type Certificate, EMPTY_RECORD, recordKey, writeRecord } from "./record.ts";
import { ASK_FIRST } from "./schedule.ts";
import { certificateFrom } from "./x509.ts";

/**
 * An issuer's `state_path`: its account's key and URL, and each order's certificate and key, in files named as nginx's
 * module does. The master makes the directory for the user whom the checker becomes, with mode 0700.
 */

export const ACCOUNT_KEY = "account.key";
export const ACCOUNT_URL = "account.url";

/** No file of ours is longer. */
const MOST_BYTES = 1 << 20;

export class StateDirectory {
  readonly #path: string;

  constructor(path: string) {
    this.#path = path;
  }

  /**
   * undefined where there is no such file. Throws Error. The master reads here what another user can write: links that lead
   * to what only root may read are not followed.
   */
  read(name: string): string | undefined {
    let fd: number;
    try {
      fd = openSync(this.#file(name), constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    } catch (error) {
      if (errnoCode(error) === "ENOENT") return undefined;
      throw error;
    }
    try {
      const status = fstatSync(fd);
      if (!status.isFile() || status.nlink !== 1 || status.size > MOST_BYTES)
        throw new Error(`"${name}" is no plain file`);
      return readFileSync(fd, "latin1");
    } finally {
      closeSync(fd);
    }
  }

  /** All files or none is there afterwards, unless the system goes down meanwhile. Throws as node:fs does. */
  write(files: Readonly<Record<string, string>>): void {
    const names = Object.keys(files);
    for (const name of names) {
      writeFileSync(this.#file(`${name}.new`), files[name], { encoding: "latin1", mode: 0o600, flush: true });
    }
    for (const name of names) renameSync(this.#file(`${name}.new`), this.#file(name));
  }

  /** The certificate from an earlier run; undefined where there is none. Throws Error where it cannot be used. */
  certificate({ id }: Order): Certificate | undefined {
    const chain = this.read(`${id}.crt`);
    const key = chain && this.read(`${id}.key`);
    return key && chain ? certificateFrom(chain, key) : undefined;
  }

  writeCertificate({ id }: Order, { chain, key }: Certificate): void {
    this.write({ [`${id}.crt`]: chain, [`${id}.key`]: key });
  }

  #file(name: string): string | Buffer {
    return osPath(`${this.#path}/${name}`);
  }
}

/** Puts what an earlier run has left into the zone, where that has nothing, or what was left half written. */
export function restoreCertificate(
  zone: CertificateZone,
  { name, state }: { readonly name: string; readonly state: StateDirectory | undefined },
  order: Order,
  log: ErrorLog,
): void {
  if (state === undefined || zone.read(recordKey(order)) !== undefined) return;
  try {
    const certificate = state.certificate(order);
    if (certificate !== undefined) writeRecord(zone, order, { ...EMPTY_RECORD, certificate, schedule: ASK_FIRST });
  } catch (error) {
    const of = `acme issuer: "${name}", order: "${order.id}"`;
    log.write("warn", `cannot load certificate from the state directory: ${String(error)}, ${of}`);
  }
}
