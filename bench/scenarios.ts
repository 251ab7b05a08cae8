/** What is measured. The table is in the order of the report. */
import { createHash } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { gzipSync } from "node:zlib";
import type { CertificateKind } from "./certificates.ts";
import { grpcMessage, grpcPath } from "./grpc.ts";
import { largePath } from "./large.ts";

export type Ability = "proxy" | "fastcgi" | "grpc" | "cache" | "static" | "return" | "large" | "tls" | "http2";

interface Common {
  /** As `--only` takes it. */
  name: string;
  title: string;
}

/** Closed-loop load on one address; the figure is CPU time over requests, or over GiB where a response is long. */
export interface LoadScenario extends Common {
  kind: "load";
  needs: Ability;
  /** Over TLS 1.3, with such a certificate. */
  tls?: CertificateKind;
  /** Over HTTP/2, with so many requests under way on each connection. */
  streams?: number;
  /** Connections are made and closed, without a request. */
  handshakes?: "full" | "resumed";
  path: string;
  /** Length of the response's body, bytes. */
  bytes: number;
  connections: number;
  /** Lines of the request's head behind Host. */
  fields: readonly string[];
  /** A call of gRPC, over HTTP/2: a POST with this message. */
  message?: Buffer;
  unit: "µs/request" | "ms/GiB" | "µs/handshake";
}

/** Connections that made one request and then stay open; the figure is the growth of memory over them. */
export interface IdleScenario extends Common {
  kind: "idle";
  needs: Ability;
  tls?: CertificateKind;
  /** Over HTTP/2. */
  streams?: 1;
  /** Of TLS, in OpenSSL's syntax: the groups that clients offer, X25519 by default. */
  groups?: string;
  path: string;
  bytes: number;
  connections: number;
  unit: "KiB/connection";
}

/** From the start of the program to its first answer; the figure is wall time. */
export interface StartScenario extends Common {
  kind: "start";
  needs: Ability;
  tls?: CertificateKind;
  streams?: undefined;
  path: string;
  bytes: number;
  connections: 1;
  unit: "ms";
}

/** Active health checks of many servers: Holdfast alone has them; measured by `bench/checks.ts`. */
export interface ChecksScenario extends Common {
  kind: "checks";
}

export type Scenario = LoadScenario | IdleScenario | StartScenario | ChecksScenario;

const KiB = 1024;
const MiB = 1024 * KiB;
const smallBytes = 128;

/** What a browser sends of its own accord to a site it has been to before; with Host 12 fields, a head of some 700 bytes. */
const browser: readonly string[] = [
  "User-Agent: Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0",
  "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
  "Accept-Language: en-GB,en;q=0.7,de;q=0.3",
  "Accept-Encoding: gzip, deflate, br, zstd",
  "Referer: https://www.example.com/catalogue/spring",
  "Connection: keep-alive",
  "Cookie: session=8f1c2e7ab04d4c6f9e35d17a60b2c849; theme=dark; consent=analytics.0-marketing.0; _ga=GA1.1.1830274655.1764112000; _ga_4TQ81XKB2M=GS2.1.s1764112000$o3$g1$t1764112231$j42$l0$h0; cart=b61f0d2e",
  "Upgrade-Insecure-Requests: 1",
  "Sec-Fetch-Dest: document",
  "Sec-Fetch-Mode: navigate",
  "Sec-Fetch-Site: same-origin",
];

