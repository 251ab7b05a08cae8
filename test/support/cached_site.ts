import type { IncomingMessage, ServerResponse } from "node:http";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { httpBackend } from "./backend.ts";
import { filesBelow } from "./files_below.ts";
import { type Running, startHoldfast } from "./holdfast.ts";
import { RawConnection, type RawResponse } from "./tcp.ts";

/** A server behind a cache. */
export interface CachedSite {
  readonly holdfast: Running;
  /** The requests that reached the server: `GET /a`. */
  readonly asked: readonly string[];
  /** `HIT body` of a response: $upstream_cache_status before the body. */
  ask(path: string, fields?: string): Promise<string>;
  /**
   * A request of any method. `fields`: whole lines. Over when the connection is closed: a client may have all of a long response
   * before that is in the cache.
   */
  send(method: string, path: string, fields?: string): Promise<RawResponse>;
  /** Starts it anew, in the same directory, once it has been stopped. */
  start(): Promise<Running>;
  /** Paths of the files in the cache's directory, temporary ones too. */
  files(): string[];
}

export interface CachedSiteOptions {
  /** Directives of the location. */
  readonly location?: string;
  /** Further parameters of `proxy_cache_path cache …`. */
  readonly path?: string;
  /** Further lines of the server block. */
  readonly server?: string;
  /** Further lines of the http block. */
  readonly http?: string;
  readonly workers?: number;
  /** Of the zone with the keys. */
  readonly zone?: string;
  /** The prefix of an earlier start, whose cache is there. */
  readonly prefix?: string;
  /** Directives about what is added to responses, in place of X-Cache. */
  readonly adding?: string;
}

/** Starts it. `answer` is the server's, whose `count` counts its requests. */
export async function cachedSite(
  t: TestContext,
  answer: (incoming: IncomingMessage, response: ServerResponse, count: number) => void,
  {
    location = "proxy_cache_valid 200 1m;",
    path = "",
    server = "",
    http = "",
    workers = 2,
    zone = "1m",
    prefix,
    adding = "add_header X-Cache $upstream_cache_status always;",
  }: CachedSiteOptions = {},
): Promise<CachedSite> {
  const asked: string[] = [];
  const { address } = await httpBackend(t, (incoming, response) => {
    asked.push(`${incoming.method} ${incoming.url}`);
    answer(incoming, response, asked.length);
  });
  const config = ([port]: readonly number[]) =>
    `user root; worker_processes ${workers}; http { ${http} proxy_cache_path cache levels=1:2 keys_zone=one:${zone} ${path};
        server { listen 127.0.0.1:${port}; ${adding} ${server}
          location / { proxy_pass http://${address}; proxy_cache one; ${location} } } }`;
  let holdfast = await startHoldfast(t, { config, ...(prefix === undefined ? {} : { prefix }) });
  const send = async (method: string, uri: string, fields = "") => {
    const connection = await RawConnection.open(holdfast.port);
    try {
      connection.write(`${method} ${uri} HTTP/1.1\r\nHost: a\r\n${fields}Connection: close\r\n\r\n`);
      const response = await connection.readResponse({ head: method === "HEAD" });
      await connection.readAll();
      return response;
    } finally {
      connection.close();
    }
  };
  const ask = async (uri: string, fields = "") => {
    const response = await send("GET", uri, fields);
    return `${response.header("x-cache")} ${response.body}`;
  };
  const start = async () => {
    holdfast = await startHoldfast(t, { config, prefix: holdfast.prefix });
    return holdfast;
  };
  const files = () => filesBelow(join(holdfast.prefix, "cache"));
  return { holdfast, asked, ask, send, start, files };
}
