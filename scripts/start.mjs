// npm start: the demo. Three copies of a small shop behind Holdfast, on http://127.0.0.1:8080/ (PORT changes it) and over
// TLS on https://localhost:8443/, or on another port where that is taken.
import { spawn, spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { get } from "node:http";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { ensureBundle } from "./build.mjs";
import { ensureDependencies, ensureNode, main, ROOT } from "./setup.mjs";

const SHOP = join(ROOT, "examples", "shop");
/** What stands for the proxy's and the copies' ports in examples/shop/nginx.conf. */
const WRITTEN_PORT = 8080;
const WRITTEN_TLS_PORT = 8443;
const WRITTEN_COPIES = [3001, 3002, 3003];
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
  const secret = randomBytes(32).toString("hex");
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
    const env = { ...process.env, NAME: copy.name, PORT: String(copy.port), SECRET: secret };
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
    const proxy = start(node, [join(SHOP, "leash.mjs"), folder, ...command], process.env);
    proxy.stdout.pipe(process.stderr);
    proxy.gone.then(() => finish(1));
    const url = `http://127.0.0.1:${port}`;
    let over = false;
    finished.then(() => {
      over = true;
    });
    if (!(await answers(`${url}/health`, () => over))) {
      if (proxy.exitCode === null && proxy.signalCode === null) return 0;
      process.stderr.write(`Holdfast did not start.\n${tail(join(folder, "logs", "error.log"))}`);
      return 1;
    }
    explain(url, `https://localhost:${tlsPort}`, copies, folder);
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

/** Writes a certificate for localhost and its key beside the configuration. */
function makeCertificate(node, folder) {
  const { status } = spawnSync(node, ["certificate.mjs", folder], {
    cwd: SHOP,
    stdio: ["ignore", "ignore", "inherit"],
  });
  return status === 0;
}

function explain(url, secureUrl, copies, folder) {
  say(`
  The shop        ${url}/         reload it: each page says which copy answered
  A product       ${url}/product/lantern   kept for ten seconds: the page says HIT or MISS, and its age
  Server status   ${url}/status   the active checks, once a second
  Over TLS        ${secureUrl}/  the same; the browser warns, since the certificate is signed by nobody it knows

${copies.map((copy) => `  Copy ${copy.name}          pid ${String(copy.pid).padEnd(8)} port ${copy.port}`).join("\n")}

  Try this, in another terminal:
    kill -9 ${copies[0].pid}
        One copy dies. The shop goes on without a failed page; after three failed checks the status page shows it
        down. ${COMEBACK / 1000} s later it is started again, and after two good checks it takes traffic again.
    kill -STOP ${copies[1].pid}      and later      kill -CONT ${copies[1].pid}
        One copy hangs instead: it accepts connections and never answers. A page that was asked of it comes from
        another copy after 2 s. A POST (Add) that it was given gets 504 then: it may have been carried out, and like
        nginx, Holdfast does not send it twice. After three failed checks nothing goes there any more.
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

/** Asks every child to leave, then insists. A stopped (SIGSTOP) child hears only SIGKILL and SIGCONT. */
async function stopAll(children) {
  for (const child of children) {
    child.kill("SIGTERM");
    child.kill("SIGCONT");
  }
  const all = Promise.all([...children].map((child) => child.gone));
  await Promise.race([all, sleep(5_000, undefined, { ref: false })]);
  for (const child of children) child.kill("SIGKILL");
  await all;
}

/** The configuration with these ports in place of the written ones. */
function withPorts(ports) {
  let text = readFileSync(join(SHOP, "nginx.conf"), "utf8");
  [WRITTEN_PORT, WRITTEN_TLS_PORT, ...WRITTEN_COPIES].forEach((written, index) => {
    const address = new RegExp(`127\\.0\\.0\\.1:${written}(?=[ ;])`, "g");
    if (!address.test(text)) throw new Error(`examples/shop/nginx.conf has no 127.0.0.1:${written}`);
    text = text.replaceAll(address, `127.0.0.1:\0${ports[index]}`);
  });
  return text.replaceAll("\0", "");
}

/** These ports where they are free, else any free ones. */
async function freePorts(wanted) {
  const ports = [];
  for (const port of wanted) ports.push((await free(port)) || (await free(0)));
  return ports;
}

/** Resolves to the port when it could be bound (0: to any free one), else to 0. */
function free(port) {
  return new Promise((resolve) => {
    const server = createServer();
    server.on("error", () => resolve(0));
    server.listen(port, "127.0.0.1", () => {
      const bound = server.address().port;
      server.close(() => resolve(bound));
    });
  });
}

/** Resolves to true once the address answers with 200, to false when that is given up or has not happened within 15 s. */
async function answers(url, givenUp) {
  for (const end = Date.now() + 15_000; Date.now() < end && !givenUp(); await sleep(50)) {
    const page = await fetchText(url).catch(() => undefined);
    if (page?.status === 200) return true;
  }
  return false;
}

function fetchText(url) {
  return new Promise((resolve, reject) => {
    const request = get(url, { agent: false, timeout: 2_000 }, (response) => {
      let body = "";
      response.setEncoding("utf8").on("data", (text) => {
        body += text;
      });
      response.on("end", () => resolve({ status: response.statusCode, body })).on("error", reject);
    });
    request.on("error", reject).on("timeout", () => request.destroy(new Error("timed out")));
  });
}

function tail(file) {
  try {
    return `${readFileSync(file, "utf8").trimEnd().split("\n").slice(-10).join("\n")}\n`;
  } catch {
    return "";
  }
}
