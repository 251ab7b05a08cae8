import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { defaultListen, type ListenOptions, parseListen, resolvedAddresses } from "../../../src/http/conf/listen.ts";
import {
  addListen,
  type ListenTable,
  listenSockets,
  newListenTable,
  servedOn,
} from "../../../src/http/conf/listen_table.ts";
import { addressText } from "../../../src/net/address.ts";
import { checkConfig, NGINX } from "../../support/reference_nginx.ts";

function textOf(line: string): string {
  const parsed = parseListen(line.split(" "));
  assert.ok(!("error" in parsed), "error" in parsed ? parsed.error : "");
  const { place } = parsed;
  if ("host" in place) return `${place.host} ${place.firstPort}-${place.lastPort}`;
  return place.addresses.map(addressText).join(" ");
}

function optionsOf(line: string): ListenOptions {
  const parsed = parseListen(line.split(" "));
  assert.ok(!("error" in parsed));
  return parsed.options;
}

describe("listen", () => {
  test("addresses", () => {
    assert.equal(textOf("80"), "0.0.0.0:80");
    assert.equal(textOf("*:8080"), "0.0.0.0:8080");
    assert.equal(textOf("127.0.0.1"), "127.0.0.1:80");
    assert.equal(textOf("127.0.0.1:81"), "127.0.0.1:81");
    assert.equal(textOf("8080-8082"), "0.0.0.0:8080 0.0.0.0:8081 0.0.0.0:8082");
    assert.equal(textOf("[::]:80-81"), "[::]:80 [::]:81");
    assert.equal(textOf("[2001:DB8:0:0:0:0:0:1]"), "[2001:db8::1]:80");
    assert.equal(textOf("[::ffff:10.0.0.1]:80"), "[::ffff:10.0.0.1]:80");
    assert.equal(textOf("unix:/run/x.sock"), "unix:/run/x.sock");
    assert.equal(textOf("localhost:8000"), "localhost 8000-8000");
    assert.equal(textOf("my-host"), "my-host 80-80");
  });

  test("host names are resolved afterwards, over the range of ports", () => {
    const parsed = parseListen(["localhost:80-81"]);
    assert.ok(!("error" in parsed));
    const addresses = resolvedAddresses(parsed, "localhost:80-81", ["127.0.0.1", "::1", "127.0.0.1"]);
    assert.ok(!("error" in addresses));
    assert.deepEqual(addresses.map(addressText), ["127.0.0.1:80", "127.0.0.1:81", "[::1]:80", "[::1]:81"]);
    assert.deepEqual(resolvedAddresses(parsed, "localhost:80-81", []), {
      error: 'host not found in "localhost:80-81" of the "listen" directive',
    });
  });

  test("parameters", () => {
    const options = optionsOf("80 default_server backlog=100 rcvbuf=8k sndbuf=1m fastopen=3 deferred ipv6only=off");
    assert.deepEqual(
      { ...options },
      {
        ...optionsOf("80"),
        set: true,
        bind: true,
        defaultServer: true,
        backlog: 100,
        rcvbuf: 8192,
        sndbuf: 1048576,
        fastopen: 3,
        deferred: true,
        ipv6only: false,
      },
    );
    assert.deepEqual(optionsOf("80 so_keepalive=30m::10").soKeepalive, { idle: 1800, interval: undefined, count: 10 });
    assert.deepEqual(optionsOf("80 so_keepalive=:5").soKeepalive, { idle: undefined, interval: 5, count: undefined });
    assert.equal(optionsOf("80 so_keepalive=off").soKeepalive, "off");
    assert.equal(optionsOf("80 proxy_protocol").set, false);
    assert.equal(optionsOf("80").backlog, 511);
  });

  test("what is not there yet says so", () => {
    for (const parameter of ["quic"]) {
      const parsed = parseListen(["443", parameter]);
      assert.ok("error" in parsed);
      assert.match(parsed.error, /known to nginx but not available in Holdfast yet/);
    }
  });

  test("nothing at all", () => {
    assert.equal(addressText((defaultListen(true).place as { addresses: never[] }).addresses[0]), "0.0.0.0:80");
    assert.equal(addressText((defaultListen(false).place as { addresses: never[] }).addresses[0]), "0.0.0.0:8000");
  });
});

