/** A server of a shop as a process of its own: `host_server_main.ts ADDRESS PORT NAME`. */
import { createServer } from "node:http";
import { sell } from "./sell.ts";

const [host, port, name] = process.argv.slice(2);
const server = createServer({ keepAliveTimeout: 60_000 }, (incoming, response) => sell(incoming, response, name));
server.listen({ port: Number(port), host, backlog: 511 }, () => process.stdout.write("ready\n"));
