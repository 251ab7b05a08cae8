/** Responders that make one wait, or send what is no answer. */
import assert from "node:assert/strict";
import { createServer, type Socket } from "node:net";
import { type TestContext, test } from "node:test";
import { parseResponder, type ResponderNames } from "../../../../src/net/tls/ocsp/responder.ts";
import { StatusRequest } from "../../../../src/net/tls/ocsp/status_request.ts";
import { ocspRequest } from "../../../../src/sys/openssl/ocsp.ts";
import { type BackendConnection, tcpBackend } from "../../../support/backend.ts";
import { certificateDirectory, createCertificate, noOpenssl } from "../../../support/certificates.ts";
import { ocspResponse, questionAbout, requestIn } from "../../../support/ocsp.ts";

const skip = { skip: noOpenssl };
const NO_NAMES: ResponderNames = { resolver: undefined, timeout: 0, system: undefined };

function makeWorld(t: TestContext) {
  const directory = certificateDirectory(t);
  const root = createCertificate(directory, "root", { extensions: ["basicConstraints=critical,CA:TRUE"] });
  const end = createCertificate(directory, "end", { issuer: root });
  const question = questionAbout(end, root);
  return { question, response: ocspResponse(ocspRequest(question), { signer: root }) };
}

type World = ReturnType<typeof makeWorld>;

/** Asks the responder at that URL: what is logged, and then the status. */
function ask({ question }: World, url: string, names = NO_NAMES, timeout?: number): Promise<string[]> {
  return new Promise((resolve) => {
    const said: string[] = [];
    const responder = parseResponder(url);
    assert.ok(typeof responder !== "string");
    const asker = {
      statusKnown: (found: { status: number } | undefined) =>
        resolve([...said, found === undefined ? "failed" : `status ${found.status}`]),
      logStatusRequest: (level: string, sentence: string) => said.push(`${level}: ${sentence}`),
    };
    new StatusRequest(question, responder, asker, timeout).start(names);
  });
}

/** What is asked of a peer that does this with each connection. */
async function askPeer(
  t: TestContext,
  world: World,
  script: (connection: BackendConnection) => void | Promise<void>,
  timeout?: number,
) {
  const { port } = await tcpBackend(t, script);
  const during = ` while requesting certificate status, responder: 127.0.0.1, peer: 127.0.0.1:${port}`;
  const said = await ask(world, `http://127.0.0.1:${port}`, NO_NAMES, timeout);
  return said.map((line) => line.replace(during, ""));
}

/** The same for a peer that answers with these bytes. */
function askAnswered(t: TestContext, world: World, ...pieces: readonly (string | Buffer)[]) {
  return askPeer(t, world, async (connection) => {
    await connection.readHeader();
    for (const piece of pieces) connection.write(piece);
    connection.end();
  });
}

const TIMED_OUT = ["error: OCSP responder timed out (110: Connection timed out)", "failed"];

