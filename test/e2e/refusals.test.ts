/** A configuration that is refused: every sentence in one run of -t, at a start, and in the log of a reload. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { runHoldfast, startHoldfast } from "../support/holdfast.ts";
import { get } from "../support/tcp.ts";

const REFUSED = `
http {
  geoip_country x;
  log_format main "$geoip_city";
  server {
    listen 127.0.0.1:1 quic;
    image_filter_buffer 1m;
    location / { image_filter off; }
  }
}
mail { }
`;

const SENTENCES = [
  '"geoip_country" directive is known to nginx but not available in Holdfast yet in CONF:3',
  'the "quic" parameter of the "listen" directive is known to nginx but not available in Holdfast yet in CONF:6',
  '"image_filter_buffer" directive is known to nginx but not available in Holdfast yet in CONF:7',
  '"image_filter" directive is known to nginx but not available in Holdfast yet in CONF:8',
  '"geoip_city" variable is known to nginx but not available in Holdfast yet in CONF:4',
  '"mail" directive is not available in Holdfast: it has no mail proxy in CONF:11',
];

/** The sentences of a log, by level. */
function logged(text: string, prefix: string): readonly string[] {
  return [...text.matchAll(/\[emerg\] (?:\d+#\d+: )?(.*)/g)].map(([, line]) =>
    line.replaceAll(`${prefix}/conf/nginx.conf`, "CONF"),
  );
}

test("-t says all of it, then that the test failed, with exit status 1", async (t) => {
  const { code, stderr, prefix } = await runHoldfast(t, { config: REFUSED, args: ["-t"] });
  assert.equal(code, 1);
  assert.deepEqual(logged(stderr, prefix), SENTENCES);
  assert.ok(stderr.endsWith(`\nholdfast: configuration file ${prefix}/conf/nginx.conf test failed\n`), stderr);
});

test("so does a start, in the foreground and in the background", async (t) => {
  for (const globals of ["daemon off;", "daemon on;"]) {
    const { code, stderr, prefix } = await runHoldfast(t, { config: REFUSED, globals });
    assert.equal(code, 1);
    assert.deepEqual(logged(stderr, prefix), SENTENCES);
  }
});

test("so does a reload, after which the old configuration serves", async (t) => {
  const holdfast = await startHoldfast(t, {
    config: ([port]) => `http { server { listen 127.0.0.1:${port}; return 200 old; } }`,
  });
  const before = holdfast.errorLog().length;
  assert.equal(await holdfast.reload(REFUSED), false);
  assert.deepEqual(logged(holdfast.errorLog().slice(before), holdfast.prefix), SENTENCES);
  assert.equal((await get(holdfast.port, "/")).body, "old");
});

test("a server that is not found, or has no port, is one sentence for each address", async (t) => {
  const { stderr, prefix } = await runHoldfast(t, {
    config: `http { server {
      location /a { proxy_pass http://no-such-host.invalid:8080; }
      location /b { fastcgi_pass no-such-server.invalid:9000; }
      location /c { fastcgi_pass no-such-upstream; }
    } }`,
    args: ["-t"],
  });
  assert.deepEqual(logged(stderr, prefix), [
    'no port in upstream "no-such-upstream" in CONF:4',
    'host not found in upstream "no-such-host.invalid" in CONF:2',
    'host not found in upstream "no-such-server.invalid" in CONF:3',
  ]);
});

test("a URL with a scheme that is none, which only a request leads to: 500", async (t) => {
  const holdfast = await startHoldfast(t, {
    config: ([port]) => `http { server { listen 127.0.0.1:${port};
      location / { proxy_pass $arg_to://127.0.0.1:1/path; } } }`,
  });
  assert.equal((await get(holdfast.port, "/?to=ftp")).status, 500);
  await holdfast.waitForLog(/\[error\] \S+ \*\d+ invalid URL prefix in "ftp:\/\/127\.0\.0\.1:1\/path", client: /);
});
