// The processes of `npm run demo:failover`: copies of the shop, nodes of Holdfast and a Redis, each in a process group of
// its own, so that it can be killed with all that belongs to it, and at the end of a pipe, so that it never outlives us.
import { spawn } from "node:child_process";
import { accessSync, constants, mkdirSync, writeFileSync } from "node:fs";
import { createConnection } from "node:net";
import { delimiter, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { ROOT } from "./setup.mjs";
import { answers, freePorts, makeCertificate, SHOP, stopAll, tail, withPorts } from "./shop.mjs";

/** As written in examples/shop/nginx.conf. */
const WRITTEN_ZONE = "session_zone carts:8m timeout=30m;";
/** ms */
const REDIS_PATIENCE = 10_000;

/** @param {string} folder where everything of it is, and which goes with us */
export function newStage(node, folder) {
  const children = new Set();
  const nodes = [];

  function start(program, args, env = process.env) {
    const child = spawn(program, args, { cwd: SHOP, env, detached: true, stdio: ["pipe", "pipe", "inherit"] });
    child.stdin.on("error", () => {});
    children.add(child);
    child.gone = new Promise((resolve) => child.on("close", resolve)).then(() => children.delete(child));
    child.ready = new Promise((resolve) => child.stdout.once("data", () => resolve(true)));
    return child;
  }

  const leashed = (program, args) => start(node, [join(SHOP, "leash.mjs"), folder, program, ...args]);

  return {
    /** @returns three copies of the shop, once they answer */
    async copies() {
      const ports = await freePorts([0, 0, 0]);
      const copies = ports.map((port, index) => {
        const name = String(index + 1);
        const child = start(node, ["server.mjs"], { ...process.env, NAME: name, PORT: String(port) });
        return { name, port, child, kill: () => kill(child) };
      });
      for (const { name, child } of copies) {
        if (!(await Promise.race([child.ready, child.gone.then(() => false)])))
          throw new Error(`copy ${name} did not start`);
      }
      return copies;
    },

    /** @returns a node of Holdfast that is not started yet; `deaths`: how often it was killed, `answers`: whether it is to answer */
    async holdfast(zone, copies) {
      const prefix = join(folder, `node-${nodes.length + 1}`);
      mkdirSync(join(prefix, "logs"), { recursive: true });
      const [port, tlsPort] = await freePorts([0, 0]);
      const text = withPorts([port, tlsPort, ...copies.map((copy) => copy.port)]);
      if (!text.includes(WRITTEN_ZONE)) throw new Error(`examples/shop/nginx.conf has no "${WRITTEN_ZONE}"`);
      const configuration = join(prefix, "nginx.conf");
      writeFileSync(configuration, text.replace(WRITTEN_ZONE, `session_zone ${zone};`));
      if (!makeCertificate(node, prefix)) throw new Error("no certificate could be made");
      const holdfast = {
        port,
        log: join(prefix, "logs", "error.log"),
        deaths: 0,
        answers: false,
        child: undefined,
        async start() {
          const command = ["-p", prefix, "-c", configuration, "-g", "daemon off;"];
          const child = leashed(join(ROOT, "bin", "holdfast"), command);
          child.stdout.resume();
          holdfast.child = child;
          const gone = () => child.exitCode !== null || child.signalCode !== null;
          if (!(await answers(`http://127.0.0.1:${port}/health`, gone))) throw new Error("Holdfast did not start");
          holdfast.answers = true;
        },
        async kill() {
          holdfast.deaths += 1;
          holdfast.answers = false;
          await kill(holdfast.child);
        },
      };
      nodes.push(holdfast);
      return holdfast;
    },

    /** @returns a redis-server that writes down what it confirms, once it answers */
    async redis() {
      const [port] = await freePorts([0]);
      const directory = join(folder, "redis");
      mkdirSync(directory);
      const args = [
        "--bind",
        "127.0.0.1",
        "--port",
        String(port),
        "--dir",
        directory,
        "--appendonly",
        "yes",
        "--save",
        "",
      ];
      const redis = {
        port,
        child: undefined,
        async start() {
          redis.child = leashed("redis-server", args);
          redis.child.stdout.resume();
          for (const end = Date.now() + REDIS_PATIENCE; !(await pong(port)); await sleep(20)) {
            if (Date.now() > end) throw new Error("redis-server did not start");
          }
        },
        kill: () => kill(redis.child),
      };
      await redis.start();
      return redis;
    },

    stop: () => stopAll(children),
    logs: () => nodes.map(({ log }) => tail(log)).join(""),
  };
}

/** Kills a child and all that it started, at once; resolves when they are gone. */
async function kill(child) {
  try {
    process.kill(-child.pid, "SIGKILL");
  } catch {
    // It has gone by itself.
  }
  await child.gone;
}

function pong(port) {
  return new Promise((resolve) => {
    const socket = createConnection(port, "127.0.0.1", () => socket.write("PING\r\n"));
    socket.on("data", (answer) => {
      resolve(answer.toString().startsWith("+PONG"));
      socket.destroy();
    });
    socket.on("error", () => resolve(false)).on("close", () => resolve(false));
  });
}

/** Whether a program is on the PATH. */
export function installed(program) {
  return (process.env.PATH ?? "").split(delimiter).some((folder) => {
    try {
      accessSync(join(folder, program), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}
