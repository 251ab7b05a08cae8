import assert from "node:assert/strict";
import { test } from "node:test";
import { cannedBackend } from "../../support/backend.ts";
import { startHoldfast } from "../../support/holdfast.ts";
import { describeSentences, type SentenceCase } from "../../support/sentences.ts";
import { get } from "../../support/tcp.ts";

/** The directives of caches, right and wrong, beside a real nginx. */

const PREFIXES = ["proxy", "fastcgi", "uwsgi", "scgi"] as const;

const ZONE = "GW_cache_path cache keys_zone=one:1m;";
const SITE = "GW_pass PLACE; GW_cache_key $uri;";

/** Parameters of …_cache_path after `keys_zone`. */
const PARAMETERS = [
  ...["", "1", "2:2:1", "1:2:", ":1", "3", "1:1:1:1", "1,2"].map((value) => `levels=${value}`),
  ...["on", "off", "ON", ""].map((value) => `use_temp_path=${value}`),
  ...["8k", "8191", "0", "", "-1", "1g"].map((value) => `keys_zone=two:${value}`),
  ...["two", ":1m", "two:1m:2m", ""].map((value) => `keys_zone=${value}`),
  ...["0", "", "1m1h", "500ms", "1M", "99999999999999999999", "1h 2"].map((value) => `inactive=${value}`),
  ...["0", "", "-1", "500ms", "1M"].map((value) => `loader_sleep=${value}`),
  ...["1s", "a"].flatMap((value) => [
    `loader_threshold=${value}`,
    `manager_sleep=${value}`,
    `manager_threshold=${value}`,
  ]),
  ...["10", "1G", "1t", "-1", ""].flatMap((value) => [`max_size=${value}`, `min_free=${value}`]),
  ...["10", "1k", ""].flatMap((value) => [`loader_files=${value}`, `manager_files=${value}`]),
  ...["level=1", "max_size", "max_size:1g", "off", "=1", "", "keys_zone", "Inactive=1m"],
];

/** Directives of a location. */
const DIRECTIVES = [
  ...["off", "one", "two", "$arg_zone", "ONE", "a b", "one; GW_cache one", "off; GW_cache one", '""'].map(
    (v) => `cache ${v}`,
  ),
  ...["one; GW_store on", "one; GW_store off", "off; GW_store on", "one; GW_buffering off"].map((v) => `cache ${v}`),
  ...["on; GW_cache one", "off; GW_cache one"].map((v) => `store ${v}`),
  ...["a b", '""', "$nothing", "${uri", "a; GW_cache_key b"].map((v) => `cache_key ${v}`),
  ...["$arg_a $arg_b 1", "$nothing", "", "a; GW_cache_bypass b"].map((v) => `cache_bypass ${v}`),
  ...["$arg_a", ""].map((v) => `no_cache ${v}`),
  ...["1m", "200 302 1h", "600 1m", "99 1m", "200", "200 abc", "200 any", "", "200 500ms", "Any 1m", "200 any 0"].map(
    (v) => `cache_valid ${v}`,
  ),
  ...["0", "-1", "", "1 2", "1; GW_cache_min_uses 2"].map((v) => `cache_min_uses ${v}`),
  ...["1g", "a", "-1", ""].map((v) => `cache_max_range_offset ${v}`),
  ...[
    "error updating http_500 http_404 http_429",
    "http_502",
    "http_200",
    "error error",
    "off error",
    "non_idempotent",
    "Error",
    "",
  ].map((v) => `cache_use_stale ${v}`),
  ...["GET HEAD POST", "PUT", "get", "POST POST", ""].map((v) => `cache_methods ${v}`),
  ...["cache_lock On", "cache_lock 1", "cache_revalidate", "cache_background_update on", "cache_convert_head off"],
  ...["cache_lock_timeout 500ms", "cache_lock_timeout a", "cache_lock_age -1", "cache_path cache keys_zone=two:1m"],
];

