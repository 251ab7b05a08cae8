// One copy of the shop. NAME and PORT come from the environment; it ends when its standard input does, so that
// it never outlives the script that started it.
import { fileURLToPath } from "node:url";
import express from "express";
import { change, sessionOf } from "./basket.mjs";
import { productPage, shopPage } from "./page.mjs";
import { PRODUCTS } from "./products.mjs";

const copy = { name: process.env.NAME ?? "1", port: Number(process.env.PORT ?? 3001), pid: process.pid };
let served = 0;

const shop = express();
shop.disable("x-powered-by");
shop.use("/assets", express.static(fileURLToPath(new URL("public", import.meta.url)), { maxAge: "1h" }));
shop.use(express.urlencoded({ extended: false, limit: "1kb" }));

shop.get("/health", (_request, response) => {
  response.type("text/plain").send("ok\n");
});

shop.get("/", (request, response) => {
  served += 1;
  response.set("Cache-Control", "no-store").send(shopPage({ ...copy, served }, sessionOf(request.headers)));
});

// The same for every visitor, so that it can be kept: what is in the basket is put in on the way.
shop.get("/product/:id", (request, response, next) => {
  const { id } = request.params;
  if (!PRODUCTS.has(id)) return next();
  served += 1;
  response.send(productPage({ ...copy, served }, id));
});

shop.get("/basket/count", (request, response) => {
  const quantities = [...sessionOf(request.headers).basket.values()];
  const count = quantities.reduce((sum, quantity) => sum + quantity, 0);
  response.set("Cache-Control", "no-store").type("text/plain").send(String(count));
});

shop.post("/basket", (request, response) => {
  const { product, remove, in: place } = request.body ?? {};
  const patch = change(sessionOf(request.headers).basket, product, remove === undefined ? 1 : -1);
  if (patch !== undefined) response.set("X-Session-Set", patch);
  response.redirect(303, PRODUCTS.has(product) ? placeOf(product, place) : "/#basket");
});

// The button that kills whichever copy gets this: at once, as `kill -9` would, once the response has left.
shop.post("/kill", (_request, response) => {
  response.on("finish", () => setTimeout(() => process.kill(process.pid, "SIGKILL"), 20));
  response.set("Connection", "close").redirect(303, "/");
});

/** Where the button was. */
function placeOf(product, place) {
  if (place === "basket") return "/#basket";
  return place === "product" ? `/product/${product}` : `/#${product}`;
}

shop.use((_request, response) => {
  response.status(404).type("text/plain").send("There is nothing here.\n");
});

const server = shop.listen(copy.port, "127.0.0.1", (error) => {
  if (error) {
    process.stderr.write(`Copy ${copy.name} cannot listen on port ${copy.port}: ${error.message}\n`);
    process.exit(1);
  }
  process.stdout.write(`ready\n`);
});
// Longer than the proxy keeps an idle connection, so that it is never the copy that closes one just being used.
server.keepAliveTimeout = 75_000;

process.stdin.resume().on("end", () => process.exit(0));
