// A proxy as a user of `@fastify/http-proxy` writes it: its default client, with 64 kept connections.
import httpProxy from "@fastify/http-proxy";
import Fastify from "fastify";

const server = Fastify({ logger: false, keepAliveTimeout: 300_000 });
server.register(httpProxy, {
  upstream: `http://127.0.0.1:${process.env.BACKEND_PORT}`,
  undici: { connections: 64, pipelining: 1 },
});
await server.listen({ port: Number(process.env.PORT), host: "127.0.0.1", backlog: 1024 });
