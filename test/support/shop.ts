import type { IncomingMessage, ServerResponse } from "node:http";
import type { TestContext } from "node:test";
import { type Backend, httpBackend } from "./backend.ts";
import { type Running, startHoldfast } from "./holdfast.ts";
import { sell } from "./sell.ts";

export { patch, sessionOf } from "./sell.ts";

import { type RawResponse, request } from "./tcp.ts";

/** A shop on several servers, whose carts are in a session zone. */
export interface Shop {
  /** The Holdfast that runs now. */
  readonly holdfast: Running;
  readonly servers: readonly ShopServer[];
  /** A client with a jar of cookies, or with another's. */
  shopper(cookies?: Map<string, string>): Shopper;
  /** Starts it anew, in the same directory, once it has been stopped. */
  start(): Promise<Running>;
}

export interface ShopServer {
  readonly address: string;
  /** As if it were killed. */
  close(): Promise<void>;
  /** Starts it anew, at the same address. */
  open(): Promise<void>;
}

export interface Shopper {
  /** By name, as they came last. */
  readonly cookies: Map<string, string>;
  /** A request with the cookies that there are. `fields`: whole lines. */
  send(path: string, fields?: string): Promise<RawResponse>;
  /** What is in the cart: `{"apple":2}`. */
  cart(): Promise<unknown>;
}

export interface ShopOptions {
  /** Parameters of `session_zone carts:…`. */
  readonly zone?: string;
  /** What follows `session carts`. */
  readonly session?: string;
  readonly server?: string;
  readonly http?: string;
  readonly workers?: number;
  readonly servers?: number;
  /** Of each `server` of the upstream. */
  readonly parameters?: string;
  /** By path under the prefix. */
  readonly files?: Readonly<Record<string, string>>;
  /** In place of the shop's own answers. */
  readonly answer?: (incoming: IncomingMessage, response: ServerResponse, server: number) => void;
}

export async function startShop(
  t: TestContext,
  {
    zone = "4m",
    session = "",
    server = "",
    http = "",
    workers = 2,
    servers = 2,
    parameters = "",
    files = {},
    answer = sell,
  }: ShopOptions = {},
): Promise<Shop> {
  const backends = await Promise.all(Array.from({ length: servers }, (_, number) => openServer(t, number, answer)));
  const config = ([port]: readonly number[]) =>
    `user root; worker_processes ${workers}; http { ${http} session_zone carts:${zone};
      upstream shop { ${backends.map(({ address }) => `server ${address} ${parameters};`).join(" ")} }
      server { listen 127.0.0.1:${port}; ${server}
        location / { session carts ${session}; proxy_pass http://shop; } } }`;
  let holdfast = await startHoldfast(t, { config, files });
  return {
    get holdfast() {
      return holdfast;
    },
    servers: backends,
    shopper: (cookies) => newShopper(() => holdfast.port, cookies),
    async start() {
      holdfast = await startHoldfast(t, { config, prefix: holdfast.prefix });
      return holdfast;
    },
  };
}

async function openServer(
  t: TestContext,
  number: number,
  answer: Required<ShopOptions>["answer"],
): Promise<ShopServer> {
  const open = (port?: number): Promise<Backend> =>
    httpBackend(t, (incoming, response) => answer(incoming, response, number), port);
  let backend = await open();
  const { address, port } = backend;
  return {
    address,
    close: () => backend.close(),
    async open() {
      backend = await open(port);
    },
  };
}

export function newShopper(port: () => number, cookies = new Map<string, string>()): Shopper {
  const send = async (path: string, fields = ""): Promise<RawResponse> => {
    const jar = [...cookies].map(([name, value]) => `${name}=${value}`).join("; ");
    const cookie = jar === "" ? "" : `Cookie: ${jar}\r\n`;
    const response = await request(
      port(),
      `GET ${path} HTTP/1.1\r\nHost: a\r\n${cookie}${fields}Connection: close\r\n\r\n`,
    );
    for (const [field, line] of response.headers) {
      if (field !== "set-cookie") continue;
      const [, name, value, attributes] = /^([^=]+)=([^;]*)(.*)$/.exec(line) ?? [];
      if (/Max-Age=0/i.test(attributes)) cookies.delete(name);
      else cookies.set(name, value);
    }
    return response;
  };
  return { cookies, send, cart: async () => JSON.parse((await send("/")).body) };
}
