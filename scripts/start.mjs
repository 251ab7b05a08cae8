// npm start: the demo. Three copies of a small shop behind Holdfast, on http://127.0.0.1:8080/ (PORT changes it) and over
// TLS on https://localhost:8443/, or on another port where that is taken.
import { spawn } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { ensureBundle } from "./build.mjs";
import { ensureDependencies, ensureNode, main, ROOT } from "./setup.mjs";
import {
  answers,
  fetchText,
  free,
  freePorts,
  makeCertificate,
  SHOP,
  stopAll,
  tail,
  WRITTEN_COPIES,
  WRITTEN_PORT,
  WRITTEN_TLS_PORT,
  withPorts,
} from "./shop.mjs";

/** ms until a copy that died is started again: long enough to see it leave the status page first. */
const COMEBACK = Number(process.env.COMEBACK_MS ?? 10_000);

const say = (line = "") => process.stdout.write(`${line}\n`);

await main(async () => {
  const port = Number(process.env.PORT || WRITTEN_PORT);
  if (!Number.isInteger(port) || port < 1 || port > 65535) {
    process.stderr.write(`PORT is "${process.env.PORT}"; it must be a number from 1 to 65535.\n`);
    return 1;
  }
  ensureDependencies();
  ensureDependencies(SHOP);
  await ensureBundle();
  const node = ensureNode();
  if (!(await free(port))) {
    process.stderr.write(`Port ${port} is in use. Stop what listens there, or choose another: PORT=8081 npm start\n`);
    return 1;
  }
  return await demo(node, port);
});

/** Runs until a signal, until Holdfast ends, or until whoever started us has gone. Resolves to the exit status. */
async function demo(node, port) {
  const folder = mkdtempSync(join(tmpdir(), "holdfast-demo-"));
  chmodSync(folder, 0o755);
  mkdirSync(join(folder, "logs"));
  const children = new Set();
  let stopping = false;
  let finish;
  const finished = new Promise((resolve) => {
    finish = resolve;
  });
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => finish(0));
  // npm that is killed outright takes nobody with it; we notice and leave.
  const parent = process.ppid;
  const orphanWatch = setInterval(() => {
    if (process.env.npm_lifecycle_event === "start" && process.ppid !== parent) finish(0);
  }, 500);

  /** A child in a group of its own, so that Ctrl-C reaches us alone and things stop in order. */
  function start(program, args, env) {
    // Its standard input is a pipe that only we hold: should we be killed, it ends, and the child leaves by itself.
    const child = spawn(program, args, { cwd: SHOP, env, detached: true, stdio: ["pipe", "pipe", "inherit"] });
    child.stdin.on("error", () => {});
    children.add(child);
    child.gone = new Promise((resolve) => child.on("close", resolve)).then(() => children.delete(child));
    return child;
  }

  async function startCopy(copy) {
    const env = { ...process.env, NAME: copy.name, PORT: String(copy.port) };
    const child = start(node, ["server.mjs"], env);
    const ready = new Promise((resolve) => child.stdout.once("data", () => resolve(true)));
    copy.pid = child.pid;
    child.gone.then(async () => {
      if (stopping) return;
      say(`  Copy ${copy.name} (pid ${child.pid}) is gone. It is started again in ${COMEBACK / 1000} s.`);
      await sleep(COMEBACK, undefined, { ref: false });
      if (!stopping) await startCopy(copy);
    });
    if (copy.started) say(`  Copy ${copy.name} runs again as pid ${copy.pid}.`);
    copy.started = true;
    return await Promise.race([ready, child.gone.then(() => false)]);
  }

  let status = 1;
  try {
    const [tlsPort, ...ports] = await freePorts([WRITTEN_TLS_PORT, ...WRITTEN_COPIES]);
    const copies = ports.map((copyPort, index) => ({
      name: String(index + 1),
      port: copyPort,
      pid: 0,
      started: false,
    }));
    const started = await Promise.all(copies.map(startCopy));
    if (!started.every(Boolean)) return 1;

    const configuration = join(folder, "nginx.conf");
    writeFileSync(configuration, withPorts([port, tlsPort, ...ports]));
    if (!makeCertificate(node, folder)) return 1;
    const command = [join(ROOT, "bin", "holdfast"), "-p", folder, "-c", configuration, "-g", "daemon off;"];
    const url = `http://127.0.0.1:${port}`;
    let over = false;
    finished.then(() => {
      over = true;
    });
    /** Starts Holdfast; should it end once it has answered, again. Resolves to false when it has not answered. */
    const startProxy = async () => {
      const proxy = start(node, [join(SHOP, "leash.mjs"), folder, ...command], process.env);
      proxy.stdout.pipe(process.stderr, { end: false });
      let gone = false;
      proxy.gone.then(() => {
        gone = true;
      });
      if (!(await answers(`${url}/health`, () => over || gone))) return over;
      proxy.gone.then(async () => {
        if (stopping) return;
        say("  Holdfast is gone. It is started again at once.");
        if (!(await startProxy())) finish(1);
        else if (!stopping) say(`  Holdfast runs again as pid ${await pidOf(folder)}. The baskets are what they were.`);
      });
      return true;
    };
    if (!(await startProxy())) {
      process.stderr.write(`Holdfast did not start.\n${tail(join(folder, "logs", "error.log"))}`);
      return 1;
    }
    if (over) return 0;
    explain(url, `https://localhost:${tlsPort}`, copies, folder, await pidOf(folder));
    const watch = watchStates(`${url}/status?format=json`, copies);
    status = await finished;
    clearInterval(watch);
    if (status !== 0) process.stderr.write(`Holdfast ended.\n${tail(join(folder, "logs", "error.log"))}`);
    return status;
  } finally {
    stopping = true;
    clearInterval(orphanWatch);
    await stopAll(children);
    rmSync(folder, { recursive: true, force: true });
    if (status === 0) say("Stopped.");
  }
}

