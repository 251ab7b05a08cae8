// What `npm start` and `npm run demo:failover` share: the shop of examples/shop/ on ports that are free.
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { get } from "node:http";
import { createServer } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { ROOT } from "./setup.mjs";

export const SHOP = join(ROOT, "examples", "shop");
/** What stands for the proxy's and the copies' ports in examples/shop/nginx.conf. */
export const WRITTEN_PORT = 8080;
export const WRITTEN_TLS_PORT = 8443;
export const WRITTEN_COPIES = [3001, 3002, 3003];

/** Writes a certificate for localhost and its key beside the configuration. */
export function makeCertificate(node, folder) {
  const { status } = spawnSync(node, ["certificate.mjs", folder], {
    cwd: SHOP,
    stdio: ["ignore", "ignore", "inherit"],
  });
  return status === 0;
}

/** Asks every child to leave, then insists. A stopped (SIGSTOP) child hears only SIGKILL and SIGCONT. */
export async function stopAll(children) {
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
export function withPorts(ports) {
  let text = readFileSync(join(SHOP, "nginx.conf"), "utf8");
  [WRITTEN_PORT, WRITTEN_TLS_PORT, ...WRITTEN_COPIES].forEach((written, index) => {
    const address = new RegExp(`127\\.0\\.0\\.1:${written}(?=[ ;])`, "g");
    if (!address.test(text)) throw new Error(`examples/shop/nginx.conf has no 127.0.0.1:${written}`);
    text = text.replaceAll(address, `127.0.0.1:\0${ports[index]}`);
  });
  return text.replaceAll("\0", "");
}

/** These ports where they are free, else any free ones. */
export async function freePorts(wanted) {
  const ports = [];
  for (const port of wanted) ports.push((await free(port)) || (await free(0)));
  return ports;
}

/** Resolves to the port when it could be bound (0: to any free one), else to 0. */
export function free(port) {
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
export async function answers(url, givenUp) {
  for (const end = Date.now() + 15_000; Date.now() < end && !givenUp(); await sleep(50)) {
    const page = await fetchText(url).catch(() => undefined);
    if (page?.status === 200) return true;
  }
  return false;
}

export function fetchText(url) {
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

export function tail(file) {
  try {
    return `${readFileSync(file, "utf8").trimEnd().split("\n").slice(-10).join("\n")}\n`;
  } catch {
    return "";
  }
}
