/** An HTTP server as a process of its own, to be killed and stopped: answers its name; `child_backend_main.ts PORT NAME`. */
import { createServer } from "node:http";

const [port, name] = process.argv.slice(2);
let served = 0;
const server = createServer({ keepAliveTimeout: 60_000 }, (request, response) => {
  const check = request.headers["x-check"] !== undefined;
  if (!check && request.url !== "/served") served++;
  const body = request.url === "/served" ? `${served}` : (name ?? "");
  request.resume();
  response.writeHead(200, { "Content-Length": Buffer.byteLength(body), "Content-Type": "text/plain" });
  response.end(body);
});
server.listen({ port: Number(port), host: "127.0.0.1", backlog: 511 }, () => process.send?.("ready"));
process.on("disconnect", () => process.exit(0));
