import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { describe, test } from "node:test";
import { NGINX } from "../support/reference_nginx.ts";
import { build, errorOf, workspace, write } from "./workspace.ts";

const http = (text: string) => `events {}\nhttp {\n${text}\n}\n`;
const long = (length: number) => "x".repeat(length);

/** Configurations that nginx refuses; Holdfast must refuse each with the same sentence, file and line. */
const BROKEN: readonly (readonly [name: string, text: string, globals?: string])[] = [
  ["unknown directive", "daemon off;\nbogus on;"],
  ["unknown directive with a byte order mark", "\xef\xbb\xbfdaemon off;"],
  ["unknown directive with an empty name", 'daemon off;\n"" on;'],
  ["unknown block", "events {}\nbogus {\n}"],
  ["unknown before a syntax error", "bogus;\n}"],
  ["unknown after an unfinished block", "events {\n bogus;\n"],
  ["wrong context", "events {\n daemon on;\n}"],
  ["wrong context: http directive in main", "send_timeout 3;"],
  ["wrong context: server in main", "server {}"],
  ["wrong context: server in location", http("server { location / {\n server {} } }")],
  ["wrong context: if in upstream", http("upstream u { if ($a) {} }")],
  ["not terminated: brace after a value", "daemon off {"],
  ["not terminated: brace after words", "events {}\nhttp { send_timeout 3 { } }"],
  ["no opening brace", "events;"],
  ["no opening brace: server in http", http("server a;")],
  ["block in upstream", http("upstream u { server { } }")],
  ["too few arguments", "daemon;"],
  ["too many arguments", "daemon on off;"],
  ["arguments on a block", "events x {}"],
  ["arguments on a location", http("server { location {} }")],
  ["missing semicolon swallows the next line", "daemon off\nmaster_process on;\nevents {}"],
  ["duplicate flag", "daemon off;\n\ndaemon off;"],
  ["duplicate with a bad value is a duplicate", "daemon off;\ndaemon 3;"],
  ["duplicate block", "events {}\nevents {}"],
  ["duplicate number", "events { worker_connections 3; worker_connections 4; }"],
  ["bad flag", "daemon yes;"],
  ["bad flag, empty", 'daemon "";'],
  ["bad flag on a later line of the statement", "daemon\n\n  maybe\n;"],
  ["bad number", "events {\n worker_connections x; }"],
  ["bad number: negative", http("keepalive_requests -1;")],
  ["bad number: overflow", http("keepalive_requests 9223372036854775808;")],
  ["bad number: worker_processes", "worker_processes many;"],
  ["bad size: unit g", http("client_body_buffer_size 1g;")],
  ["bad size: overflow", http("client_body_buffer_size 9007199254740992k;")],
  ["bad offset", http("client_max_body_size 1t;")],
  ["bad offset: overflow", http("client_max_body_size 8589934592g;")],
  ["bad time", http("send_timeout 1x;")],
  ["bad time: order of units", http("send_timeout 1s1m;")],
  ["bad time: years in milliseconds", http("send_timeout 1y;")],
  ["bad time: months in milliseconds", http("send_timeout 1M;")],
  ["bad time: overflow", http("send_timeout 9223372036854776s;")],
  ["bad time: unit alone", http("send_timeout m;")],
  ["bad buffers: no number", http("output_buffers 0 4k;")],
  ["bad buffers: no size", http("output_buffers 2 0;")],
  ["bad buffers: count", http("output_buffers 2;")],
  ["bad word", http("satisfy none;")],
  ["bad word of several", http("proxy_next_upstream error\n nothing;")],
  ["unexpected closing brace", "daemon off;\n}\n"],
  ["unexpected closing brace after a word", "daemon }\n"],
  ["closing brace within a word is part of it", "events { multi_accept on}\n"],
  ["unexpected semicolon", "daemon off;;\n"],
  ["unexpected opening brace", "events {}\n{\n}\n"],
  ["word after a quote", 'daemon "off"x;'],
  ["quote after a quote", "daemon \"off\"'x';"],
  ["end of file in a word", "daemon off"],
  ["end of file after a word", "daemon off\n\n"],
  ["end of file in quotes", 'daemon "off;\n\n'],
  ["end of file in a block", "events {\n\n"],
  ["end of file in a nested block", http("server {\n").slice(0, -2)],
  ["end of file after a backslash", "daemon off\\"],
  ["comment does not end a word", "daemon off#comment;\n;"],
  ["lone backslash keeps the next byte", "daemon\\;off;"],
  ["dollar brace", `bogus \${;};\n} `],
  ["variable as a directive", "$bogus{x} 1;"],
  ["escapes in a name", '"a\\"b\\tc" 1;'],
  ["too long word", `daemon off;\n\nbogus ${long(5000)};\n`],
  ["too long word in quotes", `daemon off;\n\nbogus "${long(3000)}\n${long(3000)}";\n`],
  ["too long word in single quotes", `daemon off;\nbogus '${long(8000)}';\n`],
  ["too long comment", `daemon off;\n# ${long(5000)}\n`],
  ["longest word", `bogus ${long(4095)};\n`],
  ["longest word before a space", `bogus ${long(4095)} ;\n`],
  ["longest word and one more", `bogus ${long(4096)};\n`],
  ["longest word at the end", `bogus ${long(4096)}`],
  ["include of a missing file", "daemon off;\ninclude missing.conf;"],
  ["include of a directory", "daemon off;\ninclude parts;"],
  ["include through a file", "daemon off;\ninclude plain/dir.conf;"],
  ["include without a file", "include;"],
  ["include of two files", "include a b;"],
  ["include of a block", "include a {}"],
  ["error in an included file", "include parts/a.conf;\n"],
  ["error in the second file of a pattern", "include parts/[b-c].conf;\n"],
  ["block closed in another file", "events {\n include close.conf;"],
  ["block opened in another file", "include open.conf;\n}"],
  ["wrong context in an included file", "events { include parts/b.conf; }"],
  ["block in a map", http("map $uri $x {\n a { b c; }\n}")],
  ["wrong line before a block in a map", http("map $uri $x {\n a b c;\n d { e; }\n}")],
  ["wrong line in a map", http("map $uri $x {\n a b c;\n}")],
  ["unfinished map", http("map $uri $x {\n a b;\n").slice(0, -2)],
  ["block in types", http("types {\n text/html { html; }\n}")],
  ["missing include in a map", http("map $uri $x {\n include missing.map;\n}")],
  ["empty upstream", http("upstream u {\n\n}")],
  ["unfinished upstream", "events {}\nhttp {\nupstream u {\n"],
  ["option: end", "events {}", "daemon off"],
  ["option: block", "events {}", "events {}"],
  ["option: closing brace", "events {}", "}"],
  ["option: unknown", "events {}", "bogus\non;"],
  ["option, then the file", "events {}\ndaemon on;", "daemon off;"],
];

