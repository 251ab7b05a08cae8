import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { finish } from "./holdfast.ts";

/**
 * The body of the answer to `GET /`, asked for with OpenSSL's own client. Where the file `session` is there, it offers the
 * session in it; afterwards it has the one of this connection. `options`: further ones of `openssl s_client`.
 */
export async function askWithSession(port: number, session: string, ...options: string[]): Promise<string> {
  const args = ["s_client", "-connect", `127.0.0.1:${port}`, "-quiet", "-sess_out", session];
  if (existsSync(session)) args.push("-sess_in", session);
  const child = spawn("openssl", [...args, ...options], { stdio: ["pipe", "pipe", "pipe"] });
  // With -quiet it reads the answer to its end, whatever comes of its input.
  child.stdin.on("error", () => {});
  const host = options.includes("-servername") ? options[options.indexOf("-servername") + 1] : "localhost";
  child.stdin.end(`GET / HTTP/1.0\r\nHost: ${host}\r\n\r\n`);
  const { stdout, stderr } = await finish(child);
  const end = stdout.indexOf("\r\n\r\n");
  if (end === -1) throw new Error(`no answer but ${JSON.stringify(stdout)}: ${stderr}`);
  return stdout.slice(end + 4);
}
