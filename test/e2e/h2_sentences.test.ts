/** Wrong values of the directives of HTTP/2 and gRPC, on both sides, warned of and refused in nginx's words. */
import { noOpenssl, selfSigned } from "../support/certificates.ts";
import { describeFollowedSentences, type SentenceCase } from "../support/sentences.ts";

const server = (text: string) => `server { listen 127.0.0.1:1; ${text} }`;
const location = (text: string) => `server { location / { ${text} } }`;

/** A directive's values, each a case. */
const values = (where: (text: string) => string, name: string, ...texts: string[]): SentenceCase[] =>
  texts.map((text) => [`${name} ${text}`, where(`${name}${text === "" ? "" : ` ${text}`};`)]);
/** A directive twice, in a place that is not its, and with one argument more than it takes. */
const rules = (where: (text: string) => string, name: string, value: string): SentenceCase[] => [
  [`${name} twice`, where(`${name} ${value}; ${name} ${value};`)],
  [`${name} without a value`, where(`${name};`)],
  [`${name} with more`, where(`${name} ${value} x y z;`)],
  [`${name} in an upstream`, `upstream u { server 127.0.0.1:1; ${name} ${value}; }`],
];

const OBSOLETE = [
  "http2_max_requests",
  "http2_max_field_size",
  "http2_max_header_size",
  "http2_recv_timeout",
  "http2_idle_timeout",
];
const GONE = ["http2_max_concurrent_pushes", "http2_push", "http2_push_preload"];

describeFollowedSentences("http2_sentences", [
  ...values(server, "http2", "on", "off", "x"),
  ...rules(server, "http2", "on"),
  ["http2 in a location", location("http2 on;")],
  ...values(server, "http2_max_concurrent_streams", "0", "1", "x", "-1"),
  ...rules(server, "http2_max_concurrent_streams", "1"),
  ["http2_max_concurrent_streams in a location", location("http2_max_concurrent_streams 1;")],
  ...values(server, "http2_body_preread_size", "0", "2147483647", "2147483648", "2g", "x"),
  ...rules(server, "http2_body_preread_size", "1k"),
  ...values((text) => text, "http2_recv_buffer_size", "16", "17", "1m", "x"),
  ["http2_recv_buffer_size in a server", server("http2_recv_buffer_size 1m;")],
  ...values(server, "http2_pool_size", "0", "4k", "4097", "x"),
  ...values(server, "http2_streams_index_size", "32", "33", "0", "x"),
  ...values(location, "http2_chunk_size", "0", "1", "8k", "1g", "x"),
  ...rules(location, "http2_chunk_size", "8k"),
  ...[...OBSOLETE, ...GONE].flatMap((name) => [...values(server, name, "1", "", "1 2"), ...rules(server, name, "1")]),
  ["http2_push in a location", location("http2_push /x;")],
  ["http2_push_preload in a location", location("http2_push_preload on;")],
  ["http2_idle_timeout in a location", location("http2_idle_timeout 1m;")],
  ["listen http2", "server { listen 127.0.0.1:1 http2; }"],
  ["listen http2, twice", "server { listen 127.0.0.1:1 http2; listen 127.0.0.1:2 http2; }"],
  [
    "listen http2, in two servers",
    "server { listen 127.0.0.1:1 http2; } server { listen 127.0.0.1:1 http2; server_name a; }",
  ],
  [
    "listen http2, in one of two servers",
    "server { listen 127.0.0.1:1 http2; } server { listen 127.0.0.1:1; server_name a; }",
  ],
  ["listen http2 and http2 on", "server { listen 127.0.0.1:1 http2; http2 on; }"],
  ["listen http2 and http2 off", "server { listen 127.0.0.1:1 http2; http2 off; }"],
  ["listen http2 and the PROXY protocol", "server { listen 127.0.0.1:1 http2 proxy_protocol; }"],
  ["listen spdy", "server { listen 127.0.0.1:1 spdy; }"],
  ["listen quic", "server { listen 127.0.0.1:1 http2=on; }"],
]);

