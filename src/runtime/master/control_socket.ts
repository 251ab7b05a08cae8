import { closeSync, renameSync, statSync, unlinkSync } from "node:fs";
import { bindSocket } from "../../net/listening_socket.ts";
import { errnoCode, errnoText } from "../../sys/errno.ts";
import { osPath } from "../../sys/paths.ts";
import type { Cycle } from "../cycle.ts";
import { coreDirectives } from "../directives.ts";

/** The longest path of a unix socket, bytes (sun_path). */
const MOST_PATH = 107;

/** Where the control socket of a configuration is, and whether a directive says so; undefined with `off`. */
export function controlPath({ root, path }: Pick<Cycle, "root" | "path">) {
  const { control_socket: given, pid } = coreDirectives.in(root);
  if (given === "off") return undefined;
  return { path: path(given ?? `${pid.replace(/\.pid$/, "")}.sock`), configured: given !== undefined };
}

/**
 * The master's control socket (control/protocol.ts). The master only holds it: who accepts and answers is the checker, so
 * what is sent there never reaches the master. Only the master's user may connect. Its file takes the place of whatever
 * socket was there: of a master that was killed, or of the one whose new binary this is.
 */
export class ControlSocket {
  #fd = -1;
  #path: string | undefined;
  #inode = "";

  /** -1 where there is none. */
  get fd(): number {
    return this.#fd;
  }

  /** Has the socket at that path, or none. Returns the sentence of a failure. */
  open(path: string | undefined): string | undefined {
    if (path === this.#path) return undefined;
    this.close();
    return path === undefined ? undefined : this.#bind(path);
  }

  /** Another master had its own in this place, and has gone. */
  restore(): string | undefined {
    const path = this.#path;
    if (path === undefined || inodeOf(path) === this.#inode) return undefined;
    this.close();
    return this.#bind(path);
  }

  #bind(path: string): string | undefined {
    const beside = `${path}.${process.pid}`;
    if (beside.length > MOST_PATH) return `the path of the control socket "${path}" is too long`;
    remove(beside);
    const bound = bindSocket({
      address: { family: "unix", path: beside },
      ipv6only: undefined,
      join: false,
      mode: 0o600,
    });
    if ("code" in bound) return `${bound.call} to control socket unix:${beside} failed ${errnoText(bound.code)}`;
    try {
      this.#inode = inodeOf(beside);
      renameSync(osPath(beside), osPath(path));
    } catch (error) {
      closeSync(bound.fd);
      remove(beside);
      return `rename() "${beside}" to "${path}" failed ${errnoText(errnoCode(error) ?? "EIO")}`;
    }
    this.#fd = bound.fd;
    this.#path = path;
    return undefined;
  }

  /** The file stays where it is another's by now. */
  close(): void {
    if (this.#fd < 0) return;
    closeSync(this.#fd);
    this.#fd = -1;
    if (this.#path !== undefined && inodeOf(this.#path) === this.#inode) remove(this.#path);
    this.#path = undefined;
  }
}

function inodeOf(path: string): string {
  try {
    const { dev, ino } = statSync(osPath(path));
    return `${dev}:${ino}`;
  } catch {
    return "";
  }
}

function remove(path: string): void {
  try {
    unlinkSync(osPath(path));
  } catch {
    // It is not there, mostly; else bind() or rename() says why.
  }
}
