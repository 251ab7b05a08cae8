import { directive, flag, number, size } from "../../config/directives.ts";
import { warn } from "../../config/errors.ts";
import { type DirectiveSpec, defineDirectives, fail, type SettingsOf } from "../../config/schema.ts";
import type { Context } from "../../config/types.ts";
import { MAX_WINDOW } from "../../wire/h2/frames.ts";
import type { Http2Settings } from "../core/location.ts";
import { HTTP, HTTP_LOCATION, HTTP_SERVER } from "./contexts.ts";
import { poolSize } from "./core_readers.ts";

/** A directive that nginx had: warned of, and without effect. `instead`: the one that has taken its place. */
function obsolete(instead?: string, contexts: readonly Context[] = HTTP_SERVER): DirectiveSpec<undefined> {
  return directive<undefined>({
    in: contexts,
    args: [1, 1],
    syntax: "value",
    doc:
      instead === undefined
        ? "Obsolete, as in nginx: ignored."
        : `Obsolete, as in nginx: \`${instead}\` has taken its place.`,
    initial: () => undefined,
    repeat: true,
    read(at, scope) {
      warn(
        at,
        scope,
        `the "${at.name}" directive is obsolete, ${instead === undefined ? "ignored" : `use the "${instead}" directive instead`}`,
      );
      return undefined;
    },
  });
}

/** ngx_http_v2_module */
export const http2Directives = defineDirectives("http_v2", {
  http2: flag({
    in: HTTP_SERVER,
    default: false,
    doc: "Lets clients speak HTTP/2: over TLS where they offer it (ALPN), else where they begin with it (prior knowledge), on the same port as HTTP/1.",
  }),
  http2_max_concurrent_streams: number({
    in: HTTP_SERVER,
    default: 128,
    doc: "How many requests a client may have under way on an HTTP/2 connection; more are refused, to be sent again.",
  }),
  http2_body_preread_size: size({
    in: HTTP_SERVER,
    default: 64 * 1024,
    doc: "How much of each request's body is taken before anything reads it.",
    check(value, at) {
      if (value > MAX_WINDOW) fail(at, `the maximum body preread buffer size is ${MAX_WINDOW}`);
    },
  }),
  http2_connect_protocol: flag({
    in: HTTP_SERVER,
    default: false,
    doc: "Holdfast's own: lets clients open WebSockets on their HTTP/2 connections (extended CONNECT, RFC 8441). To a location such a request is that of HTTP/1.1, a GET with `Upgrade: websocket`, so what passes an upgrade to a server passes these too. In force is what the address's default server, or over TLS the server that SNI names, says.",
  }),
  http2_recv_buffer_size: size({
    in: HTTP,
    default: 256 * 1024,
    doc: "Accepted for compatibility: frames are read where the kernel puts them.",
    check(value, at) {
      if (value <= 16) fail(at, `"${at.name}" directive value is too small`);
    },
  }),
  http2_pool_size: poolSize("4k"),
  http2_streams_index_size: number({
    in: HTTP_SERVER,
    doc: "Accepted for compatibility: a connection's streams need no table of a given size.",
    check(value, at) {
      if (value === 0 || (value & (value - 1)) !== 0) fail(at, `"${at.name}" directive must be a power of two`);
    },
    defaultText: "32",
  }),
  http2_max_concurrent_pushes: obsolete(),
  http2_push: obsolete(undefined, HTTP_LOCATION),
  http2_push_preload: obsolete(undefined, HTTP_LOCATION),
  http2_max_requests: obsolete("keepalive_requests"),
  http2_max_field_size: obsolete("large_client_header_buffers"),
  http2_max_header_size: obsolete("large_client_header_buffers"),
  http2_recv_timeout: obsolete("client_header_timeout"),
  http2_idle_timeout: obsolete("keepalive_timeout"),
});

type Settings = SettingsOf<typeof http2Directives.specs>;

/** `listens`: a `listen` of the server has the parameter `http2`. */
export function http2Settings(settings: Settings, listens: boolean): Http2Settings {
  return {
    enabled: settings.http2 || listens,
    maxConcurrentStreams: settings.http2_max_concurrent_streams,
    bodyPrereadSize: settings.http2_body_preread_size,
    connectProtocol: settings.http2_connect_protocol,
  };
}
