// npm run build: all of src/ in one file, dist/holdfast.mjs, which starts several times faster than the source.
// bin/holdfast runs it while it is newer than everything it was made from; nothing else depends on it.
import { spawnSync } from "node:child_process";
import { mkdirSync, renameSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import { pathToFileURL } from "node:url";
import { ensureDependencies, main, ROOT } from "./setup.mjs";

const DIST = join(ROOT, "dist");
const BUNDLE = join(DIST, "holdfast.mjs");
/** The same in bin/holdfast. */
const SOURCES = ["src/", "package.json", "scripts/build.mjs"];

/**
 * Builds when the bundle is missing or older than its sources. Where that cannot be done (a read-only checkout, a source
 * file being edited), Holdfast runs from source: it starts a little slower, and nothing is reported but a mistake.
 */
export async function ensureBundle() {
  if (isFresh()) return;
  process.stderr.write("Setting up: building …\n");
  try {
    await build();
  } catch (error) {
    if (!["EACCES", "EPERM", "EROFS"].includes(error.code)) process.stderr.write(`Not built: ${error.message}\n`);
  }
}

/** Folders count too: what was removed or renamed changes theirs. */
function isFresh() {
  const find = spawnSync("find", [...SOURCES, "-newer", BUNDLE, "-print", "-quit"], { cwd: ROOT, encoding: "utf8" });
  return find.status === 0 && find.stdout === "";
}

async function build() {
  const started = new Date();
  mkdirSync(DIST, { recursive: true });
  const { build: bundle, stop } = await import("esbuild");
  const { outputFiles } = await bundle({
    entryPoints: [join(ROOT, "src", "bundle.ts")],
    absWorkingDir: ROOT,
    outfile: BUNDLE,
    bundle: true,
    write: false,
    platform: "node",
    format: "esm",
    target: "node24",
    // Every process keeps the text, for error stacks and for functions that are compiled later. A single character beyond
    // latin1, in a comment for instance, would make it two bytes a character. Names stay, for stacks.
    minifyWhitespace: true,
    minifySyntax: true,
    legalComments: "none",
    // Native code, found beside it; loaded where sessions are kept.
    external: ["lmdb"],
    // Beside the bundle, and not named in it: stack traces are translated only when they are written to a debug log.
    sourcemap: "external",
    sourcesContent: false,
    logLevel: "silent",
    // Its helper process would live as long as this one does, which may be the demo.
  }).finally(stop);
  // Another build may run at the same time, and Holdfast may start: each finds a whole file. The map goes first.
  for (const { path, contents } of outputFiles.sort((one, other) => other.path.length - one.path.length)) {
    const temporary = `${path}.${process.pid}`;
    try {
      writeFileSync(temporary, contents, { mode: 0o644 });
      // What was edited while this ran is newer than the bundle.
      utimesSync(temporary, started, started);
      renameSync(temporary, path);
    } finally {
      rmSync(temporary, { force: true });
    }
  }
  return outputFiles.map(({ path, contents }) => `${relative(ROOT, path)} (${Math.ceil(contents.length / 1024)} KiB)`);
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  await main(async () => {
    ensureDependencies();
    process.stdout.write(`Built ${(await build()).reverse().join(" and ")}.\n`);
  });
}
