/** Reloads, upgrades and deaths while clients are connected over TLS; and where private keys are. */
import assert from "node:assert/strict";
import { chmodSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { TLSSocket } from "node:tls";
import { noOpenssl, selfSigned, type TestCertificate } from "../support/certificates.ts";
import { startDaemon } from "../support/daemon.ts";
import { makePrefix, type Running, startHoldfast } from "../support/holdfast.ts";
import { type Load, startLoad } from "../support/load.ts";
import { freePort } from "../support/ports.ts";
import { checkersOf, childrenOf, openBy, statusOf, workersOf } from "../support/processes.ts";
import { RawConnection } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

const skip = noOpenssl;
const REQUEST = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

const SITE = (
  port: number,
): string => `server { listen 127.0.0.1:${port} ssl; ssl_certificate cert.pem; ssl_certificate_key cert.key;
  location / { return 200 here; } location /slow { root html; limit_rate 40k; } }`;

function startSite(t: TestContext, { certificate, key }: TestCertificate): Promise<Running> {
  return startHoldfast(t, {
    files: { "conf/cert.pem": certificate, "conf/cert.key": key, "html/slow": Buffer.alloc(100_000, "slow") },
    config: ([port]) =>
      `worker_processes 2;\nevents { worker_connections 500; }\nhttp { access_log off;\n${SITE(port)} }`,
  });
}

function load(t: TestContext, target: number): Load {
  return startLoad(t, { target, tls: true, rate: 100, connections: 8, fresh: 4, retry: true });
}

/** The name in the certificate that the server has shown. */
function shownBy({ socket }: RawConnection): string {
  assert.ok(socket instanceof TLSSocket);
  return String(socket.getPeerCertificate().subject.CN);
}

async function ask(connection: RawConnection): Promise<string> {
  connection.write(REQUEST);
  return (await connection.readResponse()).body;
}

test("a reload: new connections get the changed certificate, open ones live on; a broken one changes nothing", {
  skip,
}, async (t) => {
  const holdfast = await startSite(t, selfSigned("first.example"));
  const { port, prefix } = holdfast;
  const running = load(t, port);
  const first = await RawConnection.openTls(port);
  assert.deepEqual([await ask(first), shownBy(first)], ["here", "first.example"]);
  const write = ({ certificate, key }: TestCertificate): void => {
    writeFileSync(join(prefix, "conf/cert.pem"), certificate);
    writeFileSync(join(prefix, "conf/cert.key"), key);
  };
  write(selfSigned("second.example"));
  assert.equal(await holdfast.reload(), true);
  await running.more(20);
  const second = await RawConnection.openTls(port);
  assert.deepEqual([await ask(second), shownBy(second)], ["here", "second.example"]);
  assert.equal(await ask(first), "here");
  // The key is another's; then there is no certificate at all.
  const third = selfSigned("third.example");
  for (const broken of [
    { ...third, key: selfSigned("x").key },
    { certificate: "nonsense", key: "nonsense" },
  ]) {
    write(broken);
    const before = holdfast.errorLog().length;
    assert.equal(await holdfast.reload(), false);
    assert.match(holdfast.errorLog().slice(before), /\[emerg\].* in \S+conf\/nginx.conf:\d+/);
    await running.more(20);
    const fourth = await RawConnection.openTls(port);
    assert.deepEqual([await ask(fourth), shownBy(fourth)], ["here", "second.example"]);
    fourth.close();
    assert.deepEqual([await ask(first), await ask(second)], ["here", "here"]);
  }
  await running.stop();
  assert.deepEqual(running.failures, []);
  first.close();
  second.close();
});

test("workers that are killed: their clients are cut off, the next are served", { skip }, async (t) => {
  const { port, pid } = await startSite(t, selfSigned("a.example"));
  for (let round = 0; round < 3; round++) {
    const clients = await Promise.all(Array.from({ length: 10 }, () => RawConnection.openTls(port)));
    for (const client of clients) assert.equal(await ask(client), "here");
    const killed = workersOf(pid);
    for (const worker of killed) process.kill(worker, "SIGKILL");
    for (const client of clients) {
      await client.until(() => false);
      client.close();
    }
    await waitFor(() => workersOf(pid).filter((worker) => !killed.includes(worker)).length === 2, "new workers");
    const next = await RawConnection.openTls(port);
    assert.equal(await ask(next), "here");
    next.close();
  }
});

test("a graceful shutdown: a response is sent to its end, idle connections are closed with close_notify", {
  skip,
}, async (t) => {
  const holdfast = await startSite(t, selfSigned("a.example"));
  const idle = await RawConnection.openTls(holdfast.port);
  assert.equal(await ask(idle), "here");
  const busy = await RawConnection.openTls(holdfast.port);
  busy.write(REQUEST.replace("/", "/slow"));
  await busy.until((received) => received.includes("slow"));
  holdfast.signal("SIGQUIT");
  await idle.until(() => false);
  assert.equal(idle.error, undefined);
  const { body } = await busy.readResponse();
  assert.equal(body.length, 100_000);
  busy.close();
  idle.close();
  assert.equal(await holdfast.exited, 0);
});

test("an upgrade with TLS listeners fails no request", { skip }, async (t) => {
  const port = await freePort();
  const { certificate, key } = selfSigned("a.example");
  const daemon = await startDaemon(t, (prefix) => {
    writeFileSync(join(prefix, "conf/cert.pem"), certificate);
    writeFileSync(join(prefix, "conf/cert.key"), key);
    return `worker_processes 2; events {} http { access_log off; ${SITE(port)} }`;
  });
  const running = load(t, port);
  await running.more(20);
  const old = await daemon.startNewBinary();
  await running.more(20);
  await daemon.retire(old);
  await running.more(20);
  await running.stop();
  assert.deepEqual(running.failures, []);
  assert.doesNotMatch(daemon.errorLog(), /\[(alert|crit|emerg)\]/);
});

/** The parts of a key that would give it away: the lines of its PEM, and its secret number. */
function secretsOf({ key }: TestCertificate): Buffer[] {
  const lines = key.split("\n").filter((line) => line.length > 20 && !line.startsWith("-----"));
  const der = Buffer.from(lines.join(""), "base64");
  // PKCS #8 of a key on P-256: OCTET STRING of 32 bytes.
  const at = der.indexOf(Buffer.from([0x04, 0x20]));
  assert.ok(at > 0);
  const number = der.subarray(at + 2, at + 34);
  return [...lines.map((line) => Buffer.from(line)), number, Buffer.from(number.toString("hex"))];
}

test("private keys: root alone reads their files; they are in no log, command line or environment", {
  skip: process.getuid?.() === 0 ? skip : "needs root",
}, async (t) => {
  const keys = [selfSigned("a.example"), selfSigned("b.example")];
  const prefix = makePrefix(t, { "conf/cert.pem": keys[0].certificate, "html/slow": "slow" });
  const write = (key: string): void => {
    writeFileSync(join(prefix, "conf/cert.key"), key);
    chmodSync(join(prefix, "conf/cert.key"), 0o600);
  };
  write(keys[0].key);
  const holdfast = await startHoldfast(t, {
    prefix,
    globals: "daemon off; error_log logs/error.log debug; user nobody nogroup;",
    config: ([port]) => `worker_processes 2;\nevents {}\nhttp { ${SITE(port)} }`,
  });
  const works = async (name: string): Promise<void> => {
    const connection = await RawConnection.openTls(holdfast.port);
    assert.deepEqual([await ask(connection), shownBy(connection)], ["here", name]);
    connection.close();
  };
  await works("a.example");
  // A key that does not fit is complained of, and is as secret.
  write(keys[1].key);
  assert.equal(await holdfast.reload(), false);
  writeFileSync(join(prefix, "conf/cert.pem"), keys[1].certificate);
  assert.equal(await holdfast.reload(), true);
  await works("b.example");
  const [killed] = workersOf(holdfast.pid);
  process.kill(killed, "SIGKILL");
  await waitFor(() => workersOf(holdfast.pid).filter((worker) => worker !== killed).length === 2, "another worker");
  await works("b.example");

  const children = childrenOf(holdfast.pid);
  assert.deepEqual([workersOf(holdfast.pid).length, checkersOf(holdfast.pid).length], [2, 1]);
  const secrets = keys.flatMap(secretsOf);
  for (const child of children) {
    await waitFor(
      () => /^\d/.test(statusOf(child, "Uid")) && !/\b0\b/.test(statusOf(child, "Uid")),
      `${child} to be nobody`,
    );
    assert.deepEqual(
      openBy(child).filter((name) => name.includes("cert")),
      [],
    );
  }
  const entries = readdirSync(join(prefix, "logs"), { withFileTypes: true });
  const logs = entries.filter((entry) => entry.isFile()).map(({ name }) => join(prefix, "logs", name));
  const texts = [holdfast.pid, ...children].flatMap((pid) => [`/proc/${pid}/cmdline`, `/proc/${pid}/environ`]);
  for (const file of [...logs, ...texts]) {
    const bytes = readFileSync(file);
    for (const secret of secrets) assert.equal(bytes.includes(secret), false, file);
  }
});
