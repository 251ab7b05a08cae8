// A shop with Express whose sessions are in memcached, or in what speaks its protocol: node memcached.mjs PORT MEMCACHED
import memcachedStore from "connect-memcached";
import express from "express";
import session from "express-session";

const [port = "3001", hosts = "127.0.0.1:11211"] = process.argv.slice(2);
const app = express();
const MemcachedStore = memcachedStore(session);
// A server that was away is asked again after a second, and not after the 5 hours that are the client's default.
const store = new MemcachedStore({ hosts, retries: 5, minTimeout: 100, maxTimeout: 500, retry: 100, reconnect: 1000 });

app.use(session({ store, secret: "to be the same on every server", resave: false, saveUninitialized: false }));

app.get("/add/:item", (request, response, next) => {
  const cart = request.session.cart ?? {};
  request.session.cart = cart;
  cart[request.params.item] = (cart[request.params.item] ?? 0) + 1;
  // What is answered is stored: express-session itself answers even where it could not be.
  request.session.save((error) => (error ? next(error) : show(request, response)));
});
app.get("/", show);

function show(request, response) {
  response.set("X-Server", port).json(request.session.cart ?? {});
}

app.listen(Number(port), "127.0.0.1", () => console.log(`listening on ${port}`));