test("nobody is waited for longer than the timeout, whether silent or slow", skip, async (t) => {
  const world = makeWorld(t);
  assert.deepEqual(await askPeer(t, world, () => {}, 300), TIMED_OUT);
  const slowly = async (connection: BackendConnection): Promise<void> => {
    connection.write("HTTP/1.1 200 OK\r\n");
    while (!connection.ended) {
      connection.write("X: y\r\n");
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  };
  assert.deepEqual(await askPeer(t, world, slowly, 300), TIMED_OUT);
});

test("answers in every form of HTTP/1", skip, async (t) => {
  const world = makeWorld(t);
  const { response } = world;
  const length = `Content-Length: ${response.length}\r\n`;
  const good = ["status 0"];
  assert.deepEqual(await askAnswered(t, world, "HTTP/1.0 200 OK\r\n\r\n", response), good);
  assert.deepEqual(
    await askAnswered(t, world, "HTTP/1.1 200\nContent-Type: application/OCSP-response\n\n", response),
    good,
  );
  assert.deepEqual(
    await askAnswered(t, world, "HTTP/1.1 100 Continue\r\n\r\n", `HTTP/1.1 200 OK\r\n${length}\r\n`, response, "more"),
    good,
  );
  const chunked = `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${response.length.toString(16)}\r\n`;
  assert.deepEqual(await askAnswered(t, world, chunked, response, "\r\n0\r\n\r\n"), good);
  // It is not waited for the end of a connection that stays open.
  const open = await askPeer(t, world, async (connection) => {
    await connection.readHeader();
    connection.write(`HTTP/1.1 200 OK\r\n${length}\r\n`);
    connection.write(response);
  });
  assert.deepEqual(open, good);
});

test("the request is nginx's", skip, async (t) => {
  const world = makeWorld(t);
  let head: string | undefined;
  const { port } = await tcpBackend(t, async (connection) => {
    head = await connection.readHeader();
    connection.end();
  });
  await ask(world, `http://127.0.0.1:${port}/ocsp`);
  const [, url] = /^GET (\/ocsp\/[\w%]+) HTTP\/1\.0\r\nHost: 127\.0\.0\.1\r\n\r\n$/.exec(head ?? "") ?? [];
  assert.deepEqual(requestIn(url ?? ""), ocspRequest(world.question));
});

test("what is no answer is an error, and nothing more", skip, async (t) => {
  const world = makeWorld(t);
  const { response } = world;
  const invalid = ["error: OCSP responder sent invalid response", "failed"];
  const early = ["error: OCSP responder prematurely closed connection", "failed"];
  const large = ["error: OCSP responder sent too large response", "failed"];
  assert.deepEqual(await askAnswered(t, world, response), invalid);
  assert.deepEqual(await askAnswered(t, world, "HTTP/1.1 200 OK\r\n:\0\r\n\r\n"), invalid);
  assert.deepEqual(
    await askAnswered(t, world, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n"),
    invalid,
  );
  assert.deepEqual(await askAnswered(t, world, "HTTP/1.1 200 OK\r\nContent-Le"), early);
  assert.deepEqual(await askAnswered(t, world, "HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n", response), early);
  assert.deepEqual(await askAnswered(t, world, "HTTP/1.1 200 OK\r\n\r\n", Buffer.alloc(17_000)), large);
  assert.deepEqual(await askAnswered(t, world, `HTTP/1.1 200 OK\r\n${"X: y\r\n".repeat(5000)}`), large);
  assert.deepEqual(await askAnswered(t, world, "HTTP/1.1 100 Continue\r\n\r\n".repeat(2000)), large);
  assert.deepEqual(await askAnswered(t, world, "HTTP/1.1 204 No Content\r\n\r\n"), [
    "error: OCSP responder sent status 204",
    "failed",
  ]);
});

test("a responder's next address is asked when one does not answer", skip, async (t) => {
  const world = makeWorld(t);
  const { port } = await tcpBackend(t, async (connection) => {
    await connection.readHeader();
    connection.write("HTTP/1.0 200 OK\r\n\r\n");
    connection.write(world.response);
    connection.end();
  });
  const address = (host: string) => ({ family: "ipv4", host, port: 0 }) as const;
  const names = { ...NO_NAMES, system: async () => [address("127.0.0.2"), address("127.0.0.1")] };
  const said = await ask(world, `http://responder.example:${port}`, names);
  const during = "while requesting certificate status, responder: responder.example, peer: 127.0.0.2";
  assert.deepEqual(said, [`error: connect() failed (111: Connection refused) ${during}:${port}`, "status 0"]);
  assert.deepEqual(await ask(world, "http://responder.example", { ...NO_NAMES, system: async () => [] }), [
    "error: responder.example could not be resolved (3: Host not found) while requesting certificate status, responder: responder.example",
    "failed",
  ]);
});

test("after cancel nothing is heard of it", skip, async (t) => {
  const world = makeWorld(t);
  let opened: (socket: Socket) => void = () => {};
  const connected = new Promise<Socket>((resolve) => {
    opened = resolve;
  });
  const server = createServer((socket) => opened(socket)).listen(0, "127.0.0.1");
  t.after(() => server.close());
  await new Promise((resolve) => server.once("listening", resolve));
  const address = server.address();
  assert.ok(typeof address === "object" && address !== null);
  const responder = parseResponder(`http://127.0.0.1:${address.port}`);
  assert.ok(typeof responder !== "string");
  const silent = { statusKnown: () => assert.fail(), logStatusRequest: () => assert.fail() };
  const request = new StatusRequest(world.question, responder, silent);
  request.start(NO_NAMES);
  const socket = await connected;
  request.cancel();
  socket.resume();
  await new Promise((resolve) => socket.once("close", resolve));
});
