import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { connect } from "node:http2";
import { createServer } from "node:net";
import { afterEach, describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { freePort } from "../support/ports.ts";
import { waitFor } from "../support/wait.ts";

const START = fileURLToPath(new URL("../../scripts/start.mjs", import.meta.url));
/** ms; a fresh clone installs the shop's dependencies and perhaps a Node first. */
const PATIENCE = 180_000;

interface Demo {
  readonly child: ChildProcess;
  readonly url: string;
  /** pids of the three copies. */
  readonly copies: number[];
  /** What the terminal shows so far. */
  text(): string;
}

let running: ChildProcess | undefined;

afterEach(async () => {
  if (running !== undefined && running.exitCode === null && running.signalCode === null) {
    running.kill("SIGTERM");
    await once(running, "exit");
  }
  running = undefined;
});

describe("npm start", () => {
  it("serves the shop, survives the loss of a copy, and stops without leaving a process", async (t) => {
    const demo = await startDemo();

    assert.match(demo.text(), /kill -STOP \d+.*A POST.*gets 504/s, "what a hung copy means is said");

    const answered = new Set<string>();
    for (let i = 0; i < 6; i++) answered.add(copyOf(await page(demo, "/")));
    assert.deepEqual([...answered].sort(), ["1", "2", "3"], "every copy takes its turn");

    assert.match(await overTls(demo), /<html/i, "the shop over TLS");

    const added = await fetch(`${demo.url}/basket`, {
      method: "POST",
      body: new URLSearchParams({ product: "lantern" }),
      redirect: "manual",
    });
    assert.equal(added.status, 303);
    const cookie = added.headers.getSetCookie()[0].split(";")[0];
    for (let i = 0; i < 3; i++) {
      assert.match(await page(demo, "/", { cookie }), /1 in basket/, "every copy knows the basket");
    }

    assert.match(await page(demo, "/product/mug", { cookie }), /Basket <b>1<\/b>.*>MISS<\/b>/s);
    const kept = /Basket <b>0<\/b>.*>HIT<\/b>\s*<strong>\d+ s<\/strong> old/s;
    await until(async () => kept.test(await page(demo, "/product/mug")), demo, "a product's page out of the cache");

    const load = keepAsking(demo);
    t.after(load.stop);
    process.kill(demo.copies[0], "SIGKILL");
    await until(() => /copy 1 is down/.test(demo.text()), demo, "copy 1 to be taken out of service");
    await until(() => /Copy 1 runs again/.test(demo.text()), demo, "copy 1 to be started again");
    await until(() => /copy 1 is up/.test(demo.text()), demo, "copy 1 to be taken back");
    const { asked, failed } = await load.stop();
    assert.deepEqual(failed, []);
    assert.ok(asked > 0);

    const button = await fetch(`${demo.url}/kill`, { method: "POST", redirect: "manual" });
    assert.equal(button.status, 303);
    await until(
      () => [...demo.text().matchAll(/Copy \d \(pid \d+\) is gone/g)].length === 2,
      demo,
      "a copy to be killed",
    );
    assert.match(await page(demo, "/", { cookie }), /1 in basket/, "no copy kept the basket");

    process.kill(holdfastOf(demo), "SIGKILL");
    await until(() => /Holdfast runs again/.test(demo.text()), demo, "Holdfast to be started again");
    assert.match(await page(demo, "/", { cookie }), /1 in basket/, "the basket outlives Holdfast");

    const pids = [...demo.copies, ...lastPids(demo)];
    demo.child.kill("SIGINT");
    assert.deepEqual(await once(demo.child, "exit"), [0, null]);
    assert.match(demo.text(), /Stopped\./);
    assert.deepEqual(pids.filter(alive), []);
    assert.equal(existsSync(folderOf(demo)), false, "nothing is left on the disk");
    await assert.rejects(fetch(demo.url), "nobody listens any more");
  });

  it("leaves no process behind when it is killed outright", async () => {
    const demo = await startDemo();
    demo.child.kill("SIGKILL");
    await once(demo.child, "exit");
    await until(() => !demo.copies.some(alive), demo, "the copies to leave");
    await until(() => !existsSync(folderOf(demo)), demo, "the folder to be removed");
    await until(
      () =>
        fetch(demo.url).then(
          () => false,
          () => true,
        ),
      demo,
      "Holdfast to leave",
    );
  });

  it("says when the port is taken", async () => {
    const holder = createServer().listen(0, "127.0.0.1");
    await once(holder, "listening");
    const address = holder.address();
    assert.ok(address !== null && typeof address === "object");
    const child = spawn(process.execPath, [START], {
      env: { ...process.env, PORT: String(address.port) },
      stdio: ["ignore", "ignore", "pipe"],
    });
    let text = "";
    child.stderr.setEncoding("utf8").on("data", (more) => {
      text += more;
    });
    assert.deepEqual(await once(child, "close"), [1, null]);
    assert.match(text, new RegExp(`Port ${address.port} is in use`));
    holder.close();
  });
});

async function startDemo(): Promise<Demo> {
  const port = await freePort();
  const child = spawn(process.execPath, [START], {
    env: { ...process.env, PORT: String(port), COMEBACK_MS: "5000" },
    stdio: ["ignore", "pipe", "pipe"],
  });
  running = child;
  let text = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (more) => {
      text += more;
    });
  }
  const demo: Demo = { child, url: `http://127.0.0.1:${port}`, copies: [], text: () => text };
  await until(() => text.includes("Ctrl-C stops everything") || child.exitCode !== null, demo, "the demo");
  assert.equal(child.exitCode, null, text);
  demo.copies.push(...Array.from(text.matchAll(/Copy \d +pid (\d+)/g), (match) => Number(match[1])));
  assert.equal(demo.copies.length, 3);
  return demo;
}

