import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { have } from "../support/have.ts";
import { startHoldfast } from "../support/holdfast.ts";
import { havePhp, type PhpFpm, startPhp } from "../support/php.ts";
import { childrenOf, statusOf, workersOf } from "../support/processes.ts";
import { get, RawConnection, request } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

/** Sites on a real php-fpm. */

/** The parameters that every PHP site has. */
const PARAMS = `fastcgi_param QUERY_STRING $query_string; fastcgi_param REQUEST_METHOD $request_method;
  fastcgi_param CONTENT_TYPE $content_type; fastcgi_param CONTENT_LENGTH $content_length;
  fastcgi_param SCRIPT_NAME $fastcgi_script_name; fastcgi_param REQUEST_URI $request_uri;
  fastcgi_param SCRIPT_FILENAME $document_root$fastcgi_script_name; fastcgi_param PATH_INFO $fastcgi_path_info;`;

/** A site as WordPress wants it: what is no file goes to index.php. */
function site(t: TestContext, php: PhpFpm, options = "", servers = `server ${php.address}; keepalive 2;`) {
  return startHoldfast(t, {
    config: ([port]) =>
      `worker_processes 1; http { upstream php { ${servers} }
        server { client_max_body_size 0; listen 127.0.0.1:${port}; root ${php.root};
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

function post(path: string, body: string, ...fields: string[]): string {
  return [
    `POST ${path} HTTP/1.1`,
    "Host: a",
    "Connection: close",
    `Content-Length: ${body.length}`,
    ...fields,
    "",
    body,
  ].join("\r\n");
}

const sha1 = (bytes: string): string => createHash("sha1").update(Buffer.from(bytes, "latin1")).digest("hex");

test("php: an upload of a form with a file", { skip: havePhp() }, async (t) => {
  const php = await startPhp(t, {
    "index.php": `<?php echo $_POST['name'], ' ', $_FILES['file']['name'], ' ', sha1_file($_FILES['file']['tmp_name']);`,
  });
  const { port } = await site(t, php);
  const file = Array.from({ length: 300_000 }, (_, i) => String.fromCharCode(i & 255)).join("");
  const parts = [
    'Content-Disposition: form-data; name="name"\r\n\r\nvalue',
    `Content-Disposition: form-data; name="file"; filename="a.bin"\r\nContent-Type: application/octet-stream\r\n\r\n${file}`,
  ];
  const form = `${parts.map((part) => `--xyz\r\n${part}\r\n`).join("")}--xyz--\r\n`;
  const answer = await request(port, post("/", form, "Content-Type: multipart/form-data; boundary=xyz"));
  assert.equal(answer.body, `value a.bin ${sha1(file)}`);
});

test("php: many mebibytes up and down, in little memory", { skip: havePhp() }, async (t) => {
  const MiB = 1024 * 1024;
  const php = await startPhp(
    t,
    {
      "up.php": `<?php $in = fopen('php://input', 'rb'); $n = 0; while (!feof($in)) $n += strlen(fread($in, 65536)); echo $n;`,
      "down.php": `<?php $piece = str_repeat('x', ${MiB}); for ($i = 0; $i < 64; $i++) echo $piece;`,
    },
    "pm=static\npm.max_children=2\nphp_admin_value[post_max_size]=0",
  );
  for (const options of ["", "fastcgi_request_buffering off; fastcgi_buffering off;"]) {
    const holdfast = await site(t, php, options);
    const up = await RawConnection.open(holdfast.port);
    up.write(`POST /up.php HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: ${64 * MiB}\r\n\r\n`);
    const piece = Buffer.alloc(MiB, "x");
    for (let i = 0; i < 64; i++) if (!up.socket.write(piece)) await once(up.socket, "drain");
    assert.equal((await up.readResponse()).body, `${64 * MiB}`);
    const down = await RawConnection.open(holdfast.port);
    let length = 0;
    down.socket.removeAllListeners("data").on("data", (bytes: Buffer) => {
      length += bytes.length;
    });
    down.write("GET /down.php HTTP/1.0\r\n\r\n");
    await once(down.socket, "end");
    down.close();
    assert.ok(length > 64 * MiB && length < 64 * MiB + 1000, `${length}`);
    for (const pid of workersOf(holdfast.pid)) {
      const peak = Number.parseInt(statusOf(pid, "VmHWM"), 10);
      assert.ok(peak < 150 * 1024, `a worker took ${peak} KiB`);
    }
  }
});

test("php: output is passed on as it is flushed", { skip: havePhp() }, async (t) => {
  const php = await startPhp(t, {
    "index.php": `<?php while (ob_get_level() > 0) ob_end_flush(); echo "one"; flush(); while (!file_exists(__DIR__ . '/go')) { usleep(10000); clearstatcache(); } echo "two";`,
  });
  for (const options of ["", "fastcgi_buffering off;"]) {
    rmSync(join(php.root, "go"), { force: true });
    const { port } = await site(t, php, options);
    const client = await RawConnection.open(port);
    client.write("GET /index.php HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    await client.until((received) => received.includes("one"));
    writeFileSync(join(php.root, "go"), "");
    assert.equal((await client.readResponse()).body, "onetwo");
    client.close();
  }
});

test("php: a response is over where the script says so, though it goes on", { skip: havePhp() }, async (t) => {
  const php = await startPhp(t, {
    "index.php": `<?php echo "done"; fastcgi_finish_request(); while (!file_exists(__DIR__ . '/go')) { usleep(10000); clearstatcache(); } touch(__DIR__ . '/end');`,
  });
  const { port } = await site(t, php);
  assert.equal((await get(port, "/index.php")).body, "done");
  writeFileSync(join(php.root, "go"), "");
  await waitFor(() => existsSync(join(php.root, "end")), "the script goes on to its end");
});

test("php: a slow script meets fastcgi_read_timeout", { skip: havePhp() }, async (t) => {
  const php = await startPhp(t, { "index.php": "<?php sleep(2); echo 'late';", "quick.php": "<?php echo 'quick';" });
  const holdfast = await site(
    t,
    php,
    `location ~ ^/index { fastcgi_pass php; ${PARAMS} fastcgi_next_upstream off; fastcgi_read_timeout 200ms; }`,
  );
  assert.equal((await get(holdfast.port, "/index.php")).status, 504);
  await holdfast.waitForLog(
    /\[error\] .*upstream timed out \(110: Connection timed out\) while reading response header from upstream/,
  );
  assert.equal((await get(holdfast.port, "/quick.php")).body, "quick");
});

test("php: Expect: 100-continue, and many fields both ways", { skip: havePhp() }, async (t) => {
  const php = await startPhp(t, {
    "index.php": `<?php for ($i = 0; $i < 200; $i++) header("X-$i: " . ($_SERVER["HTTP_X_$i"] ?? '')); http_response_code(404); echo file_get_contents('php://input');`,
  });
  const { port } = await site(t, php, "fastcgi_buffer_size 32k; fastcgi_buffers 8 32k;");
  const client = await RawConnection.open(port);
  const fields = Array.from({ length: 200 }, (_, i) => `X-${i}: value ${i}\r\n`).join("");
  client.write(`POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n${fields}\r\n`);
  assert.equal((await client.readResponse()).status, 100);
  client.write("body");
  const answer = await client.readResponse();
  client.close();
  assert.equal(answer.statusLine, "HTTP/1.1 404 Not Found");
  assert.equal(answer.body, "body");
  for (let i = 0; i < 200; i++) assert.equal(answer.header(`x-${i}`), `value ${i}`);
});

test("php: processes that are killed cost no request where another pool can answer", { skip: havePhp() }, async (t) => {
  const scripts = { "index.php": "<?php echo 'page';", "slow.php": "<?php sleep(600);" };
  const [first, second] = [await startPhp(t, scripts), await startPhp(t, scripts)];
  const servers = `server ${first.address} max_fails=0; server ${second.address} max_fails=0; keepalive 4;`;
  const holdfast = await site(t, second, "", servers);
  const slow = get(holdfast.port, "/slow.php").catch(() => undefined);
  void slow;
  for (let round = 0; round < 5; round++) {
    for (const pid of childrenOf(first.pid)) process.kill(pid, "SIGKILL");
    for (let i = 0; i < 4; i++) assert.equal((await get(holdfast.port, "/index.php")).body, "page");
  }
  process.kill(first.pid, "SIGKILL");
  for (const pid of childrenOf(first.pid)) process.kill(pid, "SIGKILL");
  for (let i = 0; i < 6; i++) assert.equal((await get(holdfast.port, "/index.php")).body, "page");
});

test("php: 502 while the pool is down, and the page as soon as it is back", { skip: havePhp() }, async (t) => {
  const php = await startPhp(t, { "index.php": "<?php echo 'page';" });
  const holdfast = await site(t, php, "", `server ${php.address}; keepalive 2;`);
  assert.equal((await get(holdfast.port, "/index.php")).body, "page");
  await php.stop();
  assert.equal((await get(holdfast.port, "/index.php")).status, 502);
  await holdfast.waitForLog(
    /connect\(\) to unix:\S+ failed \(.*\) while connecting to upstream, .*upstream: "fastcgi:\/\/unix:/,
  );
  await php.start();
  assert.equal((await get(holdfast.port, "/index.php")).body, "page");
});

test("php: Debian's snippets/fastcgi-php.conf and fastcgi.conf, unchanged", {
  skip: havePhp() || have("nginx"),
}, async (t) => {
  const php = await startPhp(t, {
    "index.php": ECHO,
    "info.php": "<?php echo $_SERVER['PHP_SELF'], ' ', $_SERVER['SERVER_SOFTWARE'];",
  });
  const names = ["snippets/fastcgi-php.conf", "fastcgi.conf", "fastcgi_params"];
  const { port } = await startHoldfast(t, {
    files: Object.fromEntries(names.map((name) => [`conf/${name}`, readFileSync(`/etc/nginx/${name}`)])),
    config: ([port]) => `http { server { listen 127.0.0.1:${port}; root ${php.root}; index index.php;
      location / { try_files $uri $uri/ /index.php?$args; }
      location ~ \\.php { include snippets/fastcgi-php.conf; fastcgi_pass ${php.address}; }
      location /old { include fastcgi_params; fastcgi_param SCRIPT_FILENAME $document_root/index.php; fastcgi_pass ${php.address}; } } }`,
  });
  assert.match((await get(port, "/")).body, /SCRIPT_NAME=\/index\.php\nPATH_INFO=\nQUERY_STRING=\nREQUEST_URI=\/\n/);
  assert.match((await get(port, "/index.php/a/b?c=d")).body, /PATH_INFO=\/a\/b\nQUERY_STRING=c=d\n/);
  assert.match((await get(port, "/info.php/x")).body, /^\/info\.php\/x nginx\/1\./);
  assert.match((await get(port, "/old")).body, /SCRIPT_NAME=\/old\n/);
  assert.equal((await get(port, "/none.php")).status, 404);
});
