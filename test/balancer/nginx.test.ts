import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import http from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import type { MethodDefinition, ServerDefinition } from "../../src/balancer/definition.ts";
import type { Group } from "../../src/balancer/group.ts";
import { freePort, listeningPorts } from "../support/ports.ts";
import { NGINX } from "../support/reference_nginx.ts";
import { waitFor } from "../support/wait.ts";
import { group, input, portOf, server } from "./helpers.ts";

const BACKENDS = 5;

interface Scene {
  readonly name: string;
  /** Parameters of the five servers. */
  readonly parameters: readonly string[];
  readonly method: string;
  readonly ours: MethodDefinition;
  /** One request each: the key of `hash`, or the client's address. */
  readonly requests: readonly string[];
  /** Servers that close the connection without an answer. */
  readonly failing?: readonly number[];
}

/** Every third holds bytes above 127, as UTF-8 in a URI may send them. */
const keys = Array.from({ length: 200 }, (_, i) => `key-${i * 7919}${i % 3 === 0 ? "\xc3\xa9" : ""}`);
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
    name: "round robin with a server failing now and then held out",
    parameters: [
      "weight=5 max_fails=3 fail_timeout=1h",
      "weight=4 max_fails=4 fail_timeout=1h",
      "weight=2",
      "",
      "down",
    ],
    method: "",
    ours: { name: "round_robin" },
    requests: plain,
    failing: [0, 1],
  },
  {
    name: "least_conn with failures and a backup",
    parameters: ["weight=3 fail_timeout=1h", "max_fails=2 fail_timeout=1h", "backup", "backup", "down"],
    method: "least_conn;",
    ours: { name: "least_conn" },
    requests: plain,
    failing: [0, 1],
  },
  {
    name: "ip_hash with failures",
    parameters: ["weight=2 max_fails=0", "", "fail_timeout=1h", "weight=3", ""],
    method: "ip_hash;",
    ours: { name: "ip_hash" },
    requests: clients,
    failing: [0, 2],
  },
  {
    name: "hash with failures",
    parameters: ["weight=2 max_fails=0", "", "fail_timeout=1h", "weight=3", ""],
    method: "hash $arg_key;",
    ours: { name: "hash", key: "$arg_key" },
    requests: keys,
    failing: [0, 2],
  },
  {
    name: "hash consistent with failures",
    parameters: ["weight=2 max_fails=0", "", "fail_timeout=1h", "weight=3", ""],
    method: "hash $arg_key consistent;",
    ours: { name: "hash_consistent", key: "$arg_key" },
    requests: keys,
    failing: [0, 2],
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
  const value = (name: string, initial: number) => Number(new RegExp(`${name}=(\\d+)`).exec(text)?.[1] ?? initial);
  const words = text.split(" ");
  return server(port, {
    down: words.includes("down"),
    backup: words.includes("backup"),
    weight: value("weight", 1),
    maxFails: value("max_fails", 1),
    failTimeout: words.includes("fail_timeout=1h") ? 3_600_000 : 10_000,
  });
}

/** The ports an attempt goes through, as $upstream_addr shows them. */
function passage(upstream: Group, request: string, failing: ReadonlySet<number>): number[] {
  const attempt = upstream.begin(input(request, request));
  const ports: number[] = [];
  while (attempt.tries > 0) {
    const port = portOf(upstream, attempt);
    if (port === undefined) break;
    ports.push(port);
    const failed = failing.has(port);
    upstream.release(attempt, failed ? "failed" : "ok");
    if (!failed) break;
  }
  upstream.end(attempt);
  return ports;
}

describe("the same server as nginx", { skip: NGINX === undefined }, () => {
  let folder: string;
  let nginx: ChildProcess;
  let front: number;
  let ports: number[];

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), "balance-"));
    mkdirSync(join(folder, "logs"));
    ports = await Promise.all(Array.from({ length: BACKENDS + 1 }, freePort));
    front = ports[BACKENDS];
    writeFileSync(join(folder, "nginx.conf"), configuration(ports, front, folder));
    nginx = spawn(NGINX ?? "", ["-p", folder, "-c", join(folder, "nginx.conf"), "-e", join(folder, "error.log")]);
    await waitFor(() => listeningPorts(nginx.pid ?? 0).includes(front), "nginx to listen");
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
      const failing = new Set(scene.failing?.map((at) => ports[at]));
      const theirs: number[][] = [];
      const ours: number[][] = [];
      for (const request of scene.requests) {
        theirs.push(await triedBy(front, `/${i}?key=${request}`, request));
        ours.push(passage(upstream, request, failing));
      }
      assert.deepEqual(ours, theirs);
      assert.equal(
        theirs.some((tried) => tried.length > 1),
        failing.size > 0,
      );
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
    .map(
      (port) => `server { listen 127.0.0.1:${port}; if ($http_x_failing ~ ,${port},) { return 444; } return 200 ok; }`,
    );
  const locations = SCENES.map(({ failing = [] }, i) => {
    const list = failing.map((at) => `,${ports[at]},`).join("");
    return `location = /${i} { proxy_pass http://u${i}; proxy_set_header X-Failing "${list}"; }`;
  });
  const paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(
    (name) => `${name}_temp_path ${folder}/${name};`,
  );
  return `daemon off; master_process off; pid ${folder}/nginx.pid; error_log ${folder}/error.log;
    events { worker_connections 256; }
    http { access_log off; ${paths.join(" ")} ${upstreams.join("\n")} ${backends.join("\n")}
      server { listen 127.0.0.1:${front}; set_real_ip_from 127.0.0.1; real_ip_header X-Client;
        add_header X-Tried $upstream_addr always; ${locations.join(" ")} }
    }`;
}

const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
after(() => agent.destroy());

/** The ports of the servers nginx tried for a request. */
function triedBy(port: number, path: string, client: string): Promise<number[]> {
  return new Promise((resolve, reject) => {
    const request = http.get({ host: "127.0.0.1", port, path, agent, headers: { "X-Client": client } }, (response) => {
      const tried = String(response.headers["x-tried"]).split(", ");
      response.resume();
      // Where no server was left, nginx ends the list with the upstream's name.
      response.on("end", () =>
        resolve(tried.flatMap((text) => (text.includes(":") ? [Number(text.split(":")[1])] : []))),
      );
    });
    request.on("error", reject);
  });
}