export const scenarios: readonly Scenario[] = [
  {
    kind: "load",
    name: "proxy-small",
    title: "Proxied, 128 bytes, keep-alive on both sides",
    needs: "proxy",
    path: "/small",
    bytes: smallBytes,
    connections: 64,
    fields: [],
    unit: "µs/request",
  },
  {
    kind: "load",
    name: "proxy-small-browser",
    title: "Proxied, a browser's head, 128 bytes, keep-alive on both sides",
    needs: "proxy",
    path: "/small",
    bytes: smallBytes,
    connections: 64,
    fields: browser,
    unit: "µs/request",
  },
  {
    kind: "load",
    name: "proxy-100k",
    title: "Proxied, 100 KiB",
    needs: "proxy",
    path: "/100k.bin",
    bytes: 100 * KiB,
    connections: 64,
    fields: [],
    unit: "µs/request",
  },
  {
    kind: "load",
    name: "proxy-100k-browser",
    title: "Proxied, a browser's head, 100 KiB",
    needs: "proxy",
    path: "/100k.bin",
    bytes: 100 * KiB,
    connections: 64,
    fields: browser,
    unit: "µs/request",
  },
  {
    kind: "load",
    name: "proxy-100m",
    title: "Proxied, 100 MiB",
    needs: "proxy",
    path: "/100m.bin",
    bytes: 100 * MiB,
    connections: 4,
    fields: [],
    unit: "ms/GiB",
  },
  {
    kind: "load",
    name: "fastcgi-small",
    title: "FastCGI, 128 bytes, keep-alive on both sides",
    needs: "fastcgi",
    path: "/fastcgi",
    bytes: smallBytes,
    connections: 64,
    fields: [],
    unit: "µs/request",
  },
  {
    kind: "load",
    name: "fastcgi-small-browser",
    title: "FastCGI, a browser's head, 128 bytes, keep-alive on both sides",
    needs: "fastcgi",
    path: "/fastcgi",
    bytes: smallBytes,
    connections: 64,
    fields: browser,
    unit: "µs/request",
  },
  cached("cache-hit", "From the cache, a page of 1 KiB", "/cached/1k.html", KiB, []),
  cached("cache-hit-browser", "From the cache, a browser's head, a page of 1 KiB", "/cached/1k.html", KiB, browser),
  cached("cache-hit-100k", "From the cache, 100 KiB", "/cached/100k.bin", 100 * KiB, []),
  cached("cache-hit-1m", "From the cache, 1 MiB", "/cached/1m.bin", MiB, []),
  cached("cache-miss", "Proxied and put into the cache, a page of 1 KiB", "/kept/1k.html", KiB, []),
  {
    kind: "load",
    name: "static-1k",
    title: "Static file, 1 KiB",
    needs: "static",
    path: "/static/1k.bin",
    bytes: KiB,
    connections: 64,
    fields: [],
    unit: "µs/request",
  },
  {
    kind: "load",
    name: "static-10m",
    title: "Static file, 10 MiB",
    needs: "static",
    path: "/static/10m.bin",
    bytes: 10 * MiB,
    connections: 8,
    fields: [],
    unit: "ms/GiB",
  },
  {
    kind: "load",
    name: "gzip-10k",
    title: "Static page, 10 KiB, compressed by gzip",
    needs: "static",
    path: "/gzip/10k.html",
    bytes: 10 * KiB,
    connections: 64,
    fields: ["Accept-Encoding: gzip"],
    unit: "µs/request",
  },
  {
    kind: "load",
    name: "gzip-static-1k",
    title: "Static page, 1 KiB, compressed before (gzip_static)",
    needs: "static",
    path: "/gzip-static/1k.html",
    bytes: KiB,
    connections: 64,
    fields: ["Accept-Encoding: gzip"],
    unit: "µs/request",
  },
  {
    kind: "load",
    name: "return",
    title: "Answered by itself, 128 bytes",
    needs: "return",
    path: "/answer",
    bytes: smallBytes,
    connections: 64,
    fields: [],
    unit: "µs/request",
  },
  {
    kind: "load",
    name: "return-close",
    title: "Answered by itself, 128 bytes, a connection for each request",
    needs: "return",
    path: "/answer",
    bytes: smallBytes,
    connections: 64,
    fields: ["Connection: close"],
    unit: "µs/request",
  },
  {
    kind: "load",
    name: "return-large",
    title: "Answered by itself, 128 bytes, with 5,000 locations and 1,000 servers",
    needs: "large",
    path: largePath,
    bytes: smallBytes,
    connections: 64,
    fields: [],
    unit: "µs/request",
  },
  {
    kind: "start",
    name: "start-large",
    title: "From the start to the first answer, with 5,000 locations and 1,000 servers",
    needs: "large",
    path: largePath,
    bytes: smallBytes,
    connections: 1,
    unit: "ms",
  },
  {
    kind: "load",
    name: "tls-small",
    title: "Proxied over TLS 1.3, 128 bytes, keep-alive on both sides",
    needs: "proxy",
    tls: "ecdsa",
    path: "/small",
    bytes: smallBytes,
    connections: 64,
    fields: [],
    unit: "µs/request",
  },
  {
    kind: "load",
    name: "tls-small-browser",
    title: "Proxied over TLS 1.3, a browser's head, 128 bytes, keep-alive on both sides",
    needs: "proxy",
    tls: "ecdsa",
    path: "/small",
    bytes: smallBytes,
    connections: 64,
    fields: browser,
    unit: "µs/request",
  },
  {
    kind: "load",
    name: "tls-return",
    title: "Answered by itself over TLS 1.3, 128 bytes",
    needs: "return",
    tls: "ecdsa",
    path: "/answer",
    bytes: smallBytes,
    connections: 64,
    fields: [],
    unit: "µs/request",
  },
  {
    kind: "load",
    name: "tls-100m",
    title: "Proxied over TLS 1.3, 100 MiB",
    needs: "proxy",
    tls: "ecdsa",
    path: "/100m.bin",
    bytes: 100 * MiB,
    connections: 4,
    fields: [],
    unit: "ms/GiB",
  },
  handshakes("tls-full-rsa", "Full TLS 1.3 handshakes, RSA 2048", "rsa", "full"),
  handshakes("tls-full-ecdsa", "Full TLS 1.3 handshakes, ECDSA P-256", "ecdsa", "full"),
  handshakes("tls-resumed", "Resumed TLS 1.3 handshakes", "ecdsa", "resumed"),
  ...overHttp2("h2", " over TLS 1.3", "ecdsa"),
  ...overHttp2("h2c", " in clear", undefined),
  {
    kind: "load",
    name: "grpc-unary",
    title: "gRPC in clear, a call with 128 bytes each way, 32 streams",
    needs: "grpc",
    streams: 32,
    path: grpcPath,
    bytes: grpcMessage.length,
    connections: 10,
    fields: ["content-type: application/grpc", "te: trailers"],
    message: grpcMessage,
    unit: "µs/request",
  },
  {
    kind: "idle",
    name: "idle",
    title: "10,000 idle keep-alive connections",
    needs: "proxy",
    path: "/small",
    bytes: smallBytes,
    connections: 10_000,
    unit: "KiB/connection",
  },
  {
    kind: "idle",
    name: "tls-idle",
    title: "4,000 idle TLS 1.3 connections",
    needs: "proxy",
    tls: "ecdsa",
    path: "/small",
    bytes: smallBytes,
    connections: 4000,
    unit: "KiB/connection",
  },
  {
    kind: "idle",
    name: "h2c-idle",
    title: "10,000 idle HTTP/2 connections in clear",
    needs: "proxy",
    streams: 1,
    path: "/small",
    bytes: smallBytes,
    connections: 10_000,
    unit: "KiB/connection",
  },
  {
    kind: "idle",
    name: "h2-idle",
    title: "10,000 idle HTTP/2 connections over TLS 1.3",
    needs: "proxy",
    tls: "ecdsa",
    streams: 1,
    path: "/small",
    bytes: smallBytes,
    connections: 10_000,
    unit: "KiB/connection",
  },
  {
    kind: "idle",
    name: "h2-idle-mlkem",
    title: "10,000 idle HTTP/2 connections over TLS 1.3, of clients that prefer X25519MLKEM768, as browsers do",
    needs: "proxy",
    tls: "ecdsa",
    streams: 1,
    groups: "X25519MLKEM768:X25519",
    path: "/small",
    bytes: smallBytes,
    connections: 10_000,
    unit: "KiB/connection",
  },
  { kind: "checks", name: "checks", title: "10,000 servers checked every second" },
];

