// The shop's pages, written out as HTML. Nothing in them comes from the visitor but product ids and quantities, which
// basket.mjs has checked.
import { PRODUCTS } from "./products.mjs";

const euros = (cents) => `€${(cents / 100).toFixed(2)}`;
const picture = (product) => `<svg viewBox="0 0 96 96" aria-hidden="true">${product.art}</svg>`;

/**
 * @param {{ name: string, port: number, pid: number, served: number }} copy who answers
 * @param {{ id: string, version: number, basket: Map<string, number> }} session as basket.mjs reads it
 */
export function shopPage(copy, session) {
  const { basket } = session;
  const count = [...basket.values()].reduce((sum, quantity) => sum + quantity, 0);
  const main = `<main>
  <section aria-labelledby="goods">
    <h1 id="goods">Goods for cold mornings</h1>
    <ul class="goods">
${[...PRODUCTS].map(([id, product]) => card(id, product, basket.get(id) ?? 0)).join("\n")}
    </ul>
  </section>
  <aside id="basket" aria-labelledby="basket-title">
    <h2 id="basket-title">Your basket</h2>
${basketList(basket)}
${sessionLine(session)}
  </aside>
</main>`;
  const answered = strip(copy, `Answered by <strong>copy ${copy.name}</strong>`, "/");
  return page("goods for cold mornings", copy, { count, basketPlace: "#basket", strip: answered, main });
}

/**
 * A product's page, which Holdfast keeps for ten seconds. It fills in what stands between `<!--#` and `-->` each time it
 * sends the page: where it came from, its age, and how much is in the visitor's basket.
 */
export function productPage(copy, id) {
  const product = PRODUCTS.get(id);
  const made = `<span class="kept"><!--# if expr="$upstream_cache_status = HIT" --><b class="hit">HIT</b>
    <strong><!--# echo var="upstream_cache_age" --> s</strong> old, made by <strong>copy ${copy.name}</strong>
    <!--# elif expr="$upstream_cache_status = STALE" --><b class="stale">STALE</b>
    <strong><!--# echo var="upstream_cache_age" --> s</strong> old: no copy answers
    <!--# else --><b class="miss"><!--# echo var="upstream_cache_status" --></b>
    Made now, by <strong>copy ${copy.name}</strong>
    <!--# endif --></span>`;
  const main = `<main class="one">
  <div class="art" style="background:${product.tint}">${picture(product)}</div>
  <section aria-labelledby="product">
    <a class="back" href="/#${id}">← All goods</a>
    <h1 id="product">${product.name}</h1>
    <p>${product.note}.</p>
    <form method="post" action="/basket">
      <span class="price">${euros(product.price)}</span>
      <input type="hidden" name="in" value="product">
      <button name="product" value="${id}">Add to the basket</button>
    </form>
    <p class="why">This page is the same for everybody, so Holdfast keeps it for ten seconds and asks no copy meanwhile. The
      first to come after that gets a new one. The number in the basket is yours: it is put in on the way.</p>
  </section>
</main>`;
  const count = `<!--# include virtual="/basket/count" -->`;
  return page(product.name, copy, { count, basketPlace: "/#basket", strip: strip(copy, made, `/product/${id}`), main });
}

function page(title, copy, { count, basketPlace, strip, main }) {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Tidewater – ${title}</title>
<link rel="icon" href="/assets/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="/assets/style.css">
</head>
<body class="copy-${copy.name}">
<div class="head">
<header class="top">
  <a class="brand" href="/"><img src="/assets/icon.svg" alt="" width="30" height="30">Tidewater</a>
  <nav><a href="/status">Status</a><a class="pill" href="${basketPlace}">Basket <b>${count}</b></a></nav>
</header>
${strip}
</div>
${main}
<footer>
  <p>An Express app in three copies behind Holdfast. No copy keeps a basket: it is in a session that Holdfast keeps, so it
  outlives every copy, and Holdfast itself.</p>
  <form method="post" action="/kill"><button>Kill a copy</button></form>
</footer>
</body>
</html>
`;
}

/** Below the head of each page: who made it. */
function strip(copy, who, again) {
  const dots = ["1", "2", "3"].map((name) => `<i class="dot-${name}${name === copy.name ? " on" : ""}"></i>`).join("");
  return `<div class="answered" role="status">
  <span class="dots" aria-hidden="true">${dots}</span>
  <span class="who">${who}</span>
  <dl>
    <div><dt>pid</dt><dd>${copy.pid}</dd></div>
    <div><dt>port</dt><dd>${copy.port}</dd></div>
    <div><dt>pages served</dt><dd>${copy.served}</dd></div>
  </dl>
  <a class="again" href="${again}">Ask again</a>
</div>`;
}

function card(id, product, quantity) {
  const inBasket = quantity === 0 ? "" : `<small>${quantity} in basket</small>`;
  return `      <li id="${id}">
        <a class="art" href="/product/${id}" tabindex="-1" style="background:${product.tint}">${picture(product)}</a>
        <h3><a href="/product/${id}">${product.name}</a></h3>
        <p>${product.note}</p>
        <form method="post" action="/basket">
          <span class="price">${euros(product.price)}${inBasket}</span>
          <button name="product" value="${id}" aria-label="Add ${product.name} to the basket">Add</button>
        </form>
      </li>`;
}

/** Where the basket is, and how old what is shown of it is. */
function sessionLine({ id, version }) {
  if (version === 0) return `    <p class="session">No session yet: the first thing in the basket begins one.</p>`;
  const age = Math.max(0, Math.round((Date.now() - version) / 1000));
  return `    <p class="session">Session <code>${id.slice(0, 8)}</code> changed ${age} s ago
      <small>version ${version}</small></p>`;
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
