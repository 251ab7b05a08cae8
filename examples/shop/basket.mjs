// A visitor's basket, kept in a signed cookie: any copy of the shop can read it, so losing a copy loses no basket.
import { createHmac, timingSafeEqual } from "node:crypto";
import { PRODUCTS } from "./products.mjs";

const MOST_OF_ONE = 20;

/**
 * @param {string} secret shared by all copies
 * @returns reading and writing of the cookie's value; a basket is a Map of product id to quantity
 */
export function baskets(secret) {
  const sign = (text) => createHmac("sha256", secret).update(text).digest("base64url");
  return {
    /** The basket of a Cookie header; an empty one where it is missing, broken or not signed by us. */
    read(cookieHeader = "") {
      const value = /(?:^|;\s*)basket=([\w.:-]*)/.exec(cookieHeader)?.[1] ?? "";
      const dot = value.lastIndexOf(".");
      const text = value.slice(0, Math.max(0, dot));
      const given = Buffer.from(value.slice(dot + 1));
      const right = Buffer.from(sign(text));
      const basket = new Map();
      if (dot === -1 || given.length !== right.length || !timingSafeEqual(given, right)) return basket;
      for (const entry of text.split("-")) {
        const [id, quantity] = entry.split(":");
        if (PRODUCTS.has(id)) basket.set(id, Number(quantity));
      }
      return basket;
    },

    write(basket) {
      const text = [...basket].map(([id, quantity]) => `${id}:${quantity}`).join("-");
      return `${text}.${sign(text)}`;
    },
  };
}

/** Adds `by` (which may be negative) of a product; what falls to none is gone. */
export function change(basket, id, by) {
  if (!PRODUCTS.has(id)) return;
  const quantity = Math.min(MOST_OF_ONE, (basket.get(id) ?? 0) + by);
  if (quantity > 0) basket.set(id, quantity);
  else basket.delete(id);
}