/** The pid of Holdfast's master, which is written down at about the time at which its workers answer. */
async function pidOf(folder) {
  for (const end = Date.now() + 5_000; Date.now() < end; await sleep(50)) {
    try {
      const pid = readFileSync(join(folder, "holdfast.pid"), "utf8").trim();
      // A Holdfast that was killed leaves its file behind.
      if (pid !== "" && alive(Number(pid))) return pid;
    } catch {
      // Not yet.
    }
  }
  return "?";
}

function alive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

function explain(url, secureUrl, copies, folder, pid) {
  say(`
  The shop        ${url}/         reload it: each page says which copy answered
  A product       ${url}/product/lantern   kept for ten seconds: the page says HIT or MISS, and its age
  Server status   ${url}/status   the active checks, once a second
  Over TLS        ${secureUrl}/  the same; the browser warns, since the certificate is signed by nobody it knows

${copies.map((copy) => `  Copy ${copy.name}          pid ${String(copy.pid).padEnd(8)} port ${copy.port}`).join("\n")}
  Holdfast        pid ${pid}

  Put something into the basket, then try this, in another terminal:
    kill -9 ${copies[0].pid}
        One copy dies. The shop goes on without a failed page; after three failed checks the status page shows it
        down. ${COMEBACK / 1000} s later it is started again, and after two good checks it takes traffic again.
    kill -STOP ${copies[1].pid}      and later      kill -CONT ${copies[1].pid}
        One copy hangs instead: it accepts connections and never answers. A page that was asked of it comes from
        another copy after 2 s. A POST (Add) that it was given gets 504 then: it may have been carried out, and like
        nginx, Holdfast does not send it twice. After three failed checks nothing goes there any more.
    kill -9 ${pid}
        Holdfast itself dies and is started again. No copy keeps a basket, it is in Holdfast's session zone: it is there
        again after all of this. The button "Kill a copy" at the foot of the page kills whichever copy is asked.
    while curl -sf -o /dev/null ${url}/; do :; done; echo failed
        Constant load that ends with the first failed page. Let it run while you do the above.

  Logs are in ${folder}/logs. Ctrl-C stops everything.
`);
}

/** Tells on the terminal when a check takes a copy out of service or brings it back. */
function watchStates(url, copies) {
  const states = new Map();
  return setInterval(async () => {
    const page = await fetchText(url).catch(() => undefined);
    if (page?.status !== 200) return;
    let servers;
    try {
      servers = JSON.parse(page.body).servers.server;
    } catch {
      return;
    }
    for (const server of servers) {
      const copy = copies.find((one) => server.name === `127.0.0.1:${one.port}`);
      const before = states.get(server.name);
      states.set(server.name, server.status);
      if (copy === undefined || before === undefined || before === server.status) continue;
      say(
        `  Holdfast: copy ${copy.name} is ${server.status}${server.status === "up" ? " and takes traffic again" : ""}.`,
      );
    }
  }, 500);
}
