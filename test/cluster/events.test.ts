/** Changes of the group as server-sent events. */
import assert from "node:assert/strict";
import { request as httpRequest, type IncomingMessage } from "node:http";
import { connect } from "node:http2";
import { type TestContext, test } from "node:test";
import { type Backend, httpBackend } from "../support/backend.ts";
import { allSeeAll, type ClusterNode, startCluster } from "../support/cluster.ts";
import { workersOf } from "../support/processes.ts";
import { get, RawConnection, request } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

interface Received {
  readonly id: string;
  readonly name: string;
  readonly data: Record<string, unknown>;
}

/** A client that reads events. */
class Client {
  readonly head: IncomingMessage;
  ended = false;
  #text = "";

  constructor(head: IncomingMessage) {
    this.head = head;
    head.setEncoding("utf8");
    head.on("data", (text: string) => {
      this.#text += text;
    });
    head.on("end", () => {
      this.ended = true;
    });
    head.on("error", () => {});
  }

  get events(): Received[] {
    const whole = this.#text.slice(0, this.#text.lastIndexOf("\n\n") + 1);
    return whole.split("\n\n").flatMap((one) => {
      const fields = new Map(
        one.split("\n").map((line) => [line.split(": ", 1)[0], line.slice(line.indexOf(": ") + 2)]),
      );
      const data = fields.get("data");
      if (data === undefined) return [];
      return [{ id: fields.get("id") ?? "", name: fields.get("event") ?? "", data: JSON.parse(data) }];
    });
  }

  async gets(what: string, test: (event: Received) => boolean): Promise<Received> {
    await waitFor(() => this.events.some(test), what);
    const found = this.events.find(test);
    assert.ok(found !== undefined);
    return found;
  }
}

function listen(t: TestContext, { port }: ClusterNode, headers: Record<string, string> = {}): Promise<Client> {
  return new Promise((resolve, reject) => {
    const asked = httpRequest({ port, host: "127.0.0.1", path: "/cluster?events", headers, agent: false }, (head) =>
      resolve(new Client(head)),
    );
    t.after(() => asked.destroy());
    asked.on("error", reject);
    asked.end();
  });
}

async function site(t: TestContext, nodes = 2): Promise<{ readonly nodes: ClusterNode[]; readonly server: Backend }> {
  const server = await httpBackend(t, (_request, response) => response.end("here"));
  const started = await startCluster(t, {
    nodes,
    http: `upstream app { server ${server.address}; check interval=100 rise=2 fall=2 timeout=5000; }`,
  });
  await allSeeAll(started);
  for (const node of started)
    await node.sees(
      "the server",
      ({ servers }) => Object.keys(servers[0].seen).length === nodes && servers[0].verdict === "up",
    );
  return { nodes: started, server };
}

test("the first event has the whole matrix, and each change is one", async (t) => {
  const { nodes, server } = await site(t);
  const [first, second] = nodes;
  const client = await listen(t, first);
  assert.equal(client.head.headers["content-type"], "text/event-stream");
  assert.equal(client.head.headers["cache-control"], "no-store");
  const whole = await client.gets("the matrix", ({ name }) => name === "matrix");
  assert.deepEqual([whole.data.cluster, whole.data.self], ["test", "lb1"]);
  await server.close();
  const down = await client.gets(
    "both to find the server down",
    ({ name, data }) => name === "server" && JSON.stringify(data.seen) === '{"lb1":"down","lb2":"down"}',
  );
  assert.deepEqual([down.data.upstream, down.data.server, down.data.verdict], ["app", server.address, "down"]);
  assert.match(String(down.data.words), /down for all 2 nodes \(connect: connection refused\)$/);
  await second.running.stop("SIGKILL");
  const dead = await client.gets("lb2 to be down", ({ name, data }) => name === "node" && data.verdict === "down");
  assert.deepEqual([dead.data.name, dead.data.state], ["lb2", null]);
  const numbers = client.events.map(({ id }) => Number(id.split("-")[1]));
  assert.deepEqual(
    numbers.slice(1),
    [...numbers.slice(1)].sort((a, b) => a - b),
  );
});