function cached(name: string, title: string, path: string, bytes: number, fields: readonly string[]): LoadScenario {
  return { kind: "load", name, title, needs: "cache", path, bytes, connections: 64, fields, unit: "µs/request" };
}

/** HTTP/2 to the client: 10 connections with 32 streams each, or 4 with one where an answer is long. */
function overHttp2(prefix: string, how: string, tls: CertificateKind | undefined): LoadScenario[] {
  const common = { kind: "load", tls, connections: 10, streams: 32, fields: [], unit: "µs/request" } as const;
  // What HTTP/2 has no place for is about the connection.
  const fields = browser.filter((field) => !field.startsWith("Connection:"));
  const small = { ...common, needs: "proxy", path: "/small", bytes: smallBytes } as const;
  return [
    {
      ...common,
      name: `${prefix}-return`,
      title: `HTTP/2${how}, answered by itself, 128 bytes, 32 streams`,
      needs: "return",
      path: "/answer",
      bytes: smallBytes,
    },
    { ...small, name: `${prefix}-small`, title: `HTTP/2${how}, proxied, 128 bytes, 32 streams` },
    {
      ...small,
      name: `${prefix}-small-browser`,
      title: `HTTP/2${how}, proxied, a browser's head, 128 bytes, 32 streams`,
      fields,
    },
    {
      ...common,
      name: `${prefix}-300k`,
      title: `HTTP/2${how}, proxied, 300 KiB, 32 streams`,
      needs: "proxy",
      path: "/300k.bin",
      bytes: 300 * KiB,
    },
    {
      ...common,
      name: `${prefix}-100m`,
      title: `HTTP/2${how}, proxied, 100 MiB`,
      needs: "proxy",
      path: "/100m.bin",
      bytes: 100 * MiB,
      connections: 4,
      streams: 1,
      unit: "ms/GiB",
    },
  ];
}

