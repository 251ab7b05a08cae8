/** A server of a shop as a process of its own: `host_server_main.ts ADDRESS PORT NAME`. */
import { createServer } from "node:http";
import { sell } from "./sell.ts";

const [host, port, name] = process.argv.slice(2);
/** `/wait/MS` takes so long. */
const server = createServer({ keepAliveTimeout: 60_000 }, (incoming, response) => {
  const [, wait = "0"] = /^\/wait\/(\d+)$/.exec(incoming.url ?? "") ?? [];
  setTimeout(() => sell(incoming, response, name), Number(wait));
});
server.listen({ port: Number(port), host, backlog: 511 }, () => process.stdout.write("ready\n"));
