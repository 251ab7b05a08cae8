import { describeSentences, type SentenceCase } from "../../support/sentences.ts";

const inLocation = (text: string, more = ""): string =>
  `${more} server { listen 127.0.0.1:8090; location / { ${text} } }`;

/** What the modules of uwsgi, SCGI and memcached have in common; `GW` stands for their names. */
const GATEWAY: readonly SentenceCase[] = [
  ["an address and a port", inLocation("GW_pass 127.0.0.1:9000;")],
  ["a unix socket", inLocation("GW_pass unix:/run/app.sock;")],
  ["an upstream", inLocation("GW_pass app;", "upstream app { server 127.0.0.1:9000; }")],
  ["an upstream and a port", inLocation("GW_pass app:9000;", "upstream app { server 127.0.0.1:9000; }")],
  ["no address", inLocation("GW_pass;")],
  ["two addresses", inLocation("GW_pass 127.0.0.1:9000 127.0.0.1:9001;")],
  ["no port", inLocation("GW_pass 127.0.0.1;")],
  ["an invalid port", inLocation("GW_pass 127.0.0.1:x;")],
  ["no path of a unix socket", inLocation("GW_pass unix:;")],
  ["an unknown host", inLocation("GW_pass nothing.invalid:9000;")],
  ["given twice", inLocation("GW_pass 127.0.0.1:9000; GW_pass 127.0.0.1:9001;")],
  ["in a server", "server { listen 127.0.0.1:8090; GW_pass 127.0.0.1:9000; }"],
  ["in an if", inLocation("if ($args) { GW_pass 127.0.0.1:9000; }")],
  ["in a limit_except", inLocation("limit_except GET { GW_pass 127.0.0.1:9000; }")],
  ["bind", inLocation("GW_bind x;")],
  ["bind with a wrong word", inLocation("GW_bind 127.0.0.1 x;")],
  ["next_upstream", inLocation("GW_next_upstream error http_502;")],
  ["next_upstream with a doubled word", inLocation("GW_next_upstream error error;")],
  ["a timeout", inLocation("GW_read_timeout x;")],
  ["a timeout twice", inLocation("GW_send_timeout 1s; GW_send_timeout 1s;")],
  ["tries", inLocation("GW_next_upstream_tries -1;")],
  ["a buffer", inLocation("GW_buffer_size x;")],
  ["keepalive", inLocation("GW_socket_keepalive yes;")],
];

/** What uwsgi and SCGI share. */
const APPLICATION: readonly SentenceCase[] = [
  ["variables", inLocation("GW_pass $host:9000;")],
  ["an unknown variable", inLocation("GW_pass $nothing:9000;")],
  ["a parameter", inLocation("GW_param A b; GW_param A b; GW_param B $uri if_not_empty;")],
  ["a parameter without value", inLocation("GW_param A;")],
  ["a parameter with a wrong word", inLocation("GW_param A b if_empty;")],
  ["a parameter with an unknown variable", inLocation("GW_pass 127.0.0.1:9000; GW_param A $nothing;")],
  [
    "next_upstream of all",
    inLocation(
      "GW_next_upstream error timeout invalid_header http_500 http_503 http_403 http_404 http_429 non_idempotent updating;",
    ),
  ],
  ["one buffer", inLocation("GW_buffers 1 4k;")],
  ["busy buffers too small", inLocation("GW_busy_buffers_size 1k;")],
  ["a temporary file too small", inLocation("GW_max_temp_file_size 1k;")],
  ["written too little at a time", inLocation("GW_temp_file_write_size 1k;")],
  ["temp_path of five", inLocation("GW_temp_path a 1 2 3 4;")],
  ["limit_rate", inLocation("GW_limit_rate x;")],
  ["ignore_headers", inLocation("GW_ignore_headers X;")],
];

const UWSGI: readonly SentenceCase[] = [
  ["a scheme", inLocation("uwsgi_pass uwsgi://127.0.0.1:9000;")],
  ["a scheme in other letters", inLocation("uwsgi_pass UWSGI://127.0.0.1:9000;")],
  ["a scheme and no port", inLocation("uwsgi_pass uwsgi://127.0.0.1;")],
  ["another scheme", inLocation("uwsgi_pass http://127.0.0.1:9000;")],
  ["over TLS", inLocation("uwsgi_pass suwsgi://127.0.0.1:9000;")],
  ["a modifier too high", inLocation("uwsgi_modifier1 256;")],
  ["a modifier that is none", inLocation("uwsgi_modifier2 x;")],
  ["a modifier twice", inLocation("uwsgi_modifier1 1; uwsgi_modifier1 1;")],
  ["a string twice", inLocation("uwsgi_string a; uwsgi_string b;")],
];

const MEMCACHED: readonly SentenceCase[] = [
  ["next_upstream of all", inLocation("memcached_next_upstream error timeout invalid_response not_found;")],
  ["next_upstream of HTTP", inLocation("memcached_next_upstream invalid_header;")],
  ["a flag", inLocation("memcached_gzip_flag 2;")],
  ["a flag that is none", inLocation("memcached_gzip_flag x;")],
  ["a directive of others", inLocation("memcached_buffering off;")],
];

const of = (name: string, cases: readonly SentenceCase[], set = ""): readonly SentenceCase[] =>
  cases.map(([title, text]) => [title, text.replaceAll("GW", name).replace("location / {", `location / { ${set}`)]);

describeSentences("uwsgi_pass and its directives", [...of("uwsgi", [...GATEWAY, ...APPLICATION]), ...UWSGI]);
describeSentences("scgi_pass and its directives", of("scgi", [...GATEWAY, ...APPLICATION]));
describeSentences("memcached_pass and its directives", [
  ...of("memcached", GATEWAY, "set $memcached_key a;"),
  ...MEMCACHED,
  ["no key", inLocation("memcached_pass 127.0.0.1:9000;")],
]);
