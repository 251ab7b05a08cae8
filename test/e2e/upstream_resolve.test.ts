import assert from "node:assert/strict";
import { createServer, type Server } from "node:http";
import { type TestContext, test } from "node:test";
import { type Answer, a, cname, nameServer, srv, TYPE } from "../support/dns.ts";
import { type Running, startHoldfast } from "../support/holdfast.ts";
import { freePort } from "../support/ports.ts";
import { checkersOf, workersOf } from "../support/processes.ts";
import { get } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

const ONE = "127.0.0.1";
const TWO = "127.0.0.2";

/** A server on each of these addresses, at one port, that answers with its address; a request for /slow waits for `release`. */
async function serversOn(t: TestContext, ...hosts: readonly string[]) {
  const port = await freePort();
  const waiting: (() => void)[] = [];
  const servers = new Map<string, Server>();
  /** Connections that are open, by host. */
  const open = new Map<string, number>();
  for (const host of hosts) {
    const server = createServer((request, response) => {
      if (request.url === "/slow") waiting.push(() => response.end(host));
      else response.end(host);
    });
    server.on("connection", (socket) => {
      open.set(host, (open.get(host) ?? 0) + 1);
      socket.on("close", () => open.set(host, (open.get(host) ?? 0) - 1));
    });
    await new Promise<void>((resolve) => server.listen(port, host, resolve));
    servers.set(host, server);
    t.after(() => {
      server.close();
      server.closeAllConnections();
    });
  }
  const release = () => {
    for (const answer of waiting.splice(0)) answer();
  };
  return { port, open, waiting, release };
}

/** A name server whose every name has the addresses in `answers.now`; an Answer there is given to every question. */
async function movingNames(t: TestContext, first: readonly string[] | Answer) {
  const answers = { now: first };
  const dns = await nameServer(t, ({ type }) => {
    const { now } = answers;
    if (!Array.isArray(now)) return now as Answer;
    return type === TYPE.a ? { records: now.map((address) => a(1, address)) } : {};
  });
  return { dns, answers };
}

const bodyOf = async (holdfast: Running) => (await get(holdfast.port, "/")).body;

/** What `add_header X-Server $upstream_addr` says. */
async function serverOf(holdfast: Running): Promise<string> {
  const { headers } = await get(holdfast.port, "/");
  return headers.find(([name]) => name.toLowerCase() === "x-server")?.[1] ?? "none";
}

/** Waits until these and no other servers answer. */
function servedBy(holdfast: Running, ...hosts: readonly string[]): Promise<unknown> {
  return waitFor(async () => {
    const bodies = new Set<string>();
    for (let i = 0; i < 4; i++) bodies.add(await bodyOf(holdfast));
    return [...bodies].sort().join() === [...hosts].sort().join();
  }, `answers of ${hosts.join()} alone`);
}

