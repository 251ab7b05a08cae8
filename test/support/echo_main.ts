/** A minimal program to test the process with: answers each connection with its process and text; dies on demand. */
import { createServer, type Server, type Socket } from "node:net";
import { fileURLToPath } from "node:url";
import { block, flag, text, texts } from "../../src/config/directives.ts";
import { defineDirectives } from "../../src/config/schema.ts";
import { duplicate } from "../../src/net/listening_socket.ts";
import type { Program, Sockets, WorkerService } from "../../src/runtime/application.ts";
import { coreDirectives } from "../../src/runtime/directives.ts";
import { openErrorLog } from "../../src/runtime/log/error_log.ts";
import { openLogFile } from "../../src/runtime/log/log_files.ts";
import { run } from "../../src/runtime/start.ts";
import { errorText } from "../../src/sys/errno.ts";

const echo = defineDirectives("echo", {
  http: block({ in: ["main"], context: "http", doc: "" }),
  echo_port: texts({ in: ["http"], doc: "" }),
  echo_text: text({ in: ["http"], default: "echo", doc: "" }),
  echo_host: texts({ in: ["http"], doc: "" }),
  echo_log: text({ in: ["http"], doc: "" }),
  echo_crash_at_start: flag({ in: ["http"], default: false, doc: "" }),
});

class EchoService implements WorkerService {
  readonly servers: Map<string, Server>;
  readonly sockets = new Set<Socket>();
  readonly #settings: Settings;
  #retired: (() => void) | undefined;

  constructor(settings: Settings, previous: EchoService | undefined) {
    this.#settings = settings;
    this.servers = previous?.servers ?? new Map();
  }

  async listen(sockets: Sockets): Promise<readonly string[]> {
    const errors: string[] = [];
    for (const [port, server] of this.servers) {
      if (this.#settings.echo_port.includes(port)) continue;
      server.close();
      this.servers.delete(port);
    }
    for (const port of this.#settings.echo_port) {
      const known = this.servers.get(port);
      if (known !== undefined) {
        known.removeAllListeners("connection");
        known.on("connection", (socket) => this.#accept(socket));
        continue;
      }
      const server = createServer((socket) => this.#accept(socket));
      await new Promise<void>((resolve) => {
        server.once("error", (error: NodeJS.ErrnoException) => {
          errors.push(`bind() to 127.0.0.1:${port} failed (${errorText(error.code ?? "")})`);
          resolve();
        });
        const [fd] = sockets[`127.0.0.1:${port}`] ?? [];
        server.listen(fd === undefined ? { port: Number(port), host: "127.0.0.1" } : { fd: duplicate(fd) }, resolve);
      });
      this.servers.set(port, server);
    }
    return errors;
  }

  #accept(socket: Socket): void {
    this.sockets.add(socket);
    socket.on("error", () => {});
    socket.on("close", () => {
      this.sockets.delete(socket);
      if (this.sockets.size === 0) this.#retired?.();
    });
    socket.on("data", (data) => {
      const word = data.toString("latin1").trim();
      this.#settings.log(word);
      if (word === "crash") throw new Error("crashed on demand\nwith a second line");
      if (word === "reject") void Promise.reject(new TypeError("rejected on demand"));
      if (word === "oom") exhaust();
      if (word === "exit") process.exit(3);
      for (; word === "hang"; );
      socket.write(`${this.#settings.echo_text} pid=${process.pid} env=${Object.keys(process.env).sort().join(",")}\n`);
    });
  }

  quit(closed: () => void, done: () => void): void {
    for (const server of this.servers.values()) server.close();
    closed();
    this.retire(done);
  }

  stop(): void {
    for (const server of this.servers.values()) server.close();
    for (const socket of this.sockets) socket.destroy();
  }

  expire(): void {
    for (const socket of this.sockets) socket.destroy();
  }

  retire(done: () => void): void {
    this.#retired = done;
    if (this.sockets.size === 0) done();
  }
}

interface Settings {
  readonly echo_port: readonly string[];
  readonly echo_text: string;
  log(line: string): void;
}

function exhaust(): void {
  const kept: unknown[] = [];
  for (;;) kept.push(Array.from({ length: 10_000 }, (_, i) => ({ i })));
}

function echoProgram(): Program {
  return {
    directives: [echo],
    configureArguments: ["--with-echo_module"],
    hosts(root) {
      const http = root.children.find((child) => child.context === "http");
      if (http === undefined) return [];
      return echo.in(http).echo_host.map((host) => ({
        host,
        file: http.directive.file,
        line: http.directive.line,
        error: `host not found in upstream "${host}"`,
      }));
    },
    *build(cycle) {
      yield;
      const http = cycle.root.children.find((child) => child.context === "http") ?? cycle.root;
      const settings = echo.in(http);
      const logPath = settings.echo_log === undefined ? undefined : cycle.path(settings.echo_log);
      cycle.zone({ kind: { name: "echo", version: 1 }, name: "echo", size: 8 });
      return {
        listeners: settings.echo_port.map((port) => ({
          address: { family: "ipv4", host: "127.0.0.1", port: Number(port) },
          key: `127.0.0.1:${port}`,
          backlog: 511,
          ipv6only: undefined,
          reuseport: false,
          keepalive: undefined,
          deferred: false,
        })),
        logFiles: logPath === undefined ? [] : [logPath],
        directories: [],
        serve(worker, previous) {
          if (settings.echo_crash_at_start) throw new Error("cannot serve");
          const file = logPath === undefined ? undefined : openLogFile(logPath);
          const log = openErrorLog(coreDirectives.in(http).error_log, cycle);
          log.write("info", `echo worker ${worker.index} of ${worker.count}, ${worker.connections} connections`);
          return new EchoService(
            { echo_port: settings.echo_port, echo_text: settings.echo_text, log: (line) => file?.append(`${line}\n`) },
            previous instanceof EchoService ? previous : undefined,
          );
        },
        check: () => ({ stop() {} }),
      };
    },
  };
}

run(echoProgram(), new URL(import.meta.url), fileURLToPath(new URL("../../", import.meta.url)));
