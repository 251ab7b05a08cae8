import assert from "node:assert/strict";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { readFileSync, renameSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { gunzipSync } from "node:zlib";
import { startHoldfast } from "../support/holdfast.ts";
import { get, send } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

const COMBINED =
  /^127\.0\.0\.1 - ann \[\d\d\/[A-Z][a-z]{2}\/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] "GET \/plain\?x HTTP\/1\.1" 200 2 "http:\/\/from\/" "a \\x22quoted\\x22 \\x5C \\xE4gent"\n$/;

test("the combined format is the default, and clients cannot forge lines", async (t) => {
  const holdfast = await startHoldfast(t, {
    config: ([port]) => `http { server { listen 127.0.0.1:${port}; location / { return 200 ok; } } }`,
  });
  const user = `Authorization: Basic ${Buffer.from("ann:secret").toString("base64")}`;
  await get(holdfast.port, "/plain?x", user, "Referer: http://from/", 'User-Agent: a "quoted" \\ \xe4gent');
  await waitFor(() => COMBINED.test(holdfast.accessLog()), "the line");
  await get(holdfast.port, "/");
  await waitFor(() => /"GET \/ HTTP\/1\.1" 200 2 "-" "-"\n$/.test(holdfast.accessLog()), "a line without fields");
  await send(holdfast.port, "RUBBISH\r\n\r\n");
  await waitFor(() => /- - \[[^\]]+\] "RUBBISH" 400 \d+ "-" "-"\n$/.test(holdfast.accessLog()), "a bad request's line");
});

test("formats, escapes, conditions, levels and files named by the request", async (t) => {
  const holdfast = await startHoldfast(t, {
    files: { "html/x": "" },
    config: ([port]) => `http {
      log_format short '$uri:$status';
      log_format numbers $request_length:$bytes_sent:$body_bytes_sent:$pipe:$request_time:$msec;
      log_format esc_default $arg_v;
      log_format esc_json escape=json '{"v":"$arg_v","none":"$arg_none"}';
      log_format esc_none escape=none '$arg_v[$arg_none]';
      access_log logs/outer.log short;
      server { listen 127.0.0.1:${port};
        location /outer { return 200 ok; }
        location /off { access_log off; return 200 ok; location /off/on { access_log logs/on.log short; return 200; } }
        location /two { access_log logs/one.log short; access_log logs/two.log short; return 204; }
        location /if { access_log logs/if.log short if=$arg_log; return 200; }
        location /numbers { access_log logs/numbers.log numbers; return 200 ok; }
        location /escape { access_log logs/d.log esc_default; access_log logs/j.log esc_json;
          access_log logs/n.log esc_none; set $arg_v2 x; return 200 ok; }
        location /vary { access_log logs/vary_$arg_name.log short; return 200 ok; }
        location /nowhere { root missing; access_log logs/nowhere_$arg_name.log short; return 200 ok; }
      } }`,
  });
  const { port } = holdfast;
  const log = (name: string): string => holdfast.read(`logs/${name}.log`);
  const appears = (name: string, text: string | RegExp) =>
    waitFor(
      () => (typeof text === "string" ? log(name) === text : text.test(log(name))),
      `${text} in ${name}.log, which has ${JSON.stringify(log(name))}`,
    );
  for (const path of ["/outer", "/off", "/off/on", "/two"]) await get(port, path);
  await appears("outer", "/outer:200\n");
  await appears("on", "/off/on:200\n");
  await appears("one", "/two:204\n");
  await appears("two", "/two:204\n");
  for (const value of ["", "0", "1", "00"]) await get(port, `/if?log=${value}`);
  await appears("if", "/if:200\n/if:200\n");
  const { raw } = await get(port, "/numbers");
  await appears("numbers", new RegExp(`^\\d+:${raw.length}:2:\\.:0\\.\\d{3}:\\d{10}\\.\\d{3}\n$`));
  const sent = "GET /numbers HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".length;
  assert.match(log("numbers"), new RegExp(`^${sent}:`));
  await get(port, '/escape?v=a"b\\c\xe4');
  await appears("d", "a\\x22b\\x5Cc\\xE4\n");
  await appears("j", '{"v":"a\\"b\\\\c\xe4","none":""}\n');
  await appears("n", 'a"b\\c\xe4[]\n');
  await get(port, "/vary?name=a");
  await get(port, "/vary?name=b");
  await appears("vary_a", "/vary:200\n");
  await appears("vary_b", "/vary:200\n");
  await get(port, "/nowhere?name=a");
  await holdfast.waitForLog(/testing "[^"]+\/missing" existence failed \(2: No such file or directory\)/);
  assert.equal(log("nowhere_a"), "");
});

test("buffers are written when due, when the log is reopened and at the end; gzip makes one readable file", async (t) => {
  const holdfast = await startHoldfast(t, {
    config: ([port]) => `http { log_format short $uri;
      server { listen 127.0.0.1:${port};
        location /buffered { access_log logs/buffered.log short buffer=64k; return 200; }
        location /timed { access_log logs/timed.log short buffer=64k flush=50ms; return 200; }
        location /small { access_log logs/small.log short buffer=20; return 200; }
        location /gzip { access_log logs/gzip.log short gzip buffer=64k; return 200; }
      } }`,
  });
  const { port, prefix } = holdfast;
  await get(port, "/timed");
  await waitFor(() => holdfast.read("logs/timed.log") === "/timed\n", "the flush time");
  for (let i = 0; i < 3; i++) await get(port, "/small/1234");
  await waitFor(() => holdfast.read("logs/small.log") === "/small/1234\n/small/1234\n", "a full buffer");
  await get(port, "/gzip/1");
  await get(port, "/buffered/1");
  // An answer comes before its line is logged; the one worker takes the next request after that.
  await get(port, "/small");
  assert.equal(holdfast.read("logs/buffered.log"), "");
  renameSync(join(prefix, "logs/buffered.log"), join(prefix, "logs/old.log"));
  holdfast.signal("SIGUSR1");
  await waitFor(() => holdfast.read("logs/old.log") === "/buffered/1\n", "what the buffer held, in the old file");
  await get(port, "/gzip/2");
  await get(port, "/buffered/2");
  assert.equal(await holdfast.stop("SIGQUIT"), 0);
  assert.equal(holdfast.read("logs/buffered.log"), "/buffered/2\n");
  assert.equal(gunzipSync(readFileSync(join(prefix, "logs/gzip.log"))).toString(), "/gzip/1\n/gzip/2\n");
});

test("lines go to a syslog server", async (t) => {
  const server = createSocket("udp4");
  t.after(() => server.close());
  server.bind(0, "127.0.0.1");
  await once(server, "listening");
  const holdfast = await startHoldfast(t, {
    config: ([port]) => `http { log_format short $uri;
      access_log syslog:server=127.0.0.1:${server.address().port},facility=user,severity=notice,tag=web short;
      server { listen 127.0.0.1:${port}; location / { return 200; } } }`,
  });
  const message = once(server, "message");
  await get(holdfast.port, "/logged");
  assert.match(String((await message)[0]), /^<13>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \S+ web: \/logged$/);
});