function handshakes(name: string, title: string, tls: CertificateKind, kind: "full" | "resumed"): LoadScenario {
  return {
    kind: "load",
    name,
    title,
    needs: "return",
    tls,
    handshakes: kind,
    path: "/answer",
    bytes: smallBytes,
    connections: 16,
    fields: [],
    unit: "µs/handshake",
  };
}

/** The body of /small, which every backend answers from memory, and of /answer, which the servers answer by themselves. */
export const smallBody = "Holdfast holds fast. "
  .repeat(7)
  .slice(0, smallBytes - 1)
  .concat("\n");

/** A page that compresses as pages do, to about a fifth: tags that come again, and words in ever another order. */
function page(length: number): string {
  const words = "harbour rope anchor mast storm quiet keel tide rudder current lantern ledger captain cargo".split(" ");
  const parts: string[] = ["<!DOCTYPE html><html><head><title>Catalogue</title></head><body>\n"];
  let size = parts[0].length;
  for (let i = 0; size < length; i++) {
    const hash = createHash("sha256").update(`${i}`).digest();
    const text = Array.from(hash.subarray(0, 12), (byte) => words[byte % words.length]).join(" ");
    const part = `<li class="entry" id="item-${hash.readUInt16LE(12)}"><a href="/catalogue/${hash.readUInt32LE(14)}">${text}</a></li>\n`;
    parts.push(part);
    size += part.length;
  }
  return parts.join("").slice(0, length);
}

/** Writes the files the chosen scenarios ask for below `root`, with bytes that no file system stores as holes. */
export function writeFiles(root: string, chosen: readonly Scenario[]): void {
  const piece = Buffer.alloc(MiB);
  for (let at = 0; at < piece.length; at += 32) createHash("sha256").update(`${at}`).digest().copy(piece, at);
  for (const scenario of chosen) {
    if (scenario.kind === "checks" || !/\.(bin|html)$/.test(scenario.path)) continue;
    const file = join(root, scenario.path);
    mkdirSync(dirname(file), { recursive: true });
    if (file.endsWith(".html")) {
      const text = page(scenario.bytes);
      writeFileSync(file, text);
      writeFileSync(`${file}.gz`, gzipSync(text, { level: 9 }));
      continue;
    }
    writeFileSync(file, "");
    for (let left = scenario.bytes; left > 0; left -= piece.length) {
      writeFileSync(file, piece.subarray(0, Math.min(left, piece.length)), { flag: "a" });
    }
  }
}
