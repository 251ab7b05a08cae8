// npm run demo:failover: the story of a cart, told by itself in about 15 s. A shopper fills it; then the server that
// answered, Holdfast, and, where redis-server is installed, one of two nodes and their store are killed, while other
// shoppers ask without pause. Ends with 0 when nobody's cart has lost anything.
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { Agent, request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { performance } from "node:perf_hooks";
import { setTimeout as sleep } from "node:timers/promises";
import { ensureBundle } from "./build.mjs";
import { installed, newStage } from "./failover_stage.mjs";
import { ensureDependencies, ensureNode, main } from "./setup.mjs";
import { SHOP } from "./shop.mjs";

/** Shoppers who ask without pause beside the one whom the story is about. */
const OTHERS = 4;
/** ms a step is watched under load before the next; with `--short` no longer than a test needs. */
const WATCHED = process.argv.includes("--short") ? 100 : 700;
/** ms after which an unanswered request has failed. */
const PATIENCE = 10_000;

const began = performance.now();
const say = (line = "") => process.stdout.write(`${line}\n`);
const tell = (line) => say(`  ${((performance.now() - began) / 1000).toFixed(1).padStart(5)} s  ${line}`);
const chapter = (line) => say(`\n${line}`);

await main(async () => {
  ensureDependencies();
  ensureDependencies(SHOP);
  await ensureBundle();
  return await story(ensureNode());
});

/** Resolves to the exit status. */
async function story(node) {
  const folder = mkdtempSync(join(tmpdir(), "holdfast-failover-"));
  chmodSync(folder, 0o755);
  const stage = newStage(node, folder);
  const broken = [];
  let interrupted = false;
  const interrupt = () => {
    interrupted = true;
    stage.stop();
  };
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, interrupt);
  try {
    await oneNode(stage, broken);
    await twoNodes(stage, folder, broken);
  } catch (error) {
    broken.push(interrupted ? "it was interrupted" : error.message);
    if (!interrupted) process.stderr.write(stage.logs());
  } finally {
    await stage.stop();
    rmSync(folder, { recursive: true, force: true });
  }
  chapter(broken.length === 0 ? "The cart survived all of it." : "Not all of it held:");
  for (const what of broken) say(`  - ${what}`);
  return broken.length === 0 ? 0 : 1;
}

async function oneNode(stage, broken) {
  chapter("One Holdfast, three copies of a shop. No copy keeps a cart: carts are in Holdfast's session zone.");
  const copies = await stage.copies();
  const node = await stage.holdfast("carts:8m", copies);
  await node.start();
  const load = newLoad(() => node);
  const shopper = load.shopper;
  await shopper.add("lantern");
  await shopper.add("mug");
  tell(`The shopper puts a lantern and a mug into the cart; copy ${shopper.copy} answers.`);
  const first = shopper.copy;
  while (shopper.copy === first) await shopper.look();
  tell(`Refresh: copy ${shopper.copy} answers now. ${shopper.says()}`);

  await load.begin();
  await sleep(WATCHED);
  const victim = copies.find(({ name }) => name === shopper.copy);
  await victim.kill();
  tell(`Copy ${victim.name} is killed (SIGKILL), while ${OTHERS} other shoppers ask without pause.`);
  await shopper.look();
  await sleep(WATCHED);
  tell(`Copy ${shopper.copy} answers. ${shopper.says()}`);
  await shopper.add("rope");
  tell(`A rope goes into the cart as well. ${shopper.says()}`);

  await node.kill();
  tell("Holdfast itself is killed, master and workers (SIGKILL).");
  await node.start();
  await shopper.look();
  tell(`Holdfast runs again. Copy ${shopper.copy} answers. ${shopper.says()}`);
  await sleep(WATCHED);
  await load.end(broken);
  await Promise.all([node, ...copies].map((one) => one.kill()));
}

async function twoNodes(stage, folder, broken) {
  if (!installed("redis-server")) {
    chapter("The second part, two nodes of Holdfast over one Redis, is left out: redis-server is not installed here.");
    return;
  }
  chapter("Two nodes of Holdfast share the carts through one Redis.");
  const [redis, copies] = await Promise.all([stage.redis(), stage.copies()]);
  writeFileSync(join(folder, "keys"), "a key for this demonstration alone, 0123456789abcdef\n");
  // All of this runs on one machine under load: a Redis that is slow is to be waited for, one that is dead is not.
  const zone = `carts:8m store=redis://127.0.0.1:${redis.port} keys=${join(folder, "keys")}; session_timeout 2s`;
  const nodes = [await stage.holdfast(zone, copies), await stage.holdfast(zone, copies)];
  await Promise.all(nodes.map((node) => node.start()));
  let serving = 0;
  const load = newLoad(() => nodes[serving]);
  const shopper = load.shopper;
  await shopper.add("compass");
  tell("The shopper puts a compass into the cart, through node 1.");
  serving = 1;
  await shopper.look();
  tell(`Through node 2: ${shopper.says()}`);
  serving = 0;
  await load.begin();
  await sleep(WATCHED);

  // What a load balancer or a floating address before the nodes does.
  serving = 1;
  await nodes[0].kill();
  tell("Node 1 is killed (SIGKILL). Everybody goes to node 2.");
  await shopper.look();
  tell(`Through node 2: ${shopper.says()}`);

  await redis.kill();
  tell("Redis is killed (SIGKILL).");
  await shopper.add("mug");
  tell(`Without it the shopper adds a mug; node 2 keeps the change until Redis is back. ${shopper.says()}`);
  await sleep(WATCHED);
  await Promise.all([redis.start(), nodes[0].start()]);
  tell("Redis and node 1 are started again.");
  serving = 0;
  const end = Date.now() + PATIENCE;
  do await shopper.look();
  while (!shopper.intact() && Date.now() < end);
  tell(`Through node 1, which was dead when the mug was added: ${shopper.says()}`);
  await load.end(broken);
}