const GRPC: readonly (readonly [name: string, right: string, ...wrong: string[]])[] = [
  ["grpc_bind", "127.0.0.1", "x", "127.0.0.1 x", "127.0.0.1:x"],
  ["grpc_socket_keepalive", "on", "x"],
  ["grpc_socket_rcvbuf", "1k", "x"],
  ["grpc_socket_sndbuf", "1k", "x"],
  ["grpc_connect_timeout", "1s", "x", "-1"],
  ["grpc_send_timeout", "1s", "x"],
  ["grpc_read_timeout", "1s", "x"],
  ["grpc_intercept_errors", "on", "x"],
  ["grpc_buffer_size", "4k", "x", "0"],
  ["grpc_next_upstream", "error", "x", "error error", "http_501", "off", "off error", "updating"],
  ["grpc_next_upstream_tries", "1", "x", "-1"],
  ["grpc_next_upstream_timeout", "1s", "x"],
  ["grpc_set_header", "a b", "a", "Host b", "'' b"],
  ["grpc_pass_header", "a", "''"],
  ["grpc_hide_header", "a", "''"],
  ["grpc_ignore_headers", "X-Accel-Charset", "Date", "X-Accel-Charset X-Accel-Charset", "Set-Cookie", "Vary"],
  ["grpc_ssl_session_reuse", "on", "x"],
  ["grpc_ssl_protocols", "TLSv1.3", "x", "TLSv1.3 TLSv1.3", "SSLv2"],
  ["grpc_ssl_ciphers", "DEFAULT", "x"],
  ["grpc_ssl_name", "a", "$none"],
  ["grpc_ssl_server_name", "on", "x"],
  ["grpc_ssl_verify", "off", "x", "on"],
  ["grpc_ssl_verify_depth", "1", "x"],
  ["grpc_ssl_trusted_certificate", "crt", "none", "key"],
  ["grpc_ssl_crl", "crt", "none"],
  ["grpc_ssl_certificate", "crt", "none", "''"],
  ["grpc_ssl_certificate_key", "key", "none"],
  ["grpc_ssl_certificate_cache", "off", "x", "max=1", "max=1 valid=1", "max=0", "inactive=1m", "max=1 inactive=x"],
  ["grpc_ssl_password_file", "pass", "none"],
  ["grpc_ssl_conf_command", "Protocol TLSv1.2", "x", "Nothing x", "Protocol x"],
];
const secure = (text: string) => location(`grpc_pass grpcs://127.0.0.1:1; ${text}`);

const { certificate, key } = noOpenssl ? { certificate: "", key: "" } : selfSigned("localhost");
const FILES = { crt: certificate, key, pass: "secret\n" };

describeFollowedSentences(
  "grpc_sentences",
  [
    ...GRPC.flatMap(([name, right, ...wrong]) => [
      ...rules(secure, name, right),
      ...values(secure, name, right, ...wrong),
    ]),
    ["grpc_ssl_certificate without a key", secure("grpc_ssl_certificate crt;")],
    ["grpc_ssl_certificate with a key", secure("grpc_ssl_certificate crt; grpc_ssl_certificate_key key;")],
    ["grpc_ssl_certificate with another's key", secure("grpc_ssl_certificate crt; grpc_ssl_certificate_key crt;")],
    ["grpc_ssl_certificate of a variable", secure("grpc_ssl_certificate $host; grpc_ssl_certificate_key key;")],
    ["grpc_ssl_verify with authorities", secure("grpc_ssl_verify on; grpc_ssl_trusted_certificate crt;")],
    ["grpc_ssl_verify in clear", location("grpc_pass 127.0.0.1:1; grpc_ssl_verify on;")],
    ...values(
      location,
      "grpc_pass",
      "",
      "127.0.0.1",
      "127.0.0.1:0",
      "127.0.0.1:99999",
      "grpc://",
      "grpcs://a.invalid:1",
      "http://127.0.0.1:1",
    ),
    ...values(location, "grpc_pass", "unix:", "unix:/x", "127.0.0.1:1/x", "$none", "$host x"),
    ["grpc_pass twice", location("grpc_pass 127.0.0.1:1; grpc_pass 127.0.0.1:1;")],
    ["grpc_pass in a server", server("grpc_pass 127.0.0.1:1;")],
    ["grpc_pass with a slash behind the location", "server { location /a/ { grpc_pass 127.0.0.1:1; } }"],
    ["grpc_pass in limit_except", location("limit_except GET { grpc_pass 127.0.0.1:1; }")],
    ["grpc_pass in if", location("if ($host) { grpc_pass 127.0.0.1:1; }")],
    ["grpc_pass beside proxy_pass", location("grpc_pass 127.0.0.1:1; proxy_pass http://127.0.0.1:1;")],
    ["two ports of a group", "upstream u { server 127.0.0.1:1; } server { location / { grpc_pass u:2; } }"],
    ...["grpc_buffering on", "grpc_request_buffering off", "grpc_cache off", "grpc_store on", "grpc_limit_rate 1"].map(
      (text) => [`no directive: ${text}`, secure(`${text};`)] as const,
    ),
    ...["1.0", "1.1", "2", "2.0", "3", "x"].map(
      (version) => [`proxy_http_version ${version}`, location(`proxy_http_version ${version};`)] as const,
    ),
    ["proxy_http_version twice", location("proxy_http_version 2; proxy_http_version 2;")],
    [
      "proxy_http_version 2 with ntlm",
      "upstream u { server 127.0.0.1:1; keepalive 1; } server { location / { proxy_pass http://u; proxy_http_version 2; proxy_set_header Connection ''; } }",
    ],
  ],
  FILES,
);
