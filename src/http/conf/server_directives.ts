import { bufs, directive, flag, msec, number, size } from "../../config/directives.ts";
import { defineDirectives, type SettingsOf } from "../../config/schema.ts";
import type { Directive } from "../../config/types.ts";
import { type Template, template } from "../core/script.ts";
import { HTTP, HTTP_SERVER } from "./contexts.ts";
import { poolSize } from "./core_readers.ts";

/** A directive that tunes nginx's memory layout and has no effect here. */
function layout(syntaxDefault: string, what: string) {
  return number({ in: HTTP, doc: `Accepted for compatibility: ${what}`, defaultText: syntaxDefault });
}

/** Settings of the server level that are in force before a location is known. */
export const serverDirectives = defineDirectives("http_core_server", {
  variables_hash_max_size: layout("1024", "variables are resolved when the configuration is read, in no hash."),
  variables_hash_bucket_size: layout("64", "variables are resolved when the configuration is read, in no hash."),
  server_names_hash_max_size: layout("512", "the hash of server names grows by itself."),
  server_names_hash_bucket_size: layout("32|64|128", "the hash of server names grows by itself."),
  connection_pool_size: poolSize("512"),
  request_pool_size: poolSize("4k"),
  client_header_timeout: msec({
    in: HTTP_SERVER,
    default: 60_000,
    doc: "How long a client may take to send a request's head; then it gets 408 and the connection is closed.",
  }),
  client_header_buffer_size: size({
    in: HTTP_SERVER,
    default: 1024,
    doc: "The size of the first buffer for a request's head; a longer head takes large_client_header_buffers.",
  }),
  large_client_header_buffers: bufs({
    in: HTTP_SERVER,
    default: { count: 4, size: 8192 },
    doc: "How many buffers of what size a long request head may take. A request line longer than one buffer gets 414, a field longer than one, or more than all buffers hold, gets 400.",
  }),
  max_headers: number({
    in: HTTP_SERVER,
    default: 1000,
    doc: "How many fields a request's head may have; more get 400.",
  }),
  ignore_invalid_headers: flag({
    in: HTTP_SERVER,
    default: true,
    doc: "Drops request fields whose names have other characters than letters, digits and hyphens (and underscores, with underscores_in_headers); off passes them on.",
  }),
  client_body_early_read: directive<readonly Template[] | undefined>({
    in: HTTP_SERVER,
    args: [1, Number.POSITIVE_INFINITY],
    syntax: "string ...",
    doc: "Reads a request's body before its first phase when one of the strings is neither empty nor `0`, so that variables of the body can be used in `map` and in rewriting.",
    initial: () => undefined,
    read: (at, scope) => at.args.map((arg) => template(scope, at, arg)),
  }),
  merge_slashes: flag({ in: HTTP_SERVER, default: true, doc: "Takes several slashes in a row in a URI as one." }),
  underscores_in_headers: flag({
    in: HTTP_SERVER,
    default: false,
    doc: "Allows underscores in the names of request fields; otherwise such fields are invalid and ignore_invalid_headers decides.",
  }),
  server_name: directive<readonly Directive[]>({
    in: ["server"],
    args: [1, Number.POSITIVE_INFINITY],
    syntax: "name ...",
    doc: "The names of the server: exact, with a wildcard at the beginning or end (`*.example.com`, `www.example.*`, `.example.com`), or a regular expression after `~` whose named captures become variables.",
    initial: () => [],
    defaultText: '""',
    repeat: true,
    inherit: false,
    read: (at, _scope, previous) => [...(previous ?? []), at],
  }),
  listen: directive<readonly Directive[]>({
    in: ["server"],
    args: [1, Number.POSITIVE_INFINITY],
    syntax:
      "address[:port] | port | unix:path [default_server] [ssl] [backlog=number] [reuseport] [deferred] [ipv6only=on|off] [so_keepalive=on|off|[keepidle]:[keepintvl]:[keepcnt]] [proxy_protocol] ...",
    doc: "An address to accept connections on, with its socket's parameters. With `ssl`, for any server of the address, connections are encrypted.",
    initial: () => [],
    defaultText: "*:80 | *:8000",
    repeat: true,
    inherit: false,
    read: (at, _scope, previous) => [...(previous ?? []), at],
  }),
});

export type ServerSettings = SettingsOf<typeof serverDirectives.specs>;
