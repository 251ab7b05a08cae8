import assert from "node:assert/strict";
import type { IncomingMessage, ServerResponse } from "node:http";
import { test } from "node:test";
import { startBrowser } from "../support/browser.ts";
import { have } from "../support/have.ts";
import { patch, sessionOf, startShop } from "../support/shop.ts";

/** What a shopper sees in a real browser. */

const GOODS = ["apple", "pear", "plum"];

/** A page with a button for each of the goods, and the cart. */
function sellPages(incoming: IncomingMessage, response: ServerResponse, server: number): void {
  const cart: Record<string, number> = Object(sessionOf(incoming).cart);
  const [, name] = /^\/add\/(\w+)$/.exec(incoming.url ?? "") ?? [];
  if (name !== undefined) {
    patch(response, { cart: { [name]: (cart[name] ?? 0) + 1 } })
      .writeHead(303, { Location: "/" })
      .end();
    return;
  }
  const items = Object.entries(cart).map(([item, count]) => `<li>${count} ${item}</li>`);
  const buttons = GOODS.map((item) => `<a id="${item}" href="/add/${item}">${item}</a>`);
  response
    .setHeader("Content-Type", "text/html")
    .end(
      `<!doctype html><title>Shop</title><p>Server <b>${server}</b></p>${buttons.join(" ")}<ul>${items.join("")}</ul>`,
    );
}

const CART = "[...document.querySelectorAll('li')].map((item) => item.textContent).join(', ')";

test("a cart that was filled in Chromium is there when its servers and Holdfast have died", {
  skip: have("chromium"),
}, async (t) => {
  const shop = await startShop(t, { answer: sellPages, session: "httponly samesite=lax", servers: 3 });
  const browser = await startBrowser(t);
  const address = (): string => `http://127.0.0.1:${shop.holdfast.port}/`;
  await browser.open(address());
  for (const item of ["apple", "pear", "apple"]) await browser.click(`#${item}`);
  assert.equal(await browser.evaluate(CART), "2 apple, 1 pear");
  assert.equal(await browser.evaluate("document.cookie"), "", "no script sees the cookie");

  for (const server of shop.servers.slice(0, 2)) {
    await server.close();
    for (let i = 0; i < 3; i++) await browser.open(address());
    assert.equal(await browser.evaluate(CART), "2 apple, 1 pear");
  }
  assert.equal(await browser.evaluate("document.querySelector('b').textContent"), "2");

  shop.holdfast.signal("SIGKILL");
  await shop.holdfast.stop();
  await shop.start();
  // Cookies know no ports.
  await browser.open(address());
  assert.equal(await browser.evaluate(CART), "2 apple, 1 pear");
  await browser.click("#plum");
  assert.equal(await browser.evaluate(CART), "2 apple, 1 pear, 1 plum");
  const picture = await browser.picture(390);
  assert.equal(picture.toString("latin1", 1, 4), "PNG");
});
