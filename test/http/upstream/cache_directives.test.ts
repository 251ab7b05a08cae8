import assert from "node:assert/strict";
import { test } from "node:test";
import { cannedBackend } from "../../support/backend.ts";
import { runHoldfast, startHoldfast } from "../../support/holdfast.ts";
import { describeSentences, type SentenceCase } from "../../support/sentences.ts";
import { get } from "../../support/tcp.ts";

/** Everything about a cache that changes nothing where there is none. */
const DIRECTIVES = (prefix: string): string => `
  ${prefix}_cache off; ${prefix}_cache_key $uri$is_args; ${prefix}_cache_bypass $http_upgrade 1; ${prefix}_cache_bypass $arg_x;
  ${prefix}_no_cache $http_pragma; ${prefix}_cache_valid 200 301 10m; ${prefix}_cache_valid any 1m; ${prefix}_cache_valid 5s;
  ${prefix}_cache_min_uses 3; ${prefix}_cache_max_range_offset 1g; ${prefix}_cache_use_stale error timeout updating http_500;
  ${prefix}_cache_methods POST get; ${prefix}_cache_lock on; ${prefix}_cache_lock_timeout 1s; ${prefix}_cache_lock_age 1500ms;
  ${prefix}_cache_revalidate on; ${prefix}_cache_background_update on;`;

const cases = (prefix: string): readonly SentenceCase[] => [
  [
    `${prefix}: all, at every level`,
    `${DIRECTIVES(prefix)}\nserver {\n${DIRECTIVES(prefix)}\nlocation / {\n${DIRECTIVES(prefix)}\n}\n}`,
  ],
  [`${prefix}: in an if`, `server {\nlocation / {\nif ($uri) {\n${prefix}_cache_bypass 1;\n}\n}\n}`],
  [`${prefix}: off twice`, `${prefix}_cache off;\n${prefix}_cache off;`],
  [`${prefix}: no zone`, `${prefix}_cache;`],
  [`${prefix}: a key twice`, `${prefix}_cache_key a;\n${prefix}_cache_key a;`],
  [`${prefix}: an unknown variable`, `${prefix}_cache_bypass $nothing;`],
  [`${prefix}: no condition`, `${prefix}_no_cache;`],
  [`${prefix}: no time`, `${prefix}_cache_valid 200 any;`],
  [`${prefix}: a status below`, `${prefix}_cache_valid 99 1m;`],
  [`${prefix}: a status above`, `${prefix}_cache_valid 200 600 1m;`],
  [`${prefix}: a wrong status`, `${prefix}_cache_valid all 1m;`],
  [`${prefix}: a wrong number`, `${prefix}_cache_min_uses -1;`],
  [`${prefix}: a wrong offset`, `${prefix}_cache_max_range_offset 1x;`],
  [`${prefix}: a wrong case`, `${prefix}_cache_use_stale error http_500 http_501;`],
  [`${prefix}: a case twice`, `${prefix}_cache_use_stale error ERROR;`],
  [`${prefix}: a wrong method`, `${prefix}_cache_methods PUT;`],
  [`${prefix}: a wrong flag`, `${prefix}_cache_lock yes;`],
  [`${prefix}: a wrong time`, `${prefix}_cache_lock_age soon;`],
];

describeSentences("directives about a cache", [
  ...["proxy", "fastcgi", "uwsgi"].flatMap(cases),
  ["proxy: HEAD", "proxy_cache_convert_head on;"],
  ["fastcgi: HEAD", "fastcgi_cache_convert_head on;"],
]);

test("directives about a cache change nothing where there is none, and $upstream_cache_status is empty", async (t) => {
  const { address } = await cannedBackend(t, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
  const holdfast = await startHoldfast(t, {
    config: ([port]) => `http {
      log_format cache "[$upstream_cache_status] [$upstream_cache_last_modified] [$upstream_cache_etag]";
      access_log logs/access.log cache;
      server { listen 127.0.0.1:${port}; ${DIRECTIVES("proxy")} add_header X-Cache "[$upstream_cache_status]";
        location / { proxy_pass http://${address}; } } }`,
  });
  const response = await get(holdfast.port, "/");
  assert.deepEqual([response.body, response.header("x-cache")], ["ok", "[]"]);
  await holdfast.waitForLog(/^\[-\] \[-\] \[-\]$/m, "logs/access.log");
});

test("what would switch a cache on is refused", async (t) => {
  const { code, stderr } = await runHoldfast(t, {
    args: ["-t"],
    config: `http {
      proxy_cache_path cache keys_zone=one:1m;
      server {
        proxy_cache one;
        fastcgi_cache $zone; } }`,
  });
  assert.equal(code, 1);
  for (const [name, line] of [
    ["proxy_cache_path", 2],
    ["proxy_cache", 4],
    ["fastcgi_cache", 5],
  ]) {
    const refused = new RegExp(
      `"${name}" directive is known to nginx but not available in Holdfast yet in [^\\n]*nginx.conf:${line}$`,
      "m",
    );
    assert.match(stderr, refused);
  }
});
