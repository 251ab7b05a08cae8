import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { cannedBackend, httpBackend, tcpBackend } from "../support/backend.ts";
import { runHoldfast, startHoldfast } from "../support/holdfast.ts";
import { freePort } from "../support/ports.ts";
import { get, RawConnection, request } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/** Starts Holdfast with these lines in a server; `http` stands before it. */
function start(t: TestContext, server: string, http = "") {
  return startHoldfast(t, {
    config: ([port]) =>
      `http { log_format up "$uri $status [$upstream_addr] [$upstream_status] [$upstream_response_length]";
        access_log logs/access.log up; ${http}
        server { listen 127.0.0.1:${port}; ${server} } }`,
  });
}

test("a server that refuses is passed over, and $upstream_addr and $upstream_status name both", async (t) => {
  const dead = `127.0.0.1:${await freePort()}`;
  const { address } = await cannedBackend(t, OK);
  const holdfast = await start(
    t,
    "location / { proxy_pass http://u; }",
    `upstream u { server ${dead}; server ${address} backup; }`,
  );
  const response = await get(holdfast.port, "/a");
  assert.equal(response.body, "ok");
  await holdfast.waitForLog(
    new RegExp(`/a 200 \\[${dead}, ${address}\\] \\[502, 200\\] \\[0, 2\\]`),
    "logs/access.log",
  );
  await holdfast.waitForLog(
    /connect\(\) failed \(111: Connection refused\) while connecting to upstream, client: 127\.0\.0\.1,/,
  );
});

test("states of passages after X-Accel-Redirect and error_page are joined by a colon", async (t) => {
  const first = await cannedBackend(t, "HTTP/1.1 200 OK\r\nX-Accel-Redirect: /second\r\nContent-Length: 0\r\n\r\n");
  const second = await cannedBackend(t, OK);
  const holdfast = await start(
    t,
    `location /first { proxy_pass http://${first.address}; }
     location /second { internal; proxy_pass http://${second.address}; add_header X-Up "$upstream_addr $upstream_status"; }
     location /fails { proxy_pass http://127.0.0.1:${await freePort()}; error_page 502 /second; }`,
  );
  const redirected = await get(holdfast.port, "/first");
  assert.equal(redirected.header("x-up"), `${first.address} : ${second.address} 200 : 200`);
  const paged = await get(holdfast.port, "/fails");
  assert.equal(paged.status, 502);
  assert.equal(paged.body, "ok");
});

test("what may be tried again: not a POST that was sent, unless non_idempotent says so", async (t) => {
  const bad = await cannedBackend(t, "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n");
  const good = await cannedBackend(t, OK);
  const holdfast = await start(
    t,
    `location / { proxy_next_upstream http_503 error; proxy_pass http://u; }
     location /all { proxy_next_upstream http_503 non_idempotent; proxy_pass http://u; }
     location /once { proxy_next_upstream http_503; proxy_next_upstream_tries 1; proxy_pass http://u; }`,
    `upstream u { server ${bad.address} max_fails=0; server ${good.address} backup; }`,
  );
  const post = (path: string) =>
    request(holdfast.port, `POST ${path} HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbody`);
  assert.equal((await get(holdfast.port, "/")).status, 200);
  assert.equal((await post("/")).status, 503);
  assert.equal((await post("/all")).status, 200);
  assert.equal((await get(holdfast.port, "/once")).status, 503);
});

test("a pooled connection that died meanwhile costs no request", async (t) => {
  const backend = await tcpBackend(t, async (connection) => {
    while ((await connection.readHeader()) !== undefined) {
      connection.write(OK);
      // The second request on the first connection meets a reset.
      if (connection.number === 1) {
        await connection.readHeader();
        connection.reset();
        return;
      }
    }
  });
  const holdfast = await start(
    t,
    `location / { proxy_pass http://u; proxy_http_version 1.1; proxy_set_header Connection ""; }`,
    `upstream u { server ${backend.address}; keepalive 4; }`,
  );
  assert.equal((await get(holdfast.port, "/")).status, 200);
  assert.equal((await get(holdfast.port, "/")).status, 200);
  assert.equal(backend.connections, 2);
});