const directory = workspace();
write(directory, "parts/a.conf", "# one\n\nbogus;\n");
write(directory, "parts/b.conf", "daemon off;\n");
write(directory, "parts/c.conf", "\ndaemon off;\n");
write(directory, "plain", "");
write(directory, "close.conf", "}\n");
write(directory, "open.conf", "events {\n");

/** What `nginx -t` says is wrong, without its name and level. */
function nginxError(text: string, globals: string | undefined): string {
  const path = write(directory, "nginx.conf", text);
  const args = ["-t", "-q", "-e", "/dev/null", "-p", directory, "-c", path];
  const { stderr, status } = spawnSync(NGINX ?? "", globals === undefined ? args : [...args, "-g", globals], {
    encoding: "latin1",
    timeout: 10_000,
  });
  assert.equal(status, 1, stderr);
  const line = stderr.split("\nnginx: ").find((line) => /\[(emerg|crit)\]/.test(line));
  assert(line !== undefined, stderr);
  return line
    .replace(/^(nginx: )?\[\w+\] /, "")
    .replace(/\nnginx: configuration file .*/s, "")
    .trimEnd();
}

describe("a broken configuration is refused in nginx's words", {
  skip: NGINX === undefined && "nginx is not installed",
}, () => {
  for (const [name, text, globals] of BROKEN) {
    test(name, () => {
      const expected = nginxError(text, globals);
      assert.equal(
        errorOf(() => build(directory, text, globals)),
        expected,
      );
    });
  }
});
