import { spawn } from "node:child_process";
import { chmodSync, existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { waitFor } from "./wait.ts";

/** A running uWSGI. */
export interface Uwsgi {
  /** Where it listens, as in `uwsgi_pass` and `scgi_pass`: `unix:/…`. */
  readonly address: string;
  readonly pid: number;
}

/**
 * Starts uWSGI with a WSGI application in Python, whose function is `application`. `protocol`: which it speaks. `options`: more
 * of its command line.
 */
export async function startUwsgi(
  t: TestContext,
  application: string,
  { protocol = "uwsgi", options = [] }: { protocol?: "uwsgi" | "scgi"; options?: readonly string[] } = {},
): Promise<Uwsgi> {
  const directory = mkdtempSync(join(tmpdir(), "holdfast-uwsgi-"));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  chmodSync(directory, 0o755);
  writeFileSync(join(directory, "app.py"), application);
  const socket = join(directory, "socket");
  const child = spawn(
    "uwsgi",
    [
      ...["--plugin", "python3"],
      // Sockets are bound in this order: when the last is there, those of `options` are.
      ...options,
      ...[`--${protocol}-socket`, socket, "--chmod-socket=666"],
      ...["--wsgi-file", join(directory, "app.py"), "--master", "--need-app", "--die-on-term", "--processes", "2"],
    ],
    { stdio: "ignore" },
  );
  const exited = new Promise((resolve) => child.once("exit", resolve));
  t.after(async () => {
    child.kill("SIGTERM");
    await exited;
  });
  await waitFor(() => existsSync(socket), "uwsgi listens");
  return { address: `unix:${socket}`, pid: child.pid ?? 0 };
}
