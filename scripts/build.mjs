// npm run build: all of src/ in one file, dist/program.js, which starts several times faster than the source; its bytecode
// beside it; and dist/holdfast.mjs, which runs it. bin/holdfast starts that while it is newer than everything it was made from;
// nothing else depends on it.
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, renameSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { pathToFileURL } from "node:url";
import { ensureDependencies, main, ROOT } from "./setup.mjs";

const DIST = join(ROOT, "dist");
const BUNDLE = join(DIST, "holdfast.mjs");
/** src/redis/client.ts loads it. */
const REDIS = join(DIST, "redis.cjs");
const PROGRAM = join(DIST, "program.js");
/** The same in bin/holdfast. */
const SOURCES = ["src/", "package.json", "scripts/build.mjs"];

/** Has the functions called, and so compiled, that nearly every configuration needs. */
const SAMPLE = `pid nginx.pid; events {} http {
  access_log off;
  upstream shop { server 127.0.0.1:1; }
  server { listen unix:nginx.sock; server_name shop; location / { root html; } location ~ ^/shop { proxy_pass http://shop; } }
}`;

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

/** What is said of directives for docs/directives.md alone, which is made from the source: 0.2 MB in each process. */
const withoutSentences = {
  name: "without sentences",
  setup({ onLoad }) {
    onLoad({ filter: /\/src\/.*\.ts$/ }, async ({ path }) => {
      const source = await readFile(path, "utf8");
      // What is left has as many lines, for the map.
      const contents = source.replace(/\b(doc|syntax|defaultText):(\s*)"(?:[^"\\\n]|\\.)*"(?=\s*[,}])/g, '$1:$2""');
      return { contents, loader: "ts" };
    });
  },
};

/** What both files are made with. */
const COMMON = {
  absWorkingDir: ROOT,
  bundle: true,
  write: false,
  platform: "node",
  target: "node24",
  // Every process keeps the text, for error stacks and for functions that are compiled later. A single character beyond
  // latin1, in a comment for instance, would make it two bytes a character. Names stay, for stacks.
  charset: "ascii",
  minifyWhitespace: true,
  minifySyntax: true,
  legalComments: "none",
  logLevel: "silent",
};

async function build() {
  const started = new Date();
  mkdirSync(DIST, { recursive: true });
  const { build: bundle, stop } = await import("esbuild");
  const files = await Promise.all([
    bundle({
      ...COMMON,
      entryPoints: [join(ROOT, "src", "boot.ts")],
      outfile: PROGRAM,
      // A function of what src/bundle.ts gives it.
      format: "cjs",
      banner: { js: "(function (module, require, importMetaUrl) {" },
      footer: { js: "})" },
      define: { "import.meta.url": "importMetaUrl" },
      plugins: [withoutSentences],
      // Beside the program, and not named in it: stack traces are translated only when they are written to a debug log.
      sourcemap: "external",
      sourcesContent: false,
      // Native code, found beside it; loaded where sessions are kept.
      external: ["lmdb"],
    }),
    bundle({ ...COMMON, entryPoints: [join(ROOT, "src", "bundle.ts")], outfile: BUNDLE, format: "esm" }),
    // Loaded where a group keeps sessions in Redis: some 600 files of a library, in a quarter of the time.
    bundle({
      ...COMMON,
      entryPoints: ["@redis/client"],
      outfile: REDIS,
      format: "cjs",
      // What it can do without.
      external: ["@node-rs/xxhash", "@opentelemetry/api"],
    }),
    // Its helper process would live as long as this one does, which may be the demo.
  ]).finally(stop);
  // Another build may run at the same time, and Holdfast may start: each finds a whole file. The map goes first, and last what
  // bin/holdfast looks at.
  const outputs = files.flatMap(({ outputFiles }) => outputFiles);
  for (const { path, contents, text } of outputs) {
    const temporary = `${path}.${process.pid}`;
    const hash = path === PROGRAM ? `\n//${createHash("sha256").update(contents).digest("hex")}` : "";
    try {
      writeFileSync(temporary, path === PROGRAM ? withoutCopies(text) + hash : text, { mode: 0o644 });
      // What was edited while this ran is newer than the bundle.
      utimesSync(temporary, started, started);
      renameSync(temporary, path);
    } finally {
      rmSync(temporary, { force: true });
    }
  }
  makeBytecode();
  return outputs.map(({ path, contents }) => `${relative(ROOT, path)} (${Math.ceil(contents.length / 1024)} KiB)`);
}

/**
 * For each `import fs from "node:fs"` esbuild copies all that the module exports, in each process 2 MB and 4 ms for all of them. Nothing but
 * the default export is used of the copy. As long as what it replaces, for the map.
 */
function withoutCopies(text) {
  const copied = /(import_node_\w+)=__toESM\((require\("node:[\w/]+"\)),1\)/g;
  for (const [, name] of text.matchAll(copied)) {
    const other = new RegExp(`\\b${name}\\.(?!default\\b)\\w+`).exec(text);
    if (other !== null)
      throw new Error(`${other[0]}: import either the default export of a module of Node's, or others`);
  }
  return text.replaceAll(copied, "$1={default:$2} ");
}

/** A process that finds none writes it when it exits. Where that fails, whoever runs Holdfast first with the right to does. */
function makeBytecode() {
  const prefix = mkdtempSync(join(tmpdir(), "holdfast-build-"));
  try {
    writeFileSync(join(prefix, "nginx.conf"), SAMPLE);
    spawnSync(join(ROOT, "bin", "holdfast"), ["-t", "-p", prefix, "-c", "nginx.conf", "-e", "/dev/null"]);
  } finally {
    rmSync(prefix, { recursive: true, force: true });
  }
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  await main(async () => {
    ensureDependencies();
    process.stdout.write(`Built ${(await build()).reverse().join(" and ")}.\n`);
  });
}
