import assert from "node:assert/strict";
import { createSocket } from "node:dgram";
import { hostname } from "node:os";
import { test } from "node:test";
import { ConfigError, type Directive } from "../../../src/config/types.ts";
import { openSyslog, parseSyslog } from "../../../src/runtime/log/syslog.ts";

function line(parameters: string): Directive {
  return { name: "error_log", args: [`syslog:${parameters}`], file: "nginx.conf", line: 1 };
}

test("the parameters, with nginx's defaults", () => {
  assert.deepEqual(parseSyslog(line("server=127.0.0.1")), {
    name: "127.0.0.1",
    server: { family: "ipv4", host: "127.0.0.1", port: 514 },
    facility: 23,
    severity: 6,
    tag: "holdfast",
    nohostname: false,
  });
  const all = parseSyslog(line("server=[::1]:1514,facility=kern,severity=emerg,tag=a_1,nohostname"));
  assert.deepEqual(all.server, { family: "ipv6", host: "::1", port: 1514 });
  assert.deepEqual([all.facility, all.severity, all.tag, all.nohostname], [0, 0, "a_1", true]);
  assert.deepEqual(parseSyslog(line("server=logs.example:5")).server, {
    host: "logs.example",
    port: 5,
  });
});

const WRONG: readonly (readonly [parameters: string, sentence: string])[] = [
  ["", 'unknown syslog parameter ""'],
  ["facility=kern", "no syslog server specified"],
  ["server=a,server=b", 'duplicate syslog "server"'],
  ["server=a,facility=none", 'unknown syslog facility "none"'],
  ["server=a,severity=err", 'unknown syslog severity "err"'],
  ["server=a,tag=a-b", 'syslog "tag" only allows alphanumeric characters and underscore'],
  [`server=a,tag=${"a".repeat(33)}`, "syslog tag length exceeds 32"],
  ["server=a,colour=red", 'unknown syslog parameter "colour=red"'],
  ["server=a:99999", 'invalid port in syslog server "a:99999"'],
  ["server=unix:", 'no path in the unix domain socket in syslog server "unix:"'],
];

test("what is wrong is said in nginx's words", () => {
  for (const [parameters, message] of WRONG) {
    assert.throws(
      () => parseSyslog(line(parameters)),
      (error) => error instanceof ConfigError && error.message === message,
      parameters,
    );
  }
});

test("lines arrive over UDP in the form of RFC 3164", async (t) => {
  const server = createSocket("udp4");
  t.after(() => server.close());
  await new Promise<void>((resolve) => server.bind(0, "127.0.0.1", resolve));
  const messages: string[] = [];
  const arrived = new Promise<void>((resolve) => {
    server.on("message", (bytes) => {
      messages.push(bytes.toString("latin1"));
      if (messages.length === 2) resolve();
    });
  });
  const { port } = server.address();
  const hosts = { "logs.example": [{ family: "ipv4", host: "127.0.0.1", port: 0 }] } as const;
  openSyslog(parseSyslog(line(`server=logs.example:${port},tag=t,nohostname`)), hosts).send("first \xe9");
  openSyslog(parseSyslog(line(`server=127.0.0.1:${port},facility=user,tag=t`)), {}).send("second", 3);
  await arrived;
  messages.sort();
  const time = "\\w{3} [ \\d]\\d \\d\\d:\\d\\d:\\d\\d";
  assert.match(messages[0], new RegExp(`^<11>${time} ${hostname()} t: second$`));
  assert.match(messages[1], new RegExp(`^<190>${time} t: first \\xe9$`));
});
