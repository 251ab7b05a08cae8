/** What every proxy has behind it: nginx where it is installed, else this file run as a program over node:net. */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import type { Command } from "./process.ts";
import { smallBody } from "./scenarios.ts";

export interface BackendSite {
  dir: string;
  files: string;
  port: number;
  descriptors: number;
}

export function nginxBackend(site: BackendSite): Command {
  mkdirSync(join(site.dir, "temp"), { recursive: true });
  const temp = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((name) => `${name}_temp_path temp/${name};`);
  const file = join(site.dir, "backend.conf");
  writeFileSync(
    file,
    `
daemon off;
worker_processes 1;
worker_rlimit_nofile ${site.descriptors};
pid "${site.dir}/backend.pid";
error_log "${site.dir}/error.log" error;
events {
    worker_connections ${site.descriptors};
}
http {
    access_log off;
    sendfile on;
    ${temp.join("\n    ")}
    default_type application/octet-stream;
    keepalive_timeout 300s;
    keepalive_requests 100000000;
    server {
        listen 127.0.0.1:${site.port} backlog=1024;
        root "${site.files}";
        location = /small {
            default_type text/plain;
            return 200 "${smallBody.replace("\n", "\\n")}";
        }
    }
}
`,
  );
  return { program: "nginx", args: ["-e", join(site.dir, "error.log"), "-p", site.dir, "-c", file] };
}

export function builtInBackend(site: BackendSite): Command {
  return { program: process.execPath, args: [import.meta.filename, `${site.port}`, site.files] };
}

/** Answers GET with a body from memory; one request at a time on a connection, heads in one piece or several. */
function serve(port: number, files: string): void {
  const responses = new Map<string, Buffer>();
  const respond = (path: string): Buffer => {
    let response = responses.get(path);
    if (response === undefined) {
      const body = path === "/small" ? Buffer.from(smallBody) : readFileSync(join(files, path));
      response = Buffer.concat([Buffer.from(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n`), body]);
      responses.set(path, response);
    }
    return response;
  };
  const server = createServer({ noDelay: true }, (socket) => {
    let head = "";
    socket.on("error", () => socket.destroy());
    socket.on("data", (bytes: Buffer) => {
      head += bytes.toString("latin1");
      if (!head.endsWith("\r\n\r\n")) return;
      const path = head.split(" ", 2)[1];
      head = "";
      socket.write(respond(path));
    });
  });
  server.listen({ port, host: "127.0.0.1", backlog: 1024 });
}

if (import.meta.main) serve(Number(process.argv[2]), process.argv[3]);