/** Lines nginx refuses, or says something about. */
const SENTENCES: readonly (readonly [line: string, message: string])[] = [
  ["0", 'invalid port in "0" of the "listen" directive'],
  ["65536", 'invalid port in "65536" of the "listen" directive'],
  ["80-70", 'invalid port range in "80-70" of the "listen" directive'],
  ["80-0", 'invalid port in "80-0" of the "listen" directive'],
  ["127.0.0.1:x", 'invalid port in "127.0.0.1:x" of the "listen" directive'],
  ["127.0.0.1:", 'invalid port in "127.0.0.1:" of the "listen" directive'],
  ["127.0.0.1:90-80", 'invalid port range in "127.0.0.1:90-80" of the "listen" directive'],
  ["127.0.0.1:80/x", 'invalid host in "127.0.0.1:80/x" of the "listen" directive'],
  [":80", 'no host in ":80" of the "listen" directive'],
  ["[]:80", 'no host in "[]:80" of the "listen" directive'],
  ["[::1", 'invalid host in "[::1" of the "listen" directive'],
  ["[::1]80", 'invalid host in "[::1]80" of the "listen" directive'],
  ["[1:2]:80", 'invalid IPv6 address in "[1:2]:80" of the "listen" directive'],
  ["unix:", 'no path in the unix domain socket in "unix:" of the "listen" directive'],
  [
    `unix:/${"x".repeat(107)}`,
    `too long path in the unix domain socket in "unix:/${"x".repeat(107)}" of the "listen" directive`,
  ],
  ["8099 what", 'invalid parameter "what"'],
  ["8099 what=1", 'invalid parameter "what=1"'],
  ["8099 backlog=0", 'invalid backlog "backlog=0"'],
  ["8099 backlog=", 'invalid backlog "backlog="'],
  ["8099 rcvbuf=1g", 'invalid rcvbuf "rcvbuf=1g"'],
  ["8099 sndbuf=x", 'invalid sndbuf "sndbuf=x"'],
  ["8099 fastopen=-1", 'invalid fastopen "fastopen=-1"'],
  ["8099 ipv6only=oops", 'invalid ipv6only flags "oops"'],
  ["8099 ipv6only=yes", 'invalid parameter "ipv6only=yes"'],
  ["8099 so_keepalive=", 'invalid so_keepalive value: ""'],
  ["8099 so_keepalive=1:2:x", 'invalid so_keepalive value: "1:2:x"'],
  ["8099 so_keepalive=0:0:0", 'invalid so_keepalive value: "0:0:0"'],
  ["8099 setfib=1", 'invalid parameter "setfib=1"'],
  ["8099 accept_filter=x", 'accept filters "accept_filter=x" are not supported on this platform, ignored'],
];

test("bad lines are refused in nginx's words", () => {
  for (const [line, message] of SENTENCES) {
    const parsed = parseListen(line.split(" "));
    assert.equal("error" in parsed ? parsed.error : parsed.warnings[0], message);
  }
});

/** Adds each server's lines; the table, and everything said. */
function tableOf(servers: readonly (readonly string[])[]): {
  readonly table: ListenTable<number>;
  readonly said: string[];
} {
  const table = newListenTable<number>();
  const said: string[] = [];
  for (const [server, lines] of servers.entries()) {
    for (const line of lines) {
      const parsed = parseListen(line.split(" "));
      assert.ok(!("error" in parsed) && "addresses" in parsed.place);
      for (const address of parsed.place.addresses) {
        const result = addListen(table, server, address, parsed.options);
        if ("error" in result) return { table, said: [...said, result.error] };
        said.push(...result);
      }
    }
  }
  return { table, said };
}

