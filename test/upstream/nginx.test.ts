import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import http from "node:http";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import type { MethodDefinition, ServerDefinition } from "../../src/upstream/definition.ts";
import { group, input, portOf, server } from "./helpers.ts";

const NGINX = ["/usr/sbin/nginx", "/usr/local/sbin/nginx"].find(existsSync);
const BACKENDS = 5;

interface Scene {
  readonly name: string;
  /** Parameters of the five servers. */
  readonly parameters: readonly string[];
  readonly method: string;
  readonly ours: MethodDefinition;
  /** One request each: the key of `hash`, or the client's address. */
  readonly requests: readonly string[];
}

const keys = Array.from({ length: 200 }, (_, i) => `key-${i * 7919}`);
const clients = Array.from({ length: 150 }, (_, i) => `127.${(i * 37) % 256}.${(i * 11) % 256}.${1 + (i % 200)}`);
const clients6 = Array.from({ length: 60 }, (_, i) =>
  i % 3 === 0 ? `2001:db8::${(i * 911).toString(16)}` : `fe80:${i}::9:10.1.2.${i}`,
);
const plain = Array.from({ length: 60 }, () => "x");

const SCENES: readonly Scene[] = [
  {
    name: "weighted round robin",
    parameters: ["weight=5", "weight=1", "weight=3", "down", "weight=2"],
    method: "",
    ours: { name: "round_robin" },
    requests: plain,
  },
  {
    name: "least_conn, none busy",
    parameters: ["weight=2", "", "weight=3", "", "down"],
    method: "least_conn;",
    ours: { name: "least_conn" },
    requests: plain,
  },
  {
    name: "ip_hash",
    parameters: ["weight=2", "", "", "down", "weight=3"],
    method: "ip_hash;",
    ours: { name: "ip_hash" },
    requests: clients,
  },
  {
    name: "ip_hash of IPv6 clients",
    parameters: ["weight=2", "", "", "", "weight=3"],
    method: "ip_hash;",
    ours: { name: "ip_hash" },
    requests: clients6,
  },
  {
    name: "hash",
    parameters: ["weight=2", "", "", "down", "weight=3"],
    method: "hash $arg_key;",
    ours: { name: "hash", key: "$arg_key" },
    requests: keys,
  },
  {
    name: "hash consistent",
    parameters: ["weight=2", "", "", "down", "weight=3"],
    method: "hash $arg_key consistent;",
    ours: { name: "hash_consistent", key: "$arg_key" },
    requests: keys,
  },
  {
    name: "hash with most servers down",
    parameters: ["down", "down", "down", "", "down"],
    method: "hash $arg_key;",
    ours: { name: "hash", key: "$arg_key" },
    requests: keys.slice(0, 40),
  },
];

function definitionOf(port: number, text: string): ServerDefinition {
  const weight = /weight=(\d+)/.exec(text)?.[1];
  return server(port, { down: text.includes("down"), weight: weight === undefined ? 1 : Number(weight) });
}

describe("the same server as nginx", { skip: NGINX === undefined }, () => {
  let folder: string;
  let nginx: ChildProcess;
  let front: number;
  let ports: number[];

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), "balance-"));
    mkdirSync(join(folder, "logs"));
    ports = await freePorts(BACKENDS + 1);
    front = ports[BACKENDS];
    writeFileSync(join(folder, "nginx.conf"), configuration(ports, front, folder));
    nginx = spawn(NGINX ?? "", ["-p", folder, "-c", join(folder, "nginx.conf"), "-e", join(folder, "error.log")]);
    await listening(front);
  });

  after(async () => {
    const gone = new Promise((resolve) => nginx.once("exit", resolve));
    nginx.kill("SIGTERM");
    await gone;
    rmSync(folder, { recursive: true });
  });

  for (const [i, scene] of SCENES.entries()) {
    test(scene.name, async () => {
      const servers = scene.parameters.map((text, at) => definitionOf(ports[at], text));
      const upstream = group(servers, scene.ours);
      const theirs: number[] = [];
      const ours: (number | undefined)[] = [];
      for (const request of scene.requests) {
        theirs.push(Number(await get(front, `/${i}?key=${request}`, request)));
        const attempt = upstream.begin(input(request, request));
        ours.push(portOf(upstream, attempt));
        upstream.release(attempt, "ok");
        upstream.end(attempt);
      }
      assert.deepEqual(ours, theirs);
    });
  }
});

function configuration(ports: readonly number[], front: number, folder: string): string {
  const upstreams = SCENES.map(({ parameters, method }, i) => {
    const servers = parameters.map((text, at) => `server 127.0.0.1:${ports[at]} ${text};`);
    return `upstream u${i} { ${method} ${servers.join(" ")} }`;
  });
  const backends = ports
    .slice(0, BACKENDS)
    .map((port) => `server { listen 127.0.0.1:${port}; return 200 $server_port; }`);
  const locations = SCENES.map((_, i) => `location = /${i} { proxy_pass http://u${i}; }`);
  const paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(
    (name) => `${name}_temp_path ${folder}/${name};`,
  );
  return `daemon off; master_process off; pid ${folder}/nginx.pid; error_log ${folder}/error.log;
    events { worker_connections 256; }
    http { access_log off; ${paths.join(" ")} ${upstreams.join("\n")} ${backends.join("\n")}
      server { listen 127.0.0.1:${front}; set_real_ip_from 127.0.0.1; real_ip_header X-Client; ${locations.join(" ")} }
    }`;
}

const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
after(() => agent.destroy());

function get(port: number, path: string, client: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const request = http.get({ host: "127.0.0.1", port, path, agent, headers: { "X-Client": client } }, (response) => {
      let text = "";
      response.setEncoding("latin1");
      response.on("data", (part) => {
        text += part;
      });
      response.on("end", () => resolve(text));
    });
    request.on("error", reject);
  });
}

async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(Array.from({ length: count }, () => listenAnywhere()));
  const ports = servers.map((each) => (each.address() as net.AddressInfo).port);
  await Promise.all(servers.map((each) => new Promise((resolve) => each.close(resolve))));
  return ports;
}

function listenAnywhere(): Promise<net.Server> {
  const made = net.createServer();
  return new Promise((resolve) => made.listen(0, "127.0.0.1", () => resolve(made)));
}

/** Resolves once something accepts on the port; each refusal is followed by the next try. */
async function listening(port: number): Promise<void> {
  const until = performance.now() + 5000;
  while (performance.now() < until) {
    const connected = await new Promise<boolean>((resolve) => {
      const socket = net.connect(port, "127.0.0.1", () => resolve(true));
      socket.on("error", () => resolve(false));
      socket.on("connect", () => socket.destroy());
    });
    if (connected) return;
    await new Promise((resolve) => setImmediate(resolve));
  }
  throw new Error("nginx does not listen");
}
