/** The servers that are compared, each set up with the same features: no access log, 64 kept backend connections. */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { delimiter, dirname, join } from "node:path";
import type { Certificate } from "./certificates.ts";
import { grpcConf, grpcPath } from "./grpc.ts";
import { largeLocations, largeServers } from "./large.ts";
import type { Command } from "./process.ts";
import { type Ability, smallBody } from "./scenarios.ts";

export interface Site {
  /** A folder for this server's configuration, pid file and logs. */
  dir: string;
  /** Document root of the static scenarios. */
  files: string;
  port: number;
  /** The port speaks TLS, with this certificate. */
  certificate: Certificate | undefined;
  http2: boolean;
  backendPort: number;
  /** 5,000 locations, and 1,000 servers beside this one. */
  large: boolean;
  /** A cache, with its files beside the configuration. */
  cache: boolean;
  /** Undefined where no scenario needs the FastCGI application. */
  fastcgiPort: number | undefined;
  /** Undefined where no scenario needs the server of gRPC. */
  grpcPort: number | undefined;
  /** Open files allowed. */
  descriptors: number;
}

export interface Server {
  /** As `--servers` takes it. */
  name: string;
  abilities: readonly Ability[];
  /** Why it cannot be measured here, or undefined. */
  missing(): string | undefined;
  version(): string;
  /** Writes the configuration and says how to start the server in the foreground. */
  prepare(site: Site): Command;
}

const here = import.meta.dirname;
const root = dirname(here);

/** What a program prints when asked for its version, on either output; undefined when there is no such program. */
function ask(program: string, args: string[], env?: NodeJS.ProcessEnv): string | undefined {
  const result = spawnSync(program, args, { encoding: "latin1", timeout: 10_000, env: env ?? process.env });
  return result.error === undefined && result.status === 0 ? result.stdout + result.stderr : undefined;
}

function versionIn(text: string | undefined): string {
  return /\d+\.\d+(\.\d+)?/.exec(text ?? "")?.[0] ?? "unknown";
}

/** The FastCGI application with the parameters of nginx's fastcgi.conf: an upstream, and a location. */
export function fastcgiConf(port: number): { upstream: string; location: string } {
  const params = {
    SCRIPT_FILENAME: "$document_root$fastcgi_script_name",
    QUERY_STRING: "$query_string",
    REQUEST_METHOD: "$request_method",
    CONTENT_TYPE: "$content_type",
    CONTENT_LENGTH: "$content_length",
    SCRIPT_NAME: "$fastcgi_script_name",
    REQUEST_URI: "$request_uri",
    DOCUMENT_URI: "$document_uri",
    DOCUMENT_ROOT: "$document_root",
    SERVER_PROTOCOL: "$server_protocol",
    REQUEST_SCHEME: "$scheme",
    HTTPS: "$https if_not_empty",
    GATEWAY_INTERFACE: "CGI/1.1",
    SERVER_SOFTWARE: "nginx/$nginx_version",
    REMOTE_ADDR: "$remote_addr",
    REMOTE_PORT: "$remote_port",
    SERVER_ADDR: "$server_addr",
    SERVER_PORT: "$server_port",
    SERVER_NAME: "$server_name",
    REDIRECT_STATUS: "200",
  };
  return {
    upstream: `
    upstream application {
        server 127.0.0.1:${port};
        keepalive 64;
        keepalive_requests 100000000;
    }`,
    location: `
        location = /fastcgi {
            fastcgi_pass application;
            fastcgi_keep_conn on;
            ${Object.entries(params)
              .map(([name, value]) => `fastcgi_param ${name} ${value};`)
              .join("\n            ")}
        }`,
  };
}