/** Whole http blocks. */
const BLOCKS: readonly SentenceCase[] = [
  [
    "two caches",
    "GW_cache_path a keys_zone=one:1m; GW_cache_path b keys_zone=two:1m; server { location / { SITE GW_cache one; } }",
  ],
  ["a zone twice", "GW_cache_path a keys_zone=one:1m; GW_cache_path b keys_zone=one:1m;"],
  ["a zone twice, of another size", "GW_cache_path a keys_zone=one:1m; GW_cache_path b keys_zone=one:2m;"],
  ["a path twice", "GW_cache_path a keys_zone=one:1m;\nGW_cache_path a keys_zone=two:1m;"],
  ["a path twice, once with a slash", "GW_cache_path a/ keys_zone=one:1m;\nGW_cache_path a keys_zone=two:1m;"],
  ["a path that temporary files have", "GW_cache_path a keys_zone=one:1m;\nGW_temp_path a;"],
  ["a path that temporary files have before", "client_body_temp_path a;\nGW_cache_path a keys_zone=one:1m;"],
  ["temporary files beside one another", "client_body_temp_path a 1 2;\nGW_temp_path a 1 2;"],
  ["temporary files at other levels", "client_body_temp_path a 1 2;\nGW_temp_path a 1;"],
  ["a path for two protocols", "proxy_cache_path a keys_zone=one:1m;\nscgi_cache_path a keys_zone=two:1m;"],
  ["a zone of another protocol", "ZONE memcached_buffer_size 4k; server { location / { OTHER_cache one; } }"],
  ["a zone of another module", "limit_req_zone $uri zone=one:1m rate=1r/s; ZONE"],
  ["a zone that nobody defines", "server { location / { SITE GW_cache one; } }"],
  ["a zone that nobody defines, in http alone", "GW_cache one;"],
  ["a zone that nobody defines, inherited", "GW_cache one; server { location / { SITE } }"],
  ["a zone that is defined below", "server { location / { SITE GW_cache one; } } ZONE"],
  ["a cache without a key", "ZONE server { location / { GW_pass PLACE; GW_cache one; } }"],
  [
    "a cache without a key, inherited",
    "ZONE GW_cache one; server { location / { GW_pass PLACE; } location /a { GW_pass PLACE; } }",
  ],
  [
    "a cache without a key, in if blocks",
    "ZONE server { GW_cache one; location / { GW_pass PLACE; if ($arg_a) { GW_pass PLACE; } limit_except GET { deny all; } } }",
  ],
  ["a cache that is not used", "ZONE"],
  ["store within cache", "ZONE GW_cache one; server { location / { GW_pass PLACE; GW_store on; } }"],
  ["cache within store", "ZONE GW_store on; server { location / { GW_pass PLACE; GW_cache one; } }"],
  ["no zone", "GW_cache_path cache;"],
  ["no zone, but parameters", "GW_cache_path cache levels=1:2 inactive=1m;"],
  ["no arguments", "GW_cache_path;"],
];

function written(prefix: string, text: string): string {
  return text
    .replaceAll("ZONE", ZONE)
    .replaceAll("SITE", SITE)
    .replaceAll("OTHER_", prefix === "proxy" ? "fastcgi_" : "proxy_")
    .replaceAll("GW_", `${prefix}_`)
    .replaceAll("PLACE", prefix === "proxy" ? "http://127.0.0.1:1" : "127.0.0.1:1");
}

for (const prefix of PREFIXES) {
  // The parameters are read by the same function for all.
  const parameters = prefix === "proxy" ? PARAMETERS : [];
  const cases: SentenceCase[] = [
    ...parameters.map((text): SentenceCase => [text, `GW_cache_path cache keys_zone=one:1m\n"${text}";`]),
    ...(prefix === "proxy" || prefix === "scgi" ? DIRECTIVES : []).map((text): SentenceCase => {
      const site = text.startsWith("cache_key") ? "GW_pass PLACE;" : "SITE";
      return [text, `ZONE server { location / { ${site}\nGW_${text}; } }`];
    }),
    ...(prefix === "scgi" ? [] : BLOCKS),
  ];
  describeSentences(
    `${prefix}_cache`,
    cases.map(([name, http]) => [name, written(prefix, http)]),
  );
}

test("directives about a cache change nothing where there is none, and $upstream_cache_status is empty", async (t) => {
  const { address } = await cannedBackend(t, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
  const holdfast = await startHoldfast(t, {
    config: ([port]) => `http {
      log_format cache "[$upstream_cache_status] [$upstream_cache_last_modified] [$upstream_cache_etag]";
      access_log logs/access.log cache;
      server { listen 127.0.0.1:${port}; proxy_cache off; proxy_cache_bypass 1; proxy_cache_valid any 1m; proxy_cache_lock on;
        add_header X-Cache "[$upstream_cache_status]";
        location / { proxy_pass http://${address}; } } }`,
  });
  const response = await get(holdfast.port, "/");
  assert.deepEqual([response.body, response.header("x-cache")], ["ok", "[]"]);
  await holdfast.waitForLog(/^\[-\] \[-\] \[-\]$/m, "logs/access.log");
});
