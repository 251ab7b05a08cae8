import { directive } from "../../config/directives.ts";
import { fail } from "../../config/schema.ts";
import { extenOf } from "../../wire/uri.ts";
import { defineModule, type HttpModule } from "../conf/module.ts";
import { DECLINED } from "../core/codes.ts";
import { internalRedirect, namedRedirect } from "../core/engine.ts";
import type { Request } from "../core/request.ts";
import { type Template, template } from "../core/script.ts";
import { mapUriToPath, WHOLE_URI } from "../files/file_root.ts";
import { testFile } from "../files/file_test.ts";

interface TriedFile {
  readonly name: Template;
  /** Written with a trailing slash: a directory is looked for. */
  readonly directory: boolean;
}

interface TryFiles {
  readonly files: readonly TriedFile[];
  /** The URI or named location to use if none of them exists. */
  readonly fallback: Template;
  /** `=code` in place of it. */
  readonly code: number | undefined;
}

interface TryFilesSettings {
  readonly try_files: TryFiles | undefined;
}

export const tryFiles: HttpModule<TryFilesSettings> = defineModule({
  name: "http_try_files",
  directives: {
    try_files: directive<TryFiles | undefined>({
      in: ["server", "location"],
      args: [2, Number.POSITIVE_INFINITY],
      syntax: "file ... uri | file ... =code",
      doc: "Serves the first file (or, with a slash at its end, directory) that is there; the last argument is where to go when none is: a URI, a named location, or a status.",
      initial: () => undefined,
      inherit: false,
      read(at, scope) {
        const files = at.args.slice(0, -1).map((arg) => {
          const directory = arg.endsWith("/");
          return { name: template(scope, at, directory ? arg.slice(0, -1) : arg), directory };
        });
        const last = at.args[at.args.length - 1];
        const fallback = template(scope, at, last);
        if (!last.startsWith("=")) return { files, fallback, code: undefined };
        const digits = last.slice(1);
        if (!/^\d+$/.test(digits) || Number(digits) > 999) fail(at, `invalid code "${last}"`);
        return { files, fallback, code: Number(digits) };
      },
    }),
  },
  precontent: ({ try_files: tried }) => (tried === undefined ? undefined : (request) => tryEach(request, tried)),
});

function tryEach(request: Request, { files, fallback, code }: TryFiles): number {
  const { alias } = request.location.core.root;
  const mapped = mapUriToPath(request);
  if (mapped === undefined) return 500;
  const root = mapped.path.slice(0, mapped.rootLength);
  for (const { name, directory } of files) {
    const file = nameUnder(request, name, alias);
    const stats = testFile(request, root + file);
    if (stats === undefined || stats.isDirectory() !== directory) continue;
    if (alias === 0) {
      request.uri = file;
    } else if (alias !== WHOLE_URI) {
      request.uri = request.uri.slice(0, alias) + file;
    } else if (!directory) {
      request.uri = file;
      request.addUriToAlias = true;
    }
    request.exten = extenOf(request.uri);
    return DECLINED;
  }
  if (code !== undefined) return code;
  const target = nameUnder(request, fallback, alias);
  if (target.startsWith("@")) return namedRedirect(request, target);
  const question = target.indexOf("?");
  if (question < 0) return internalRedirect(request, target, "");
  return internalRedirect(request, target.slice(0, question), target.slice(question + 1));
}

/** From a name with variables the location's own name is removed, which the alias replaces. */
function nameUnder(request: Request, name: Template, alias: number): string {
  if (name.constant !== undefined) return name.constant;
  const text = name.render(request);
  return alias > 0 && text.startsWith(request.uri.slice(0, alias)) ? text.slice(alias) : text;
}