/** A cache, and locations in front of the same backend: the one has few keys, in the other each request has a key of its own. */
function cacheConf({ dir }: Site): { path: string; locations: string } {
  const pass = `
            proxy_pass http://backend;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_cache pages;
            proxy_cache_valid 200 1h;`;
  return {
    path: `
    proxy_cache_path "${dir}/cache" levels=1:2 keys_zone=pages:64m max_size=256m inactive=1h use_temp_path=off;`,
    locations: `
        location /cached/ {${pass}
        }
        location /kept/ {${pass}
            proxy_cache_key "$uri $connection:$connection_requests";
        }`,
  };
}

/** The text nginx and Holdfast share to the letter. Requests per connection are unbounded, as they are elsewhere. */
function nginxConf(site: Site, onlyNginx: string, events = ""): string {
  const { certificate, fastcgiPort, grpcPort } = site;
  const fastcgi = fastcgiPort === undefined ? { upstream: "", location: "" } : fastcgiConf(fastcgiPort);
  const grpc = grpcPort === undefined ? { upstream: "", location: "" } : grpcConf(grpcPort);
  const cache = site.cache ? cacheConf(site) : { path: "", locations: "" };
  const tls =
    certificate === undefined
      ? ""
      : `
        ssl_certificate "${certificate.certificate}";
        ssl_certificate_key "${certificate.key}";`;
  const address = `127.0.0.1:${site.port}`;
  const answer = `return 200 "${smallBody.replace("\n", "\\n")}";`;
  const large = site.large
    ? { locations: largeLocations(answer), servers: largeServers(address, answer) }
    : { locations: "", servers: "" };
  return `
daemon off;
worker_processes 1;
worker_rlimit_nofile ${site.descriptors};
pid "${site.dir}/server.pid";
error_log "${site.dir}/error.log" error;
events {
    worker_connections ${site.descriptors};
    ${events}
}
http {
    access_log off;
    sendfile on;
    default_type application/octet-stream;
    keepalive_timeout 300s;
    keepalive_requests 100000000;
    proxy_max_temp_file_size 0;
${onlyNginx}${cache.path}
    upstream backend {
        server 127.0.0.1:${site.backendPort};
        keepalive 64;
        keepalive_requests 100000000;
    }${fastcgi.upstream}${grpc.upstream}
    server {
        listen ${address} backlog=1024${certificate === undefined ? "" : " ssl"}${site.http2 ? " http2" : ""};${tls}
        server_name 127.0.0.1;
        location / {
            proxy_pass http://backend;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
        }${fastcgi.location}${grpc.location}${cache.locations}
        location /static/ {
            root "${site.files}";
        }
        location /gzip/ {
            root "${site.files}";
            default_type text/html;
            gzip on;
        }
        location /gzip-static/ {
            root "${site.files}";
            default_type text/html;
            gzip_static on;
        }
        location = /answer {
            ${answer}
        }
${large.locations}    }
${large.servers}}
`;
}

/** nginx makes its temporary folders at start, where its build says; these are in reach of any user. */
const nginxTempPaths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
  .map((name) => `    ${name}_temp_path temp/${name};\n`)
  .join("");

/** TLS 1.3, which nginx has had by default since 1.23.4 only. */
const nginxProtocols = "    ssl_protocols TLSv1.2 TLSv1.3;\n";

function haproxyBind({ certificate, http2 }: Site): string {
  if (certificate !== undefined) return ` ssl crt ${certificate.both}${http2 ? " alpn h2" : ""}`;
  return http2 ? " proto h2" : "";
}

function haproxyConf(site: Site): string {
  const calls =
    site.grpcPort === undefined
      ? { use: "", backend: "" }
      : {
          use: `    use_backend calls if { path ${grpcPath} }\n`,
          backend: `backend calls\n    server one 127.0.0.1:${site.grpcPort} proto h2 pool-max-conn 320\n`,
        };
  return `
global
    nbthread 1
    maxconn ${Math.max(10_200, Math.floor(site.descriptors / 2) - 100)}
    no strict-limits
defaults
    mode http
    http-reuse always
    timeout connect 5s
    timeout client 300s
    timeout server 60s
    timeout http-keep-alive 300s
frontend front
    bind 127.0.0.1:${site.port} backlog 1024${haproxyBind(site)}
    http-request return status 200 content-type text/plain string "${smallBody.replace("\n", "\\n")}" if { path /answer }
${calls.use}    default_backend back
backend back
    server one 127.0.0.1:${site.backendPort} pool-max-conn 64
${calls.backend}`;
}

