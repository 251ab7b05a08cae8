import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { startHoldfast } from "../support/holdfast.ts";
import { havePhp, type PhpFpm, startPhp } from "../support/php.ts";
import { get, request } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

/** The parameters that every PHP site has. */
const PARAMS = `fastcgi_param QUERY_STRING $query_string; fastcgi_param REQUEST_METHOD $request_method;
  fastcgi_param CONTENT_TYPE $content_type; fastcgi_param CONTENT_LENGTH $content_length;
  fastcgi_param SCRIPT_NAME $fastcgi_script_name; fastcgi_param REQUEST_URI $request_uri;
  fastcgi_param SCRIPT_FILENAME $document_root$fastcgi_script_name; fastcgi_param PATH_INFO $fastcgi_path_info;`;

/** A site as WordPress wants it: what is no file goes to index.php. */
function site(t: TestContext, php: PhpFpm, options = "") {
  return startHoldfast(t, {
    config: ([port]) =>
      `http { upstream php { server ${php.address}; keepalive 2; }
        server { listen 127.0.0.1:${port}; root ${php.root};
          location / { try_files $uri /index.php?$args; }
          location ~ \\.php(/|$) { fastcgi_split_path_info ^(.+?\\.php)(/.*)$; try_files $fastcgi_script_name =404;
            fastcgi_pass php; fastcgi_keep_conn on; ${PARAMS} ${options} } } }`,
  });
}

const ECHO = `<?php
  foreach (['REQUEST_METHOD', 'SCRIPT_NAME', 'PATH_INFO', 'QUERY_STRING', 'REQUEST_URI', 'HTTP_X_FOO'] as $name)
    echo $name, '=', $_SERVER[$name] ?? '', "\\n";
  echo 'body=', file_get_contents('php://input');`;

test("fastcgi_pass: a PHP site with pretty URLs, PATH_INFO and bodies", { skip: havePhp() }, async (t) => {
  const php = await startPhp(t, { "index.php": ECHO });
  const { port } = await site(t, php);
  const pretty = await get(port, "/2026/hello?a=b", "X-Foo: bar");
  assert.match(pretty.body, /^REQUEST_METHOD=GET\nSCRIPT_NAME=\/index\.php\nPATH_INFO=\nQUERY_STRING=a=b\n/);
  assert.match(pretty.body, /REQUEST_URI=\/2026\/hello\?a=b\nHTTP_X_FOO=bar\n/);
  // In nginx try_files empties it.
  assert.match((await get(port, "/index.php/some/path")).body, /SCRIPT_NAME=\/index\.php\nPATH_INFO=\/some\/path\n/);
  const body = "x".repeat(200_000);
  const posted = await request(
    port,
    `POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
  );
  assert.match(posted.body, /^REQUEST_METHOD=POST\n/);
  assert.ok(posted.body.endsWith(`body=${body}`));
});

test("fastcgi_pass: what PHP writes to stderr is in the error log", { skip: havePhp() }, async (t) => {
  const php = await startPhp(t, { "index.php": '<?php error_log("something is wrong."); echo "ok";' });
  const holdfast = await site(t, php);
  assert.equal((await get(holdfast.port, "/index.php")).body, "ok");
  await waitFor(
    () => /\[error\] .*FastCGI sent in stderr: "PHP message: something is wrong" while /.test(holdfast.errorLog()),
    "the message",
  );
});
