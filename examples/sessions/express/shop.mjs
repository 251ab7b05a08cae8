// A shop with Express whose sessions are in a session zone of Holdfast: node shop.mjs PORT API
import express from "express";
import session from "express-session";
import { HoldfastStore } from "express-session-holdfast";

const [port = "3001", url = "http://127.0.0.1:8081/session-api/"] = process.argv.slice(2);
const app = express();
const store = new HoldfastStore({ url, session });

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
