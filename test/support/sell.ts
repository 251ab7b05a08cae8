/** What a server of a shop does with the session of a request. */
import type { IncomingMessage, ServerResponse } from "node:http";

/** What a request carries of its session. */
export function sessionOf({ headers }: IncomingMessage): Record<string, unknown> {
  const data = headers["x-session-data"];
  return typeof data === "string" ? JSON.parse(Buffer.from(data, "base64").toString("utf8")) : {};
}

export function patch(response: ServerResponse, value: unknown): ServerResponse {
  return response.setHeader("X-Session-Set", Buffer.from(JSON.stringify(value)).toString("base64"));
}

/** `/add/NAME` puts one more of it into the cart; every answer is the cart. */
export function sell(incoming: IncomingMessage, response: ServerResponse, server: number | string): void {
  const cart: Record<string, number> = Object(sessionOf(incoming).cart);
  const [, name] = /^\/add\/(.+)$/.exec(incoming.url ?? "") ?? [];
  if (name !== undefined) {
    cart[name] = (cart[name] ?? 0) + 1;
    patch(response, { cart: { [name]: cart[name] } });
  }
  response.setHeader("X-Server", String(server)).end(JSON.stringify(cart));
}