/** Servers whose lines get in each other's way, and all nginx says. */
const CONFLICTS: readonly (readonly [servers: readonly (readonly string[])[], said: readonly string[]])[] = [
  [[["8099", "8099"]], ["a duplicate listen 0.0.0.0:8099"]],
  [[["8099", "*:8099"]], ["a duplicate listen 0.0.0.0:8099"]],
  [[["8099 bind"], ["8099 backlog=5"]], ["duplicate listen options for 0.0.0.0:8099"]],
  [[["8099 default_server"], ["8099 default"]], ["a duplicate default server for 0.0.0.0:8099"]],
  [[["8099 proxy_protocol"], ["8099"]], []],
  [[["8099"], ["8099 proxy_protocol"]], []],
  [[["8099 bind"], ["8099 proxy_protocol"]], ["protocol options redefined for 0.0.0.0:8099"]],
  [[["8099 proxy_protocol"], ["8099 bind"]], ["protocol options redefined for 0.0.0.0:8099"]],
  [[["8099 proxy_protocol"], ["8099"], ["8099 proxy_protocol"]], ["protocol options redefined for 0.0.0.0:8099"]],
  [[["8099"], ["8099 proxy_protocol"], ["8099"]], []],
  [[["8099"], ["8099"], ["8099 proxy_protocol"]], []],
  [[["8099 ssl"], ["8099"]], []],
  [[["8099 ssl bind"], ["8099 ssl"]], []],
  [[["8099 ssl"], ["8099 proxy_protocol"]], ["protocol options redefined for 0.0.0.0:8099"]],
  [[["8099 ssl bind"], ["8099 ssl proxy_protocol"]], ["protocol options redefined for 0.0.0.0:8099"]],
  [[["8099 ssl"], ["8099"], ["8099 ssl"]], ["protocol options redefined for 0.0.0.0:8099"]],
];

describe("listening addresses together", () => {
  test("conflicts in nginx's words", () => {
    for (const [servers, said] of CONFLICTS) assert.deepEqual(tableOf(servers).said, said, JSON.stringify(servers));
  });

  test("the first server is the default one unless another says so", () => {
    const { table } = tableOf([["80"], ["80 default_server"], ["81", "80 backlog=7"]]);
    const entry = table.addresses.get("0.0.0.0:80");
    assert.equal(entry?.defaultServer, 1);
    assert.deepEqual(entry?.servers, [0, 1, 2]);
    assert.equal(entry?.options.backlog, 7);
    assert.equal(entry?.options.defaultServer, true);
    assert.equal(table.addresses.get("0.0.0.0:81")?.defaultServer, 2);
  });

  test("a wildcard socket serves the port's other addresses, but those that bind themselves", () => {
    const { table } = tableOf([
      ["10.0.0.1:80"],
      ["80"],
      ["10.0.0.2:80 bind"],
      ["10.0.0.3:81"],
      ["[::1]:80"],
      ["unix:/a"],
    ]);
    const sockets = listenSockets(table);
    assert.deepEqual(
      sockets.map((socket) => [addressText(socket.address), socket.serves.map(({ text }) => text)]),
      [
        ["10.0.0.2:80", ["10.0.0.2:80"]],
        ["0.0.0.0:80", ["10.0.0.1:80", "0.0.0.0:80"]],
        ["10.0.0.3:81", ["10.0.0.3:81"]],
        ["[::1]:80", ["[::1]:80"]],
        ["unix:/a", ["unix:/a"]],
      ],
    );
    assert.equal(servedOn(sockets[1].serves, { family: "ipv4", host: "10.0.0.1", port: 80 }).defaultServer, 0);
    assert.equal(servedOn(sockets[1].serves, { family: "ipv4", host: "10.9.9.9", port: 80 }).defaultServer, 1);
  });
});

describe("beside nginx", { skip: NGINX === undefined }, () => {
  test("the sentences are the same", () => {
    for (const [line, message] of SENTENCES) {
      assert.deepEqual(checkConfig(`server { listen ${line}; }`).slice(0, 1), [message]);
    }
  });

  test("conflicts are told the same", () => {
    for (const [servers, said] of CONFLICTS) {
      const config = servers.map(
        (lines, i) => `server { server_name s${i}; ${lines.map((line) => `listen ${line};`).join(" ")} }`,
      );
      // The sentence on protocols came with 1.25; an older nginx is silent there.
      const older = (sentence: string): boolean => !/^protocol options redefined|^no "ssl_certificate"/.test(sentence);
      assert.deepEqual(checkConfig(config.join("\n")).filter(older), said.filter(older), JSON.stringify(servers));
    }
  });
});
