/** The examples under examples/sessions/: a cart on two servers of each kind, one of which is killed. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { have } from "../support/have.ts";
import { startHoldfast } from "../support/holdfast.ts";
import { havePhp, startPhp } from "../support/php.ts";
import { freePort } from "../support/ports.ts";
import { newShopper } from "../support/shop.ts";
import { startUwsgi } from "../support/uwsgi.ts";
import { waitFor } from "../support/wait.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const SESSIONS = join(ROOT, "examples/sessions");

/** A server of a shop. */
interface Server {
  /** As it stands in `upstream`. */
  readonly address: string;
  kill(): Promise<void>;
}

/** Starts the server that calls itself `label`, and whose session API is at `api`. */
type StartServer = (t: TestContext, label: string, api: string) => Promise<Server>;

function textOf(path: string): string {
  return readFileSync(join(SESSIONS, path), "utf8");
}

const node =
  (script: string): StartServer =>
  async (t, _label, api) => {
    const port = await freePort();
    const child = spawn(process.execPath, [join(SESSIONS, script), `${port}`, api], { stdio: "ignore" });
    const exited = once(child, "exit");
    const kill = async () => {
      child.kill("SIGKILL");
      await exited;
    };
    t.after(kill);
    await waitFor(
      () =>
        fetch(`http://127.0.0.1:${port}/`).then(
          () => true,
          () => false,
        ),
      `${script} answers`,
    );
    return { address: `127.0.0.1:${port}`, kill };
  };

const php: StartServer = async (t, label, api) => {
  const environment = `env[SERVER_LABEL]=${label}\nenv[SESSION_API]=${api}`;
  const { address, stop } = await startPhp(t, {}, `pm=static\npm.max_children=2\n${environment}`);
  return { address, kill: stop };
};

const python =
  (script: string): StartServer =>
  async (t, label, api) => {
    const options = ["--pythonpath", join(SESSIONS, "python"), "--env", `SERVER_LABEL=${label}`];
    const { address, pid } = await startUwsgi(t, textOf(script), {
      options: [...options, "--env", `SESSION_API=${api}`],
    });
    const runs = () => {
      try {
        return process.kill(pid, 0);
      } catch {
        return false;
      }
    };
    return {
      address,
      async kill() {
        process.kill(pid, "SIGTERM");
        await waitFor(() => !runs(), "uwsgi has ended");
      },
    };
  };

interface Stack {
  readonly name: string;
  readonly config: string;
  /** Where its shop.php is, below examples/sessions/. */
  readonly scripts?: string;
  readonly start: StartServer;
  readonly skip: false | string;
}

const STACKS: readonly Stack[] = [
  { name: "Express", config: "node.conf", start: node("express/shop.mjs"), skip: false },
  { name: "Fastify", config: "node.conf", start: node("fastify/shop.mjs"), skip: false },
  { name: "Node by headers", config: "node.conf", start: node("headers/shop.mjs"), skip: false },
  { name: "PHP", config: "php.conf", scripts: "php", start: php, skip: havePhp() },
  { name: "PHP by headers", config: "php.conf", scripts: "headers", start: php, skip: havePhp() },
  { name: "Python", config: "python.conf", start: python("python/shop.py"), skip: have("uwsgi") },
  { name: "Python by headers", config: "python.conf", start: python("headers/shop.py"), skip: have("uwsgi") },
];

for (const { name, config, scripts = "", start, skip } of STACKS) {
  test(`${name}: a cart is there on every server, also when one is killed`, { skip }, async (t) => {
    const api = await freePort();
    const servers: Server[] = [];
    for (const label of ["one", "two"]) servers.push(await start(t, label, `http://127.0.0.1:${api}/session-api/`));
    const [one, two] = servers;
    const holdfast = await startHoldfast(t, {
      files: Object.fromEntries(
        ["fastcgi_params", "uwsgi_params"].map((file) => [`conf/${file}`, readFileSync(join(ROOT, "conf", file))]),
      ),
      config: ([port]) =>
        textOf(config)
          .replace("127.0.0.1:8080", `127.0.0.1:${port}`)
          .replace("127.0.0.1:8081", `127.0.0.1:${api}`)
          .replace("127.0.0.1:3001", one.address)
          .replace("127.0.0.1:3002", two.address)
          .replace("/srv/shop", join(SESSIONS, scripts)),
    });
    const shopper = newShopper(() => holdfast.port);
    const by = new Set<string | undefined>();
    for (const item of ["apple", "pear", "apple", "plum"]) {
      const answer = await shopper.send(`/add/${item}`);
      assert.equal(answer.status, 200, answer.body);
      by.add(answer.header("x-server"));
    }
    assert.equal(by.size, 2);
    assert.deepEqual(await shopper.cart(), { apple: 2, pear: 1, plum: 1 });
    await one.kill();
    assert.deepEqual(await shopper.cart(), { apple: 2, pear: 1, plum: 1 });
    await shopper.send("/add/apple");
    assert.deepEqual(await shopper.cart(), { apple: 3, pear: 1, plum: 1 });
    assert.deepEqual(await newShopper(() => holdfast.port).cart(), {});
  });
}