test("$upstream_http_ and $upstream_cookie_ still say what this request's server answered while the client is slow", async (t) => {
  const body = "x".repeat(4 * 1024 * 1024);
  const backend = await httpBackend(t, (incoming, response) => {
    const name = incoming.url === "/slow" ? "slow" : "quick";
    response.writeHead(200, { "X-Name": name, "Set-Cookie": `id=${name}; Path=/` });
    response.end(name === "slow" ? body : "ok");
  });
  const holdfast = await startHoldfast(t, {
    config: ([port]) => `http { log_format up "$uri $upstream_http_x_name $upstream_cookie_id";
      access_log logs/access.log up; upstream u { server ${backend.address}; keepalive 1; }
      server { listen 127.0.0.1:${port}; location / { proxy_pass http://u; proxy_buffers 2048 4k;
        proxy_http_version 1.1; proxy_set_header Connection ""; } } }`,
  });
  const slow = await RawConnection.open(holdfast.port);
  slow.socket.pause();
  slow.write("GET /slow HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  // Once the slow client's response has been read whole, its connection serves others.
  await waitFor(async () => {
    await get(holdfast.port, "/quick");
    return backend.connections === 2 && (await get(holdfast.port, "/quick")).status === 200 ? true : undefined;
  });
  slow.socket.resume();
  const whole = await slow.readAll();
  assert.equal(whole.length - whole.indexOf("\r\n\r\n") - 4 >= body.length, true);
  await holdfast.waitForLog(/^\/slow slow slow$/m, "logs/access.log");
});

test("a response that breaks off closes the client's connection, and is logged", async (t) => {
  const { address } = await cannedBackend(t, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
  const chunked = await cannedBackend(t, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n");
  const holdfast = await start(
    t,
    `location / { proxy_pass http://${address}; } location /chunked { proxy_pass http://${chunked.address}; }`,
  );
  for (const path of ["/", "/chunked"]) {
    const client = await RawConnection.open(holdfast.port);
    client.write(`GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`);
    const all = await client.readAll();
    assert.match(all, /half/);
    assert.doesNotMatch(all, /\r\n0\r\n\r\n/);
    assert.equal(client.ended, true);
  }
  await holdfast.waitForLog(/upstream prematurely closed connection while reading upstream, client: /);
});

test("answers that cannot be used are 502, and the next server's are used", async (t) => {
  const invalid = await cannedBackend(t, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n");
  const silent = await tcpBackend(t, async (connection) => {
    await connection.readHeader();
    connection.end();
  });
  const stuck = await tcpBackend(t, () => {});
  const good = await cannedBackend(t, OK);
  const holdfast = await start(
    t,
    `location /invalid { proxy_pass http://${invalid.address}; }
     location /silent { proxy_pass http://${silent.address}; }
     location /stuck { proxy_pass http://${stuck.address}; proxy_read_timeout 100ms; }
     location /next { proxy_pass http://u; proxy_read_timeout 1s; proxy_next_upstream error timeout invalid_header; }`,
    `upstream u { server ${invalid.address}; server ${silent.address}; server ${stuck.address}; server ${good.address} backup; }`,
  );
  assert.equal((await get(holdfast.port, "/invalid")).status, 502);
  assert.equal((await get(holdfast.port, "/silent")).status, 502);
  assert.equal((await get(holdfast.port, "/stuck")).status, 504);
  assert.equal((await get(holdfast.port, "/next")).body, "ok");
  await holdfast.waitForLog(
    /"Content-Length" and "Transfer-Encoding" headers at the same time while reading response header/,
  );
  await holdfast.waitForLog(/upstream prematurely closed connection while reading response header from upstream/);
  await holdfast.waitForLog(
    /upstream timed out \(110: Connection timed out\) while reading response header from upstream/,
  );
});

test("more than Content-Length says is left out, and the connection is not used again", async (t) => {
  const backend = await cannedBackend(t, `${OK}HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil`, { keep: true });
  const empty = await cannedBackend(t, "HTTP/1.1 204 Nothing\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", {
    keep: true,
  });
  const holdfast = await start(
    t,
    "location / { proxy_pass http://u; } location /empty { proxy_pass http://e; }",
    `upstream u { server ${backend.address}; keepalive 1; } upstream e { server ${empty.address}; keepalive 1; }`,
  );
  for (let i = 0; i < 2; i++) {
    assert.equal((await get(holdfast.port, "/")).body, "ok");
    assert.equal((await get(holdfast.port, "/empty")).status, 204);
  }
  assert.deepEqual([backend.connections, empty.connections], [2, 2]);
  await holdfast.waitForLog(/upstream sent more data than specified in "Content-Length" header while reading upstream/);
});

test("early hints go to clients that early_hints chooses; other informational answers stay", async (t) => {
  const hints = "HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\nX-Pad: x\r\n\r\n";
  const { address } = await cannedBackend(t, `HTTP/1.1 102 Processing\r\n\r\n${hints}${OK}`);
  const holdfast = await start(t, `location / { early_hints $http_sec_fetch_mode; proxy_pass http://${address}; }`);
  const plain = await get(holdfast.port, "/");
  assert.deepEqual([plain.status, plain.body], [200, "ok"]);
  const client = await RawConnection.open(holdfast.port);
  client.write("GET / HTTP/1.1\r\nHost: a\r\nSec-Fetch-Mode: navigate\r\nConnection: close\r\n\r\n");
  const all = await client.readAll();
  assert.match(all, /^HTTP\/1\.1 103 Early Hints\r\nLink: <\/style\.css>; rel=preload\r\n\r\nHTTP\/1\.1 200 OK\r\n/);
});

test("trailers: to the client with proxy_pass_trailers, and in $upstream_trailer_", async (t) => {
  const { address } = await cannedBackend(
    t,
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 42\r\n\r\n",
  );
  const holdfast = await startHoldfast(t, {
    config: ([port]) => `http { log_format up "$uri $upstream_trailer_x_sum"; access_log logs/access.log up;
      server { listen 127.0.0.1:${port}; location / { proxy_pass http://${address}; }
        location /pass { proxy_pass http://${address}; proxy_pass_trailers on; } } }`,
  });
  assert.doesNotMatch((await get(holdfast.port, "/")).raw, /X-Sum/);
  assert.match((await get(holdfast.port, "/pass")).raw, /\r\n0\r\nX-Sum: 42\r\n\r\n$/);
  await holdfast.waitForLog(/^\/ 42\n\/pass 42$/m, "logs/access.log");
});

test("X-Accel-Limit-Rate and X-Accel-Buffering are heeded, unless ignored", async (t) => {
  const backend = await cannedBackend(
    t,
    "HTTP/1.1 200 OK\r\nX-Accel-Buffering: no\r\nX-Accel-Limit-Rate: 1000\r\nContent-Length: 2\r\n\r\nok",
  );
  const holdfast = await start(
    t,
    `location / { proxy_pass http://${backend.address}; add_header X-Rate $limit_rate; }
     location /ignored { proxy_pass http://${backend.address}; add_header X-Rate $limit_rate;
       proxy_ignore_headers X-Accel-Limit-Rate X-Accel-Buffering; }
     location /limited { proxy_pass http://${backend.address}; add_header X-Rate $limit_rate;
       proxy_ignore_headers X-Accel-Buffering; }`,
  );
  assert.equal(
    (await get(holdfast.port, "/")).header("x-rate"),
    "0",
    "without buffering the client's rate is the server's",
  );
  assert.equal((await get(holdfast.port, "/limited")).header("x-rate"), "1000");
  assert.equal((await get(holdfast.port, "/ignored")).header("x-rate"), "0");
});

test("the configuration is refused in nginx's words", async (t) => {
  const refused = async (lines: string) => {
    const config = `http { server { listen 127.0.0.1:1; ${lines} } }`;
    return (await runHoldfast(t, { config, args: ["-t"] })).stderr;
  };
  const inside = (lines: string) => refused(`location / { proxy_pass http://127.0.0.1:1; ${lines} }`);
  assert.match(await inside("proxy_buffers 1 4k;"), /there must be at least 2 "proxy_buffers" in/);
  assert.match(
    await inside("proxy_busy_buffers_size 1k;"),
    /"proxy_busy_buffers_size" must be equal to or greater than/,
  );
  assert.match(
    await inside("proxy_max_temp_file_size 1;"),
    /"proxy_max_temp_file_size" must be equal to zero to disable/,
  );
  assert.match(await inside("proxy_bind nowhere;"), /invalid address "nowhere" in/);
  assert.match(await inside("resolver 127.0.0.1 ipv4=off ipv6=off;"), /"ipv4" and "ipv6" cannot both be "off" in/);
  assert.match(await inside("resolver valid=1s;"), /no name servers defined in/);
  assert.match(
    await refused("location ~ /a { proxy_pass http://127.0.0.1:1/uri; }"),
    /"proxy_pass" cannot have URI part in location given by regular expression/,
  );
  assert.match(await refused("location / { proxy_pass ftp://127.0.0.1:1; }"), /invalid URL prefix in/);
});

test("a name in proxy_pass is looked up when the configuration is loaded, and one that is unknown refused", async (t) => {
  const { port } = await cannedBackend(t, OK);
  const holdfast = await start(
    t,
    `location / { proxy_pass http://localhost:${port}/; proxy_connect_timeout 1s; add_header X-Host "$proxy_host $proxy_port"; }`,
  );
  const response = await get(holdfast.port, "/");
  assert.deepEqual([response.body, response.header("x-host")], ["ok", `localhost:${port} ${port}`]);
  const config = "http { server { location / { proxy_pass http://no-such-host.invalid:8080/x; } } }";
  const { stderr } = await runHoldfast(t, { config, args: ["-t"] });
  assert.match(stderr, /\[emerg\] host not found in upstream "no-such-host\.invalid" in .*:1/);
});

test("Server and Date are the server's where they are passed on, even if it sends none", async (t) => {
  const { address } = await tcpBackend(t, async (connection) => {
    const head = await connection.readHeader();
    connection.write(head?.includes("/theirs") ? OK.replace("OK\r\n", "OK\r\nServer: it\r\nDate: now\r\n") : OK);
    connection.end();
  });
  const holdfast = await start(
    t,
    `location / { proxy_pass http://${address}; proxy_pass_header Server; proxy_pass_header Date; add_header X-Sent "[$sent_http_server$sent_http_date]"; }
     location /date { proxy_pass http://${address}; proxy_pass_header date; }`,
  );
  const fields = async (path: string) => {
    const response = await get(holdfast.port, path);
    return ["server", "date", "x-sent"].map((name) => response.header(name));
  };
  assert.deepEqual(await fields("/theirs"), ["it", "now", "[itnow]"]);
  assert.deepEqual(await fields("/"), [undefined, undefined, "[]"]);
  const [server, date] = await fields("/date");
  assert.match(`${server} ${date}`, /^holdfast\/[0-9.]+ undefined$/);
});
