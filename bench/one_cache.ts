/** nginx or Holdfast with nothing but a cache in front of a backend: what the programs about caches start. */
import type { ChildProcess } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { type Command, killAll, startPinned } from "./process.ts";

const TEMPORARY = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];

export interface CacheServer {
  readonly name: "nginx" | "holdfast";
  /** A folder of its own; the cache's files are in `entries` in it. */
  readonly dir: string;
  readonly port: number;
  readonly backendPort: number;
  /** Parameters of proxy_cache_path behind the zone's name. */
  readonly zone: string;
}

export function isCacheServer(name: string): name is CacheServer["name"] {
  return name === "nginx" || name === "holdfast";
}

/** Starts it in the foreground; answers have X-Cache with what the cache did. */
export function startCache(server: CacheServer): ChildProcess {
  const { name, dir, port, backendPort, zone } = server;
  const temp =
    name === "nginx" ? TEMPORARY.map((kind) => `    ${kind}_temp_path "${dir}/temp-${kind}";`).join("\n") : "";
  const conf = join(dir, "server.conf");
  writeFileSync(
    conf,
    `daemon off;
${process.getuid?.() === 0 ? "user root;" : ""}
worker_processes 1;
pid "${dir}/server.pid";
error_log "${dir}/error.log" notice;
events {
    worker_connections 1024;
}
http {
    access_log off;
${temp}
    proxy_cache_path "${dir}/entries" levels=1:2 keys_zone=entries:${zone} inactive=24h use_temp_path=off;
    server {
        listen 127.0.0.1:${port};
        keepalive_requests 100000000;
        location / {
            proxy_pass http://127.0.0.1:${backendPort};
            proxy_cache entries;
            proxy_cache_key $uri;
            proxy_cache_valid 200 24h;
            add_header X-Cache $upstream_cache_status;
        }
    }
}
`,
  );
  const command: Command =
    name === "nginx"
      ? { program: "nginx", args: ["-e", join(dir, "error.log"), "-p", dir, "-c", conf] }
      : {
          program: join(dirname(import.meta.dirname), "bin", "holdfast"),
          args: ["-c", conf, "-p", dir],
          env: { PATH: [dirname(process.execPath), process.env.PATH ?? ""].join(delimiter) },
        };
  return startPinned("0", command, join(dir, "output"));
}

/** A folder that is removed when this program ends, with all that was started. */
export function scratch(name: string): string {
  const root = mkdtempSync(join(tmpdir(), `holdfast-${name}-`));
  chmodSync(root, 0o755);
  process.once("exit", () => {
    killAll();
    rmSync(root, { recursive: true, force: true });
  });
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => process.exit(1));
  return root;
}

/** A folder of a server's own, which its workers may use. */
export function folder(root: string, name: string): string {
  const dir = join(root, name);
  mkdirSync(dir);
  chmodSync(dir, 0o755);
  return dir;
}
