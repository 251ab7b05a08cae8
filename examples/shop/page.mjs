// The shop's one page, written out as HTML. Nothing in it comes from the visitor but product ids and quantities, which
// basket.mjs has checked.
import { PRODUCTS } from "./products.mjs";

const euros = (cents) => `€${(cents / 100).toFixed(2)}`;
const picture = (product) => `<svg viewBox="0 0 96 96" aria-hidden="true">${product.art}</svg>`;

/**
 * @param {{ name: string, port: number, pid: number, served: number }} copy who answers
 * @param {Map<string, number>} basket product id to quantity
 */
export function shopPage(copy, basket) {
  const count = [...basket.values()].reduce((sum, quantity) => sum + quantity, 0);
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Tidewater – goods for cold mornings</title>
<link rel="icon" href="/assets/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="/assets/style.css">
</head>
<body class="copy-${copy.name}">
<div class="head">
<header class="top">
  <a class="brand" href="/"><img src="/assets/icon.svg" alt="" width="30" height="30">Tidewater</a>
  <nav><a href="/status">Status</a><a class="pill" href="#basket">Basket <b>${count}</b></a></nav>
</header>
${answeredBy(copy)}
</div>
<main>
  <section aria-labelledby="goods">
    <h1 id="goods">Goods for cold mornings</h1>
    <ul class="goods">
${[...PRODUCTS].map(([id, product]) => card(id, product, basket.get(id) ?? 0)).join("\n")}
    </ul>
  </section>
  <aside id="basket" aria-labelledby="basket-title">
    <h2 id="basket-title">Your basket</h2>
${basketList(basket)}
  </aside>
</main>
<footer>
  An Express app in three copies behind Holdfast. The basket travels in a signed cookie, so every copy knows it.
</footer>
</body>
</html>
`;
}

function answeredBy(copy) {
  const dots = ["1", "2", "3"].map((name) => `<i class="dot-${name}${name === copy.name ? " on" : ""}"></i>`).join("");
  return `<div class="answered" role="status">
  <span class="dots" aria-hidden="true">${dots}</span>
  <span class="who">Answered by <strong>copy ${copy.name}</strong></span>
  <dl>
    <div><dt>pid</dt><dd>${copy.pid}</dd></div>
    <div><dt>port</dt><dd>${copy.port}</dd></div>
    <div><dt>pages served</dt><dd>${copy.served}</dd></div>
  </dl>
  <a class="again" href="/">Ask again</a>
</div>`;
}

function card(id, product, quantity) {
  const inBasket = quantity === 0 ? "" : `<small>${quantity} in basket</small>`;
  return `      <li id="${id}">
        <div class="art" style="background:${product.tint}">${picture(product)}</div>
        <h3>${product.name}</h3>
        <p>${product.note}</p>
        <form method="post" action="/basket">
          <span class="price">${euros(product.price)}${inBasket}</span>
          <button name="product" value="${id}" aria-label="Add ${product.name} to the basket">Add</button>
        </form>
      </li>`;
}

function basketList(basket) {
  if (basket.size === 0) return `    <p class="empty">Nothing in it yet.</p>`;
  let total = 0;
  const lines = [...basket].map(([id, quantity]) => {
    const product = PRODUCTS.get(id);
    total += product.price * quantity;
    return `      <li>
        <span class="thumb" style="background:${product.tint}">${picture(product)}</span>
        <span class="line"><b>${product.name}</b><small>${quantity} × ${euros(product.price)}</small></span>
        <form method="post" action="/basket">
          <input type="hidden" name="product" value="${id}">
          <input type="hidden" name="in" value="basket">
          <button name="remove" value="1" aria-label="Take one ${product.name} out">−</button>
          <button aria-label="One more ${product.name}">+</button>
        </form>
      </li>`;
  });
  return `    <ul class="lines">
${lines.join("\n")}
    </ul>
    <p class="total"><span>Total</span><b>${euros(total)}</b></p>`;
}
