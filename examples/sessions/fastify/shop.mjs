// A shop with Fastify whose sessions are in a session zone of Holdfast: node shop.mjs PORT API
import cookie from "@fastify/cookie";
import session from "@fastify/session";
import { HoldfastStore } from "express-session-holdfast";
import Fastify from "fastify";

const [port = "3001", url = "http://127.0.0.1:8081/session-api/"] = process.argv.slice(2);
const app = Fastify();

app.register(cookie);
app.register(session, {
  store: new HoldfastStore({ url }),
  secret: "to be the same on every server, and long",
  cookie: { secure: false },
  saveUninitialized: false,
});

app.get("/add/:item", async (request, reply) => {
  const { session, params } = request;
  session.cart = { ...session.cart, [params.item]: (session.cart?.[params.item] ?? 0) + 1 };
  // What is answered is stored.
  await session.save();
  return show(request, reply);
});
app.get("/", show);

async function show(request, reply) {
  reply.header("X-Server", port);
  return request.session.cart ?? {};
}

await app.listen({ port: Number(port), host: "127.0.0.1" });
console.log(`listening on ${port}`);