/** Shoppers with carts, who remember what was confirmed to them. */
function newLoad(node) {
  const agent = new Agent({ keepAlive: true, maxSockets: OTHERS + 1 });
  const failures = new Map();
  let requests = 0;
  let longest = 0;
  /** How many requests found no Holdfast, or lost it. */
  let whileDown = 0;
  let running = true;
  let done = [];

  async function ask(shopper, method, path, body) {
    const started = performance.now();
    const safe = method === "GET";
    for (;;) {
      requests += 1;
      const asked = node();
      const { deaths } = asked;
      try {
        const answer = await send(agent, { port: asked.port, method, path, body, cookie: shopper.cookie });
        if (answer.status >= 400) throw new Error(`${answer.status} for ${method} ${path}`);
        longest = Math.max(longest, performance.now() - started);
        if (answer.cookie !== undefined) shopper.cookie = answer.cookie;
        return answer;
      } catch (error) {
        // A proxy that is dead cannot answer: whoever asks tries again, as a browser's user does. Only a request that
        // changes nothing may be repeated.
        if (asked.deaths > deaths || !asked.answers) whileDown += 1;
        else failures.set(error.message, (failures.get(error.message) ?? 0) + 1);
        if (!safe || performance.now() - started > PATIENCE) throw error;
        await sleep(20);
      }
    }
  }

  const shopper = newShopper(ask);
  const others = Array.from({ length: OTHERS }, () => newShopper(ask));
  return {
    shopper,
    /** Resolves once each has something in the cart: whoever is killed while that is on its way would answer neither yes nor no. */
    async begin() {
      await Promise.all(others.map((other) => other.add("tea")));
      done = others.map(async (other) => {
        while (running) {
          await other.look();
          await sleep(5);
        }
      });
      // Who gives up is told of at the end.
      for (const one of done) one.catch(() => {});
    },
    async end(broken) {
      running = false;
      const ended = await Promise.allSettled(done);
      for (const { reason } of ended) if (reason !== undefined) broken.push(`a shopper gave up: ${reason.message}`);
      const failed = [...failures.values()].reduce((sum, count) => sum + count, 0);
      const lost = [shopper, ...others].filter((one) => !one.intact() || one.lacked > 0);
      say();
      say(`         Requests          ${requests}`);
      say(`         Failures          ${failed === 0 ? "none" : failed}`);
      for (const [what, count] of failures) say(`                           ${count} × ${what}`);
      say(`         Tried again       ${whileDown} while the Holdfast they asked was dead`);
      say(`         Longest wait      ${(longest / 1000).toFixed(2)} s for a page, tries included`);
      say(
        `         Carts             ${lost.length === 0 ? `all ${OTHERS + 1} intact` : `${lost.length} LOST something`}`,
      );
      if (failed > 0) broken.push(`${failed} requests failed`);
      if (lost.length > 0) broken.push(`${lost.length} carts lost something`);
      agent.destroy();
    },
  };
}

function newShopper(ask) {
  const confirmed = new Map();
  let seen = new Map();
  const shopper = {
    cookie: "",
    /** How many of the pages that the story shows lacked something. */
    lacked: 0,
    /** The name of the copy that answered last. */
    copy: "",
    async add(product) {
      await ask(shopper, "POST", "/basket", `product=${product}`);
      confirmed.set(product, (confirmed.get(product) ?? 0) + 1);
      await shopper.look();
    },
    async look() {
      const { body } = await ask(shopper, "GET", "/");
      shopper.copy = /copy (\d)<\/strong>/.exec(body)?.[1] ?? "?";
      const cards = body.matchAll(/<li id="(\w+)">.*?<\/li>/gs);
      seen = new Map([...cards].map(([card, id]) => [id, Number(/(\d+) in basket/.exec(card)?.[1] ?? 0)]));
    },
    /** The page that came last has all that was confirmed. */
    intact: () => [...confirmed].every(([product, quantity]) => seen.get(product) === quantity),
    /** What the page that came last shows of the cart; that it lacks something is remembered. */
    says() {
      if (!shopper.intact()) shopper.lacked += 1;
      const lines = [...seen]
        .filter(([, quantity]) => quantity > 0)
        .map(([product, quantity]) => `${quantity} ${product}`);
      return `The cart: ${lines.join(", ") || "empty"}${shopper.intact() ? "" : ", which is NOT what was confirmed"}.`;
    },
  };
  return shopper;
}

/** @returns {Promise<{ status: number, body: string, cookie: string | undefined }>} */
function send(agent, { port, method, path, body = "", cookie }) {
  return new Promise((resolve, reject) => {
    const headers = { Cookie: cookie, "Content-Length": body.length };
    if (body !== "") headers["Content-Type"] = "application/x-www-form-urlencoded";
    const outgoing = request(
      { agent, host: "127.0.0.1", port, method, path, headers, timeout: PATIENCE },
      (response) => {
        let text = "";
        response.setEncoding("utf8").on("data", (more) => {
          text += more;
        });
        const set = response.headers["set-cookie"]?.find((line) => line.startsWith("HFSESSION="));
        const answer = () => resolve({ status: response.statusCode, body: text, cookie: set?.split(";")[0] });
        response.on("end", answer).on("error", reject);
      },
    );
    outgoing.on("error", reject).on("timeout", () => outgoing.destroy(new Error("no answer")));
    outgoing.end(body);
  });
}
