import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { request } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { selfSigned } from "./certificates.ts";
import { freePort } from "./ports.ts";
import { waitFor } from "./wait.ts";

export interface PebbleOptions {
  /** Where it looks for the answers to http-01 and tls-alpn-01. */
  readonly httpPort: number;
  readonly tlsPort: number;
  /** `address:port` of its name server. */
  readonly nameServer: string;
  /** How many percent of all nonces it refuses. */
  readonly refusedNonces?: number;
  /** Keys of accounts outside ACME, in base64url; without one it makes no account. */
  readonly externalAccounts?: Readonly<Record<string, string>>;
  /** How long its certificates are valid, s. */
  readonly validity?: number;
}

export interface Pebble {
  /** The directory. */
  readonly url: string;
  /** PEM, to verify its own certificate with. */
  readonly trusted: string;
  /** PEM of the root of what it issues. */
  root(): Promise<string>;
}

/** Let's Encrypt's ACME server for tests; skip with `have("pebble")` where it is not. */
export async function startPebble(t: TestContext, options: PebbleOptions): Promise<Pebble> {
  const [port, management] = [await freePort(), await freePort()];
  const directory = mkdtempSync(join(tmpdir(), "holdfast-pebble-"));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  const { certificate, key } = selfSigned("acme.test");
  writeFileSync(join(directory, "cert.pem"), certificate);
  writeFileSync(join(directory, "key.pem"), key);
  const { externalAccounts, httpPort, tlsPort, validity = 3600 } = options;
  const pebble = {
    listenAddress: `127.0.0.1:${port}`,
    managementListenAddress: `127.0.0.1:${management}`,
    certificate: "cert.pem",
    privateKey: "key.pem",
    httpPort,
    tlsPort,
    ocspResponderURL: "",
    externalAccountBindingRequired: externalAccounts !== undefined,
    externalAccountMACKeys: externalAccounts ?? {},
    certificateValidityPeriod: validity,
  };
  writeFileSync(join(directory, "config.json"), JSON.stringify({ pebble }));
  const env = {
    ...process.env,
    PEBBLE_VA_NOSLEEP: "1",
    PEBBLE_WFE_NONCEREJECT: String(options.refusedNonces ?? 0),
  };
  const child = spawn("pebble", ["-config", "config.json", "-dnsserver", options.nameServer], {
    cwd: directory,
    env,
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.on("data", (bytes: Buffer) => {
      output += bytes.toString();
    });
  }
  t.after(() => child.kill("SIGKILL"));
  const url = `https://acme.test:${port}/dir`;
  await waitFor(async () => {
    if (child.exitCode !== null) throw new Error(`pebble ended:\n${output}`);
    return (await get(port, "/dir").catch(() => "")) !== "";
  }, "pebble");
  return { url, trusted: certificate, root: () => get(management, "/roots/0") };
}

function get(port: number, path: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const asked = request({ host: "127.0.0.1", port, path, rejectUnauthorized: false, agent: false });
    asked.on("error", reject).on("response", async (response) => {
      let text = "";
      for await (const piece of response) text += piece;
      resolve(text);
    });
    asked.end();
  });
}