test("the servers of a name come and go with its addresses, in every worker", async (t) => {
  const { port } = await serversOn(t, ONE, TWO);
  const { dns, answers } = await movingNames(t, [ONE]);
  const holdfast = await startHoldfast(t, {
    config: ([listen]) => `worker_processes 2; http { resolver ${dns.address} ipv6=off;
      upstream u { zone u 64k; server moving.test:${port} resolve; }
      server { listen ${listen}; location / { proxy_pass http://u; } } }`,
  });
  await servedBy(holdfast, ONE);
  answers.now = [TWO];
  await servedBy(holdfast, TWO);
  answers.now = [ONE, TWO];
  await servedBy(holdfast, ONE, TWO);
  answers.now = { code: 3 };
  await waitFor(async () => (await get(holdfast.port, "/")).status === 502, "no servers, as nginx has it");
  await holdfast.waitForLog(/\[error\] \d+#\d+: moving\.test could not be resolved \(3: Host not found\)\n/);
});

test("while addresses change there is always a server, also where checks hold new ones to be down", async (t) => {
  const { port } = await serversOn(t, ONE, TWO);
  const { dns, answers } = await movingNames(t, [ONE]);
  const holdfast = await startHoldfast(t, {
    config: ([listen]) => `http { resolver ${dns.address} ipv6=off;
      upstream u { zone u 64k; server moving.test:${port} resolve; check interval=100 rise=2 fall=2 type=tcp; }
      server { listen ${listen}; location / { proxy_pass http://u; }
        location = /status { check_status json; } } }`,
  });
  await servedBy(holdfast, ONE);
  const statuses = new Map<number, number>();
  let over = false;
  const load = (async () => {
    while (!over) {
      const { status } = await get(holdfast.port, "/");
      statuses.set(status, (statuses.get(status) ?? 0) + 1);
    }
  })();
  for (const next of [[TWO], [ONE], [ONE, TWO], [TWO]]) {
    answers.now = next;
    await servedBy(holdfast, ...next);
  }
  over = true;
  await load;
  assert.deepEqual([...statuses.keys()], [200]);
  const shown = async () => {
    const { servers } = JSON.parse((await get(holdfast.port, "/status")).body);
    return servers.server.map(
      ({ name, status, rise }: Record<string, unknown>) => `${name} ${status} ${Number(rise) > 1}`,
    );
  };
  await waitFor(async () => (await shown()).join() === `${TWO}:${port} up true`, "the status page");
});

test("a server that fails its checks is left out when its address comes, and a name's two addresses are checked each", async (t) => {
  const { port } = await serversOn(t, ONE);
  const { dns, answers } = await movingNames(t, [ONE]);
  const holdfast = await startHoldfast(t, {
    config: ([listen]) => `http { resolver ${dns.address} ipv6=off;
      upstream u { zone u 64k; server moving.test:${port} resolve; check interval=100 rise=1 fall=1 type=tcp; }
      server { listen ${listen}; location / { proxy_pass http://u; } location = /status { check_status csv; } } }`,
  });
  await servedBy(holdfast, ONE);
  answers.now = [ONE, TWO];
  await waitFor(
    async () => (await get(holdfast.port, "/status")).body.includes(`${TWO}:${port},down`),
    "a second server, down",
  );
  for (let i = 0; i < 6; i++) assert.equal(await bodyOf(holdfast), ONE);
  await holdfast.waitForLog(new RegExp(`check peer is down: 127\\.0\\.0\\.2:${port}`));
});

test("a request in flight to a server that goes is finished, and idle connections to it are closed", async (t) => {
  const backend = await serversOn(t, ONE, TWO);
  const { dns, answers } = await movingNames(t, [ONE]);
  const holdfast = await startHoldfast(t, {
    config: ([listen]) => `worker_processes 1; http { resolver ${dns.address} ipv6=off; keepalive_timeout 60s;
      upstream u { zone u 64k; server moving.test:${backend.port} resolve; keepalive 8; }
      server { listen ${listen}; location / { proxy_pass http://u; } } }`,
  });
  await servedBy(holdfast, ONE);
  const slow = get(holdfast.port, "/slow");
  await waitFor(() => backend.waiting.length === 1);
  await bodyOf(holdfast);
  assert.equal(backend.open.get(ONE), 2, "one at work, one idle");
  answers.now = [TWO];
  // No request is made here: the worker sees for itself.
  await waitFor(() => backend.open.get(ONE) === 1, "the idle connection closed");
  backend.release();
  assert.equal((await slow).body, ONE);
  await waitFor(() => backend.open.get(ONE) === 0, "the other closed when its request was over");
});

test("a name that cannot be resolved keeps its addresses, over a reload to another port too", async (t) => {
  const first = await serversOn(t, ONE);
  const second = await serversOn(t, ONE);
  const { dns, answers } = await movingNames(t, [ONE]);
  const config = (listen: number, port: number) => `http { resolver ${dns.address} ipv6=off; resolver_timeout 1s;
      upstream u { zone u 64k; server moving.test:${port} resolve max_fails=0; }
      server { listen ${listen}; location / { proxy_pass http://u; add_header X-Server $upstream_addr always; } } }`;
  const holdfast = await startHoldfast(t, { config: ([listen]) => config(listen, first.port) });
  await servedBy(holdfast, ONE);
  answers.now = { code: 2 };
  await holdfast.waitForLog(/moving\.test could not be resolved \(2: Server failure\)/);
  assert.equal(await bodyOf(holdfast), ONE);
  const asked = dns.questions.length;
  const began = performance.now();
  assert.equal(await holdfast.reload(config(holdfast.port, second.port)), true);
  assert.equal(await serverOf(holdfast), `${ONE}:${second.port}`);
  // A name is asked about once a second at most.
  const most = 1 + (performance.now() - began) / 1000;
  assert.ok(dns.questions.length - asked <= most, "a reload asks nothing before its time");
});

test("addresses outlive the checker and the workers", async (t) => {
  const { port } = await serversOn(t, ONE);
  const { dns, answers } = await movingNames(t, [ONE]);
  const holdfast = await startHoldfast(t, {
    config: ([listen]) => `worker_processes 1; http { resolver ${dns.address} ipv6=off; resolver_timeout 1s;
      upstream u { zone u 64k; server moving.test:${port} resolve; }
      server { listen ${listen}; location / { proxy_pass http://u; } } }`,
  });
  await servedBy(holdfast, ONE);
  answers.now = { code: 2 };
  const [checker] = checkersOf(holdfast.pid);
  process.kill(checker, "SIGKILL");
  await waitFor(() => checkersOf(holdfast.pid).some((pid) => pid !== checker), "another checker");
  const [worker] = workersOf(holdfast.pid);
  process.kill(worker, "SIGKILL");
  await waitFor(() => workersOf(holdfast.pid).some((pid) => pid !== worker), "another worker");
  assert.equal(await bodyOf(holdfast), ONE);
  await holdfast.waitForLog(/moving\.test could not be resolved \(2: Server failure\)/);
  assert.equal(await bodyOf(holdfast), ONE, "the new checker could not resolve it");
});

test("a name with many addresses, whose servers share TLS sessions, outlives a reload and a worker", async (t) => {
  const hosts = Array.from({ length: 40 }, (_, i) => `127.0.1.${i + 1}`);
  const { port } = await serversOn(t, ...hosts);
  const { dns } = await movingNames(t, hosts);
  const config = ([listen]: readonly number[]) => `worker_processes 1; http { resolver ${dns.address} ipv6=off;
      upstream u { zone u 64k; server moving.test:${port} resolve; }
      server { listen ${listen}; location / { proxy_pass http://u; } location /tls { proxy_pass https://u; } } }`;
  const holdfast = await startHoldfast(t, { config });
  await waitFor(async () => hosts.includes(await bodyOf(holdfast)), "the name resolved");
  assert.equal(await holdfast.reload(config(holdfast.ports)), true);
  const [worker] = workersOf(holdfast.pid);
  process.kill(worker, "SIGKILL");
  await waitFor(() => workersOf(holdfast.pid).some((pid) => pid !== worker), "another worker");
  await waitFor(async () => hosts.includes(await bodyOf(holdfast)), "an answer of the new worker");
});

test("a service's servers have the ports and weights of its records, and are backups where others come first", async (t) => {
  const first = await serversOn(t, ONE);
  const second = await serversOn(t, ONE, TWO);
  const hosts: Record<string, string> = { "one.test": ONE, "two.test": TWO };
  let records = [srv(1, 1, 3, first.port, "one.test"), srv(1, 1, 1, second.port, "two.test")];
  const dns = await nameServer(t, ({ name, type }) => {
    if (name === "_http._tcp.shop.test") return type === TYPE.srv ? { records } : {};
    if (name === "mute.test") return { code: 2 };
    return type === TYPE.a ? { records: [a(1, hosts[name])] } : {};
  });
  const holdfast = await startHoldfast(t, {
    config: ([listen]) => `worker_processes 1; http { resolver ${dns.address} ipv6=off; resolver_timeout 1s;
      upstream u { zone u 64k; server shop.test service=http resolve; }
      server { listen ${listen}; location / { proxy_pass http://u; add_header X-Server $upstream_addr; } } }`,
  });
  const tallies = async () => {
    const counts = new Map<string, number>();
    for (let i = 0; i < 8; i++) {
      const server = await serverOf(holdfast);
      counts.set(server, (counts.get(server) ?? 0) + 1);
    }
    return [...counts]
      .map(([server, count]) => `${server} ${count}`)
      .sort()
      .join();
  };
  const wanted = (...lines: readonly string[]) =>
    waitFor(async () => (await tallies()) === [...lines].sort().join(), lines.join());
  await wanted(`${ONE}:${first.port} 6`, `${TWO}:${second.port} 2`);
  records = [srv(1, 5, 1, first.port, "one.test"), srv(1, 9, 1, second.port, "two.test")];
  await wanted(`${ONE}:${first.port} 8`);
  records = [srv(1, 5, 1, first.port, "one.test"), srv(1, 5, 1, second.port, "mute.test")];
  await holdfast.waitForLog(
    /mute\.test could not be resolved \(2: Server failure\) while resolving service http of shop\.test/,
  );
  await wanted(`${ONE}:${first.port} 8`);
  records = [srv(1, 5, 1, second.port, "two.test")];
  await wanted(`${TWO}:${second.port} 8`);
});

test("servers change under every method, and one name is one question for all upstreams that have it", async (t) => {
  const { port } = await serversOn(t, ONE, TWO);
  const { dns, answers } = await movingNames(t, []);
  const methods = [
    "",
    "hash $uri",
    "hash $uri consistent",
    "ip_hash",
    "least_conn",
    "random",
    "random two",
    "least_time header",
  ];
  const upstreams = methods.map((method, i) => {
    return `upstream u${i} { zone u${i} 64k; ${method}; server moving.test:${port} resolve; }`;
  });
  const locations = methods.map((_, i) => `location /${i}/ { proxy_pass http://u${i}; }`);
  const holdfast = await startHoldfast(t, {
    config: ([listen]) => `worker_processes 1; http { resolver ${dns.address} ipv6=off valid=1s;
        ${upstreams.join("\n").replaceAll(" ; ", " ")} server { listen ${listen}; ${locations.join("\n")} } }`,
  });
  await holdfast.waitForLog(/moving\.test could not be resolved \(3: Host not found\)/);
  const failures = holdfast.errorLog().match(/could not be resolved/g) ?? [];
  assert.ok(failures.length <= dns.questions.length, "one failure is not each upstream's");
  for (const i of methods.keys()) assert.equal((await get(holdfast.port, `/${i}/`)).status, 502);
  for (const next of [[ONE], [ONE, TWO], [TWO]]) {
    answers.now = next;
    for (const [i, method] of methods.entries()) {
      // One client is one server's under ip_hash.
      const least = method === "ip_hash" ? 1 : next.length;
      await waitFor(async () => {
        const bodies = new Set<string>();
        for (let n = 0; n < 20; n++) bodies.add((await get(holdfast.port, `/${i}/${n}`)).body);
        return bodies.size === least && [...bodies].every((body) => next.includes(body));
      }, `answers of ${next.join()} under ${method}`);
    }
  }
});

/** As many upstreams with a name each. */
const manyNames = (count: number) =>
  Array.from({ length: count }, (_, i) => `upstream u${i} { zone u${i} 32k; server n${i}.test resolve; }`).join("\n");

test("many names that share an answer that fails do not flood the name server", async (t) => {
  const names = 100;
  const dns = await nameServer(t, ({ name }) =>
    name === "shared.test" ? { code: 2 } : { records: [cname(60, "shared.test")] },
  );
  const holdfast = await startHoldfast(t, {
    config: ([listen]) => `http { resolver ${dns.address} ipv6=off; ${manyNames(names)}
      server { listen ${listen}; location / { proxy_pass http://u0; } } }`,
  });
  const failures = () =>
    new Set(holdfast.errorLog().match(/n\d+\.test could not be resolved \(2: Server failure\)/g)).size;
  await waitFor(() => failures() === names, "all to have failed");
  const shared = dns.questions.filter(({ name }) => name === "shared.test").length;
  assert.ok(shared < names / 4, `${shared} questions for what all have in common`);
});

test("no more names are asked about at a time than a name server bears", async (t) => {
  const dns = await nameServer(t, () => undefined);
  await startHoldfast(t, {
    config: ([listen]) => `http { resolver ${dns.address} ipv6=off; ${manyNames(100)} server { listen ${listen}; } }`,
  });
  const different = () => new Set(dns.questions.map(({ name }) => name)).size;
  // A question that is not answered is repeated after five seconds: by then all were asked that may be.
  await waitFor(() => dns.questions.length > different(), "a question to be repeated");
  assert.equal(different(), 64);
});
