// A proxy as a user of `http-proxy` writes it, with the keep-alive agent its manual advises.
import { Agent, createServer } from "node:http";
import httpProxy from "http-proxy";

const proxy = httpProxy.createProxyServer({
  target: { host: "127.0.0.1", port: Number(process.env.BACKEND_PORT) },
  agent: new Agent({ keepAlive: true, maxSockets: 64, maxFreeSockets: 64 }),
});
proxy.on("error", (_error, _request, response) => {
  response.statusCode = 502;
  response.end();
});
const server = createServer((request, response) => proxy.web(request, response));
server.keepAliveTimeout = 300_000;
server.listen({ port: Number(process.env.PORT), host: "127.0.0.1", backlog: 1024 });