/** A proxy made of an npm package: a program in bench/peers, packages in bench/node_modules. */
function npmPeer(name: string, program: string): Server {
  const manifest = join(here, "node_modules", name, "package.json");
  return {
    name,
    abilities: ["proxy"],
    missing: () => (existsSync(manifest) ? undefined : "its packages are not installed in bench/"),
    version: () => versionIn(/"version":\s*"[^"]+"/.exec(readFileSync(manifest, "utf8"))?.[0]),
    prepare: (site) => ({
      program: process.execPath,
      args: [join(here, "peers", program)],
      env: { PORT: `${site.port}`, BACKEND_PORT: `${site.backendPort}`, NODE_ENV: "production" },
    }),
  };
}

/** The launcher looks for a fitting Node: this one is, and comes first in its path. */
const holdfastPath = { PATH: [dirname(process.execPath), process.env.PATH ?? ""].join(delimiter) };

/** Holdfast, with its engine (io_uring where the kernel has it) or over node:net. */
function holdfast(name: string, use: string, checkout = root): Server {
  const holdfastBin = join(checkout, "bin", "holdfast");
  return {
    name,
    abilities: ["proxy", "fastcgi", "grpc", "cache", "static", "return", "large", "tls", "http2"],
    missing: () => (existsSync(holdfastBin) ? undefined : "bin/holdfast is not there yet"),
    version: () => versionIn(ask(holdfastBin, ["-v"], { ...process.env, ...holdfastPath })),
    prepare(site) {
      const file = join(site.dir, "holdfast.conf");
      writeFileSync(file, nginxConf(site, "", use));
      return { program: holdfastBin, args: ["-c", file, "-p", site.dir], env: holdfastPath };
    },
  };
}

function nginx(name: string, abilities: readonly Ability[], more: string): Server {
  return {
    name,
    abilities,
    missing: () => (ask("nginx", ["-v"]) === undefined ? "not installed" : undefined),
    version: () => versionIn(ask("nginx", ["-v"])),
    prepare(site) {
      mkdirSync(join(site.dir, "temp"), { recursive: true });
      const file = join(site.dir, "nginx.conf");
      writeFileSync(file, nginxConf(site, nginxTempPaths + nginxProtocols + more));
      return { program: "nginx", args: ["-e", join(site.dir, "error.log"), "-p", site.dir, "-c", file] };
    },
  };
}

export const servers: readonly Server[] = [
  nginx("nginx", ["proxy", "fastcgi", "grpc", "cache", "static", "return", "large", "tls", "http2"], ""),
  nginx("nginx-open-files", ["cache"], "    open_file_cache max=10000 inactive=60s;\n"),
  {
    name: "haproxy",
    abilities: ["proxy", "grpc", "return", "tls", "http2"],
    missing: () => (ask("haproxy", ["-v"]) === undefined ? "not installed" : undefined),
    version: () => versionIn(ask("haproxy", ["-v"])),
    prepare(site) {
      const file = join(site.dir, "haproxy.cfg");
      writeFileSync(file, haproxyConf(site));
      return { program: "haproxy", args: ["-db", "-f", file] };
    },
  },
  npmPeer("http-proxy", "http-proxy.mjs"),
  npmPeer("@fastify/http-proxy", "fastify.mjs"),
  holdfast("holdfast", ""),
  holdfast("holdfast-node", "use node;"),
];

/** The Holdfast of another checkout, to compare a change with what was before. */
export const beside = (checkout: string): Server => holdfast("beside", "", checkout);
