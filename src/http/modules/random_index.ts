import type fs from "node:fs";
import { flag } from "../../config/directives.ts";
import { LOCATION } from "../conf/contexts.ts";
import { defineModule } from "../conf/module.ts";
import { DECLINED, DONE } from "../core/codes.ts";
import { finalizeIfAborted, finalizeRequest, internalRedirect, runPhases } from "../core/engine.ts";
import type { Request } from "../core/request.ts";
import { DirectoryReading, type DirectoryVisitor, openDirectory } from "../files/directory.ts";
import { mapUriToPath } from "../files/file_root.ts";

/** ngx_http_random_index_module: serves a URI that ends with a slash by any file of the directory. */
export const randomIndex = defineModule({
  name: "http_random_index",
  configure: "--with-http_random_index_module",
  directives: {
    random_index: flag({
      in: LOCATION,
      default: false,
      doc: "Answers a URI that ends with a slash with a random file of the directory, before `index` is tried. Hidden files are left out.",
    }),
  },
  contentPhase: (settings) => (settings.random_index ? pick : undefined),
});

function pick(request: Request): number {
  const { uri, method } = request;
  if (!uri.endsWith("/")) return DECLINED;
  if (method !== "GET" && method !== "HEAD" && method !== "POST") return DECLINED;
  const mapped = mapUriToPath(request);
  if (mapped === undefined) return 500;
  const path = mapped.path.slice(0, -1);
  const directory = openDirectory(request, path);
  if (typeof directory === "number") return directory;
  new RandomFile(request, directory, path).begin();
  return DONE;
}

const DANGLING: ReadonlySet<string> = new Set(["ENOENT"]);
const NONE: ReadonlySet<string> = new Set();

/** Chooses among a directory's files while it is read, so that only one name is kept. */
class RandomFile implements DirectoryVisitor {
  readonly dangling = DANGLING;
  readonly skipped = NONE;
  readonly #request: Request;
  readonly #reading: DirectoryReading;
  #chosen = "";
  #files = 0;

  constructor(request: Request, directory: fs.Dir, path: string) {
    this.#request = request;
    this.#reading = new DirectoryReading(request, directory, path, this);
    request.onAbort = finalizeIfAborted;
    request.cleanup ??= [];
    request.cleanup.push(() => this.#reading.stop());
  }

  begin(): void {
    this.#reading.begin();
  }

  onFault(error: unknown): void {
    this.#request.onFault(error);
  }

  onName(name: string, entry: fs.Dirent): boolean {
    if (entry.isFile()) this.#add(name);
    return entry.isSymbolicLink();
  }

  onStats(name: string, stats: fs.Stats): void {
    if (stats.isFile()) this.#add(name);
  }

  /** The nth file takes the place of the one chosen so far with a probability of 1/n: each is as likely. */
  #add(name: string): void {
    this.#files++;
    if (Math.random() * this.#files < 1) this.#chosen = name;
  }

  onEnd(complete: boolean): void {
    const request = this.#request;
    request.onAbort = undefined;
    if (!complete) {
      finalizeRequest(request, 500);
    } else if (this.#files > 0) {
      internalRedirect(request, request.uri + this.#chosen, request.args);
    } else {
      request.step++;
      runPhases(request);
    }
  }
}