/** Asks for the shop's page without pause until told to stop. */
function keepAsking(demo: Demo): { stop(): Promise<{ asked: number; failed: string[] }> } {
  let stopped = false;
  let asked = 0;
  const failed: string[] = [];
  const done = (async () => {
    while (!stopped) {
      asked += 1;
      await page(demo, "/").catch((error: unknown) => failed.push(String(error)));
    }
  })();
  return {
    async stop() {
      stopped = true;
      await done;
      return { asked, failed };
    },
  };
}

/** The first page of the shop over TLS, by HTTP/2. */
async function overTls(demo: Demo): Promise<string> {
  const url = /Over TLS +(https:\S+)/.exec(demo.text())?.[1];
  assert.ok(url !== undefined, demo.text());
  const session = connect(url, { rejectUnauthorized: false });
  try {
    return (await session.request({ ":path": "/" }).setEncoding("utf8").toArray()).join("");
  } finally {
    session.destroy();
  }
}

async function page(demo: Demo, path: string, headers: Record<string, string> = {}): Promise<string> {
  const response = await fetch(demo.url + path, { headers });
  const text = await response.text();
  assert.equal(response.status, 200, text);
  return text;
}

function copyOf(html: string): string {
  return /copy (\d)<\/strong>/.exec(html)?.[1] ?? "none";
}

function folderOf(demo: Demo): string {
  const folder = /Logs are in (\S+)\/logs/.exec(demo.text())?.[1];
  assert.ok(folder !== undefined);
  return folder;
}

function holdfastOf(demo: Demo): number {
  return Number(/Holdfast +pid (\d+)/.exec(demo.text())?.[1]);
}

function lastPids(demo: Demo): number[] {
  return Array.from(demo.text().matchAll(/runs again as pid (\d+)/g), (match) => Number(match[1]));
}

function alive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

async function until(condition: () => boolean | Promise<boolean>, demo: Demo, what: string): Promise<void> {
  await waitFor(condition, what, PATIENCE).catch((error: Error) => {
    throw new Error(`${error.message}; the demo said:\n${demo.text()}`);
  });
}
