import type { IncomingMessage, ServerResponse } from "node:http";
import type { TestContext } from "node:test";
import { httpBackend } from "./backend.ts";
import { type Running, startHoldfast } from "./holdfast.ts";
import { request } from "./tcp.ts";

/** A server behind a cache. */
export interface CachedSite {
  readonly holdfast: Running;
  /** The requests that reached the server: `GET /a`. */
  readonly asked: readonly string[];
  /** `HIT body` of a response: $upstream_cache_status before the body. */
  ask(path: string, fields?: string): Promise<string>;
}

export interface CachedSiteOptions {
  /** Directives of the location. */
  readonly location?: string;
  /** Further parameters of `proxy_cache_path cache …`. */
  readonly path?: string;
  /** Further lines of the server block. */
  readonly server?: string;
  readonly workers?: number;
}

/** Starts it. `answer` is the server's, whose `count` counts its requests. */
export async function cachedSite(
  t: TestContext,
  answer: (incoming: IncomingMessage, response: ServerResponse, count: number) => void,
  { location = "proxy_cache_valid 200 1m;", path = "", server = "", workers = 2 }: CachedSiteOptions = {},
): Promise<CachedSite> {
  const asked: string[] = [];
  const { address } = await httpBackend(t, (incoming, response) => {
    asked.push(`${incoming.method} ${incoming.url}`);
    answer(incoming, response, asked.length);
  });
  const holdfast = await startHoldfast(t, {
    config: ([port]) =>
      `user root; worker_processes ${workers}; http { proxy_cache_path cache levels=1:2 keys_zone=one:1m ${path};
        server { listen 127.0.0.1:${port}; add_header X-Cache $upstream_cache_status always; ${server}
          location / { proxy_pass http://${address}; proxy_cache one; ${location} } } }`,
  });
  const ask = async (uri: string, fields = "") => {
    const head = `GET ${uri} HTTP/1.1\r\nHost: a\r\n${fields}Connection: close\r\n\r\n`;
    const response = await request(holdfast.port, head);
    return `${response.header("x-cache")} ${response.body}`;
  };
  return { holdfast, asked, ask };
}