test("a client that comes back gets what it missed, and the whole matrix where that is not known any more", async (t) => {
  const { nodes, server } = await site(t);
  const [first] = nodes;
  const before = await listen(t, first);
  const { id } = await before.gets("the matrix", ({ name }) => name === "matrix");
  before.head.destroy();
  await server.close();
  await first.sees("the server down", ({ servers }) => servers[0].verdict === "down");
  const after = await listen(t, first, { "Last-Event-ID": id });
  await after.gets("what it missed", ({ name, data }) => name === "server" && data.verdict === "down");
  assert.ok(after.events.every(({ name }) => name !== "matrix"));
  const [epoch, number] = id.split("-");
  const strange = [
    `${epoch}-${Number(number) + 1e6}`,
    `00000000-${number}`,
    "-1",
    "x".repeat(4000),
    `${epoch}-1e3`,
    `${epoch}-`,
  ];
  for (const last of strange) {
    const client = await listen(t, first, { "Last-Event-ID": last });
    await client.gets(`the matrix after ${last.slice(0, 20)}`, ({ name }) => name === "matrix");
  }
});

test("a reload ends the events, and a client goes on where it was", async (t) => {
  const { nodes, server } = await site(t);
  const [first] = nodes;
  const client = await listen(t, first);
  const { id } = await client.gets("the matrix", ({ name }) => name === "matrix");
  assert.equal(await first.running.reload(), true);
  await waitFor(() => client.ended, "the end");
  const again = await listen(t, first, { "Last-Event-ID": id });
  await server.close();
  await again.gets("the server to be down", ({ name, data }) => name === "server" && data.verdict === "down");
  assert.ok(again.events.every(({ name }) => name !== "matrix"));
});

test("events keep no node from leaving", async (t) => {
  const { nodes } = await site(t);
  const [first] = nodes;
  const client = await listen(t, first);
  await client.gets("the matrix", ({ name }) => name === "matrix");
  await first.running.stop("SIGQUIT");
  await waitFor(() => client.ended, "the end");
});

test("the head alone is asked for with HEAD, and a field asks for events as the argument does", async (t) => {
  const [first] = await startCluster(t, { nodes: 2 });
  const head = await request(first.port, "HEAD /cluster?x=1&events=1 HTTP/1.1\r\nHost: x\r\n\r\n");
  assert.deepEqual([head.status, head.header("content-type"), head.body], [200, "text/event-stream", ""]);
  const connection = await RawConnection.open(first.port);
  t.after(() => connection.close());
  connection.write("GET /cluster HTTP/1.0\r\nAccept: text/html, text/event-stream;q=0.9\r\n\r\n");
  await waitFor(() => connection.received.includes("event: matrix"), "the matrix");
  assert.equal((await get(first.port, "/cluster?eventsx=1")).header("content-type"), "text/html");
});

test("events come over HTTP/2 as well, several streams of a connection", async (t) => {
  const [first] = await startCluster(t, { nodes: 2, server: "http2 on;" });
  const session = connect(`http://127.0.0.1:${first.port}`);
  t.after(() => session.destroy());
  const texts = ["", ""];
  const streams = texts.map((_, i) => {
    const stream = session.request({ ":path": "/cluster?events" });
    stream.setEncoding("utf8");
    stream.on("data", (text: string) => {
      texts[i] += text;
    });
    return stream;
  });
  await waitFor(() => texts.every((text) => text.includes("event: matrix")), "the matrix on both");
  streams[0].close();
  await first.running.reload();
  await waitFor(() => streams[1].closed, "the end of the other");
});

test("clients that do not read cost the others nothing, and too many are refused", async (t) => {
  const { nodes, server } = await site(t);
  const [first] = nodes;
  const deaf: RawConnection[] = [];
  t.after(() => {
    for (const connection of deaf) connection.close();
  });
  const workers = workersOf(first.running.pid ?? 0).length;
  for (let i = 0; i < 256 * workers + 20; i++) {
    const connection = await RawConnection.open(first.port);
    deaf.push(connection);
    connection.socket.pause();
    connection.write("GET /cluster?events HTTP/1.1\r\nHost: x\r\n\r\n");
  }
  await waitFor(async () => {
    const { status } = await request(first.port, "HEAD /cluster?events HTTP/1.1\r\nHost: x\r\n\r\n");
    return status === 503;
  }, "a client to be refused");
  for (const connection of deaf.splice(0, 100)) connection.close();
  await waitFor(async () => {
    const { status } = await request(first.port, "HEAD /cluster?events HTTP/1.1\r\nHost: x\r\n\r\n");
    return status === 200;
  }, "one to be let in");
  const client = await listen(t, first);
  await client.gets("the matrix", ({ name }) => name === "matrix");
  await server.close();
  await client.gets("the server to be down", ({ name, data }) => name === "server" && data.verdict === "down");
});
