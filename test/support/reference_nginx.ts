import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import http from "node:http";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** The real nginx of this machine, to compare single answers and sentences with: on a unix socket, without a test context. */

export const NGINX = ["/usr/sbin/nginx", "/usr/local/sbin/nginx", "/usr/local/nginx/sbin/nginx"].find(existsSync);

export interface Reply {
  readonly status: number;
  readonly location: string | undefined;
  /** A byte string. */
  readonly body: string;
}

export interface ReferenceNginx {
  ask(host: string, path: string): Promise<Reply>;
  /** Sends bytes (a byte string) on a connection of their own, and half-closes; all that comes back. */
  send(raw: string): Promise<string>;
  stop(): Promise<void>;
}

const PATHS = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];

function configFile(folder: string, http: string): string {
  const temporary = PATHS.map((name) => `${name}_temp_path ${folder}/${name};`).join(" ");
  const text = `daemon off; master_process off; pid ${folder}/pid; error_log ${folder}/error.log;
events {}
http { access_log off; default_type text/plain; ${temporary} keepalive_requests 100000;
${http}
}`;
  const path = join(folder, "nginx.conf");
  writeFileSync(path, text, "latin1");
  return path;
}

/** Starts nginx with the given servers; each has to `listen unix:SOCKET`, written as `LISTEN` in the text. */
export async function startNginx(servers: string): Promise<ReferenceNginx> {
  const folder = mkdtempSync(join(tmpdir(), "holdfast-nginx-"));
  const socketPath = join(folder, "socket");
  const config = configFile(folder, servers.replaceAll("LISTEN", `listen unix:${socketPath};`));
  const child: ChildProcess = spawn(NGINX ?? "nginx", ["-c", config, "-p", folder, "-e", join(folder, "error.log")]);
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  const ask = (host: string, path: string): Promise<Reply> =>
    new Promise((resolve, reject) => {
      const request = http.request({ socketPath, agent, path, headers: { host } }, (response) => {
        let body = "";
        response.setEncoding("latin1");
        response.on("data", (text: string) => {
          body += text;
        });
        response.on("end", () =>
          resolve({ status: response.statusCode ?? 0, location: response.headers.location, body }),
        );
      });
      request.on("error", reject);
      request.end();
    });
  const send = async (raw: string): Promise<string> => {
    const socket = connect(socketPath);
    const chunks: Buffer[] = [];
    socket.on("data", (chunk: Buffer) => chunks.push(chunk));
    socket.on("error", () => {});
    socket.end(raw, "latin1");
    await once(socket, "close");
    return Buffer.concat(chunks).toString("latin1");
  };
  const stop = async (): Promise<void> => {
    agent.destroy();
    if (child.exitCode === null) {
      child.kill();
      await once(child, "exit");
    }
    rmSync(folder, { recursive: true });
  };
  const deadline = Date.now() + 10_000;
  for (;;) {
    try {
      await ask("localhost", "/");
      return { ask, send, stop };
    } catch (reason) {
      if (child.exitCode !== null || Date.now() > deadline) {
        await stop();
        throw reason;
      }
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}

/** What `nginx -t` says about the inside of `http {}`: the sentences logged, without their places. */
export function checkConfig(http: string): readonly string[] {
  const folder = mkdtempSync(join(tmpdir(), "holdfast-nginx-"));
  try {
    const config = configFile(folder, http);
    const { stderr } = spawnSync(NGINX ?? "nginx", ["-t", "-c", config, "-p", folder], { encoding: "latin1" });
    return stderr
      .split("\n")
      .map((line) => /\[(?:emerg|warn)\] (?:\d+#\d+: )?(.*)$/.exec(line)?.[1] ?? "")
      .filter((sentence) => sentence !== "" && !sentence.startsWith('the "user" directive makes sense'))
      .filter((sentence) => !sentence.includes("could not open error log file"))
      .map((sentence) => sentence.replaceAll(folder, "").replace(/ in \/nginx\.conf:\d+$/, ""));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** A word of nginx's configuration in double quotes. */
export function quoted(text: string): string {
  return `"${text.replace(/[\\"]/g, "\\$&")}"`;
}

/** A small deterministic generator of numbers below `n`. */
export function generator(seed: number): (n: number) => number {
  let state = seed >>> 0;
  return (n) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % n;
  };
}

/** The error for which nginx refuses a configuration. `directory` ends with "/". */
export function refusalOf(directory: string, text: string): string {
  const path = `${directory}nginx.conf`;
  writeFileSync(path, text, "latin1");
  const { stderr, status } = spawnSync(NGINX ?? "nginx", ["-t", "-q", "-e", "/dev/null", "-p", directory, "-c", path], {
    encoding: "latin1",
    timeout: 10_000,
  });
  if (status !== 1) throw new Error(`nginx has not refused it: ${stderr}`);
  const line = stderr.split("\n").find((line) => line.includes("[emerg]")) ?? "";
  return line.replace(/^nginx: \[emerg\] /, "");
}
