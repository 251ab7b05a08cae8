import * as d from "../../src/config/directives.ts";
import { defineDirectives, fail, type Scope } from "../../src/config/schema.ts";
import type { Directive } from "../../src/config/types.ts";
import { parseNumber } from "../../src/config/values.ts";

const doc = "For tests.";
const everywhere = ["http", "server", "location"] as const;

export const core = defineDirectives("core", {
  daemon: d.flag({ in: ["main"], default: true, doc }),
  master_process: d.flag({ in: ["main"], default: true, doc }),
  worker_processes: d.directive<number | "auto">({
    in: ["main"],
    args: [1, 1],
    syntax: "number|auto",
    doc,
    initial: () => 1,
    read(at) {
      if (at.args[0] === "auto") return "auto";
      return parseNumber(at.args[0]) ?? d.refuse(at, "invalid value");
    },
  }),
  timer_resolution: d.msec({ in: ["main"], doc }),
  working_directory: d.text({ in: ["main"], doc }),
  events: d.block({ in: ["main"], context: "events", doc }),
  http: d.block({ in: ["main"], context: "http", doc }),
});

export const events = defineDirectives("events", {
  worker_connections: d.directive({
    in: ["events"],
    args: [1, 1],
    syntax: "number",
    doc,
    initial: () => 512,
    read: (at) => parseNumber(at.args[0]) ?? fail(at, `invalid number "${at.args[0]}"`),
  }),
  multi_accept: d.flag({ in: ["events"], default: false, doc }),
});

function mapRead(at: Directive): ReadonlyMap<string, string> {
  const map = new Map<string, string>();
  for (const line of at.block ?? []) {
    if (line.args.length !== 1 && line.name !== "hostnames") fail(line, "invalid number of the map parameters");
    map.set(line.name, line.args[0]);
  }
  return map;
}

export const http = defineDirectives("http_core", {
  server: { ...d.block({ in: ["http"], context: "server", repeat: true, doc }), sealable: "half" },
  location: d.directive({
    in: ["server", "location"],
    block: "location",
    sealable: true,
    args: [1, 2],
    syntax: "uri { … }",
    doc,
    repeat: true,
    inherit: false,
    initial: () => undefined,
    read: (at) => at.args.join(" "),
  }),
  if: d.directive({
    in: ["server", "location"],
    block: (parent) => (parent === "server" ? "if in server" : "if in location"),
    args: [1, Number.POSITIVE_INFINITY],
    syntax: "(condition)",
    doc,
    repeat: true,
    inherit: false,
    initial: () => undefined,
    read: (at) => at.args,
  }),
  return: d.directive({
    in: ["server", "location", "if in server", "if in location"],
    args: [1, 2],
    syntax: "code",
    doc,
    repeat: true,
    inherit: false,
    initial: () => undefined,
    read: (at) => at.args,
  }),
  map: d.directive({
    in: ["http"],
    block: "free",
    args: [2, 2],
    syntax: "source $variable",
    doc,
    repeat: true,
    initial: () => undefined,
    read: mapRead,
  }),
  types: d.directive({
    in: everywhere,
    block: "free",
    args: [0, 0],
    syntax: "{ … }",
    doc,
    repeat: true,
    initial: () => undefined,
    read: (at) => at.block,
  }),
  sendfile: d.flag({ in: [...everywhere, "if in location"], default: false, doc }),
  client_max_body_size: d.offset({ in: everywhere, default: 1 << 20, doc }),
  client_body_buffer_size: d.size({ in: everywhere, default: 16384, doc }),
  output_buffers: d.bufs({ in: everywhere, default: { count: 2, size: 32768 }, doc }),
  send_timeout: d.msec({ in: everywhere, default: 60_000, doc }),
  keepalive_requests: d.number({ in: everywhere, default: 1000, doc }),
  satisfy: d.enumeration({ in: everywhere, values: ["all", "any"], default: "all", doc }),
  proxy_next_upstream: d.bitmask({
    in: everywhere,
    values: ["error", "timeout", "invalid_header", "off"],
    default: ["error", "timeout"],
    doc,
  }),
  proxy_pass_header: d.texts({ in: everywhere, doc }),
  proxy_set_header: d.keyValues({ in: everywhere, doc }),
  proxy_force_ranges: d.flag({ in: everywhere, default: false, doc }),
});

export const upstream = defineDirectives("http_upstream", {
  upstream: d.directive({
    in: ["http"],
    block: "upstream",
    args: [1, 1],
    syntax: "name { … }",
    doc,
    repeat: true,
    initial: () => undefined,
    read: (at) => at.args[0],
    close(block: Scope) {
      if (!block.order.some(({ directive }) => directive.name === "server")) {
        d.failAtEnd(block, "no servers are inside upstream");
      }
    },
  }),
  server: d.list({
    in: ["upstream"],
    args: [1, Number.POSITIVE_INFINITY],
    syntax: "address [parameters]",
    doc,
    item: (at) => at.args[0],
  }),
});

export const tables = [core, events, http, upstream];
