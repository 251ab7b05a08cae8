/**
 * An HTTP server as a process of its own, to be killed and stopped: `child_backend_main.ts PORT NAME`. It answers its name, to a path
 * that ends in `/large` 20 MB, and to one that ends in `/wait` nothing.
 */
import { createServer } from "node:http";

const [port, name] = process.argv.slice(2);
const large = Buffer.alloc(20_000_000, "0123456789abcdefghijklmnopqrstuvwxyz");
let served = 0;
const server = createServer({ keepAliveTimeout: 60_000 }, (request, response) => {
  const check = request.headers["x-check"] !== undefined;
  if (!check && request.url !== "/served") served++;
  request.resume();
  if (request.url?.endsWith("/wait")) return;
  if (request.url?.endsWith("/large")) {
    response.end(large);
    return;
  }
  const body = request.url === "/served" ? `${served}` : (name ?? "");
  response.writeHead(200, { "Content-Length": Buffer.byteLength(body), "Content-Type": "text/plain" });
  response.end(body);
});
server.listen({ port: Number(port), host: "127.0.0.1", backlog: 511 }, () => process.send?.("ready"));
process.on("disconnect", () => process.exit(0));
