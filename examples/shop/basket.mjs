// A visitor's basket. The copies keep nothing: it is in the visitor's session, which Holdfast sends with each request and
// changes as the response says.
import { PRODUCTS } from "./products.mjs";

const MOST_OF_ONE = 20;

/**
 * @param {import("node:http").IncomingHttpHeaders} headers of a request
 * @returns what Holdfast says of the visitor's session: `version` (ms since 1970 of the last change; 0: there is none yet)
 *   and the basket, a Map of product id to quantity
 */
export function sessionOf(headers) {
  const data = Buffer.from(headers["x-session-data"] ?? "", "base64").toString("utf8");
  const entries = Object.entries((data === "" ? {} : JSON.parse(data)).basket ?? {});
  const basket = new Map(entries.filter(([id, quantity]) => PRODUCTS.has(id) && Number.isInteger(quantity)));
  return { id: headers["x-session-id"] ?? "", version: Number(headers["x-session-version"] ?? 0), basket };
}

/**
 * Adds `by` (which may be negative) of a product; what falls to none is gone.
 *
 * @returns the value of X-Session-Set for it: a merge patch (RFC 7396) of this product alone, so that two tabs which
 *   change different products do not undo each other's
 */
export function change(basket, id, by) {
  if (!PRODUCTS.has(id)) return undefined;
  const quantity = Math.min(MOST_OF_ONE, (basket.get(id) ?? 0) + by);
  const patch = { basket: { [id]: quantity > 0 ? quantity : null } };
  return Buffer.from(JSON.stringify(patch)).toString("base64");
}
