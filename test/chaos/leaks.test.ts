/** Counts the descriptors and mappings of every process: after work, reloads and deaths there are those that there were. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { httpBackend } from "../support/backend.ts";
import { noOpenssl, selfSigned } from "../support/certificates.ts";
import { startHoldfast } from "../support/holdfast.ts";
import { startLoad } from "../support/load.ts";
import { checkersOf, childrenOf, mappingsOf, openBy, titleOf, workersOf } from "../support/processes.ts";
import { RawConnection } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

const ROUNDS = Number(process.env.HOLDFAST_CHAOS_ROUNDS ?? 2);
/** V8's heap is made of pages of this size, which come and go. */
const HEAP_PAGE = 256 * 1024;
/** Other memory without a name: what the C library's heap and V8's threads have varies by some. */
const SLACK = 30;

const FILE = "x".repeat(300_000);

/** What a process has open and mapped, by kind, with the number of each. */
function shapeOf(pid: number): string {
  const counts = new Map<string, number>();
  const count = (kind: string): void => void counts.set(kind, (counts.get(kind) ?? 0) + 1);
  for (const name of openBy(pid)) count(`descriptor ${name.replace(/\[\d+\]/, "")}`);
  for (const { name } of mappingsOf(pid)) if (name !== "" && !name.startsWith("[")) count(`mapping ${name}`);
  return [...counts]
    .map(([kind, number]) => `${number} ${kind}`)
    .toSorted()
    .join("\n");
}

function unnamed(pid: number): number {
  return mappingsOf(pid).filter(({ name, bytes }) => name === "" && bytes % HEAP_PAGE !== 0).length;
}

for (const engine of ["io_uring", "node"]) {
  test(`work, reloads and deaths leave no descriptor and no mapping (${engine})`, { skip: noOpenssl }, async (t) => {
    const backend = await httpBackend(t, (_request, response) => response.end("here"));
    const { certificate, key } = selfSigned("a.example");
    const config = ([port, second, secure]: readonly number[], more: boolean) => `worker_processes 2;
      events { use ${engine}; }
      http {
        keepalive_requests 100000;
        limit_conn_zone $server_port zone=conn:64k;
        upstream u { zone u ${more ? "128k" : "64k"}; server ${backend.address} max_fails=0; keepalive 4; keepalive_timeout 100ms;
          check interval=100 rise=1 fall=1 timeout=5000 type=tcp default_down=false; }
        ${more ? "limit_req_zone $server_port zone=req:64k rate=1r/s;" : ""}
        server {
          listen 127.0.0.1:${port}; listen 127.0.0.1:${secure} ssl; ssl_certificate cert.pem; ssl_certificate_key cert.key;
          ${more ? `listen 127.0.0.1:${second}; access_log logs/second.log;` : ""}
          limit_conn conn 1000; root html;
          location / { proxy_pass http://u; }
          location /file { open_file_cache max=10; }
          location /spooled { proxy_pass http://127.0.0.1:${port}/file; proxy_buffers 4 4k; }
        }
      }`;
    const holdfast = await startHoldfast(t, {
      files: { "html/file": FILE, "conf/cert.pem": certificate, "conf/cert.key": key },
      config: (ports) => config(ports, false),
    });
    const { port, ports, pid } = holdfast;

    /** Of the other configuration, or the same zone a second time. */
    const earlierZones = /^\d+ mapping \/memfd:limit_req |^(?:[2-9]|\d\d+) mapping \/memfd:/m;

    const round = async (): Promise<void> => {
      const paths = ["/", "/file", "/spooled"];
      const options = { connections: 8, fresh: 4, retry: true, path: (number: number) => paths[number % paths.length] };
      const load = startLoad(t, { target: port, ...options });
      const secure = startLoad(t, { target: ports[2], tls: true, ...options });
      await Promise.all([load.more(60), secure.more(60)]);
      // Clients that go away in the middle.
      for (const path of paths) {
        const connection = await RawConnection.open(port);
        connection.write(`GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`);
        if (path !== "/") await connection.until((received) => received.length > 0);
        connection.socket.resetAndDestroy();
        const secured = await RawConnection.openTls(ports[2]);
        secured.write(`GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`);
        if (path !== "/") await secured.until((received) => received.length > 0);
        secured.transport.resetAndDestroy();
      }
      assert.equal(await holdfast.reload(config(ports, true)), true);
      await Promise.all([load.more(20), secure.more(20)]);
      assert.equal(await holdfast.reload(config(ports, false)), true);
      await Promise.all([load.more(20), secure.more(20)]);
      await load.stop();
      await secure.stop();
      assert.deepEqual([load.failures, secure.failures], [[], []]);
      holdfast.signal("SIGUSR1");
      // Each in its turn.
      for (const processes of [workersOf, checkersOf]) {
        const dying = processes(pid)[0];
        process.kill(dying, "SIGKILL");
        await holdfast.waitForLog(new RegExp(`process ${dying} exited on signal 9`));
      }
      // One that died young is started again after a pause; a reload starts it at once.
      assert.equal(await holdfast.reload(), true);
      await waitFor(() => childrenOf(pid).length === 3, "all of them");
    };

    /**
     * The shape of each process once it stays the same: connections of the test, and to servers, have been closed. And once the zones of earlier
     * configurations have been collected, which a process without traffic does a second after a reload.
     */
    const settled = async (): Promise<readonly { title: string; shape: string; unnamed: number }[]> => {
      const look = () =>
        [pid, ...childrenOf(pid)]
          .map((each) => ({
            title: titleOf(each).replace(/(master process).*/, "$1"),
            shape: shapeOf(each),
            unnamed: unnamed(each),
          }))
          .toSorted((one, other) => `${one.title}${one.shape}`.localeCompare(`${other.title}${other.shape}`));
      let last = look();
      let same = 0;
      await waitFor(() => {
        const now = look();
        same = now.map(({ shape }) => shape).join() === last.map(({ shape }) => shape).join() ? same + 1 : 0;
        last = now;
        return same > 15 && !now.some(({ shape }) => earlierZones.test(shape));
      }, "descriptors that stay, and zones that go");
      return last;
    };

    await round();
    const before = await settled();
    assert.equal(before.length, 4);
    for (let i = 0; i < ROUNDS; i++) await round();
    const after = await settled();
    for (const [i, { title, shape, unnamed }] of after.entries()) {
      assert.equal(`${title}\n${shape}`, `${before[i].title}\n${before[i].shape}`);
      t.diagnostic(`${title}: ${before[i].unnamed} unnamed mappings, then ${unnamed}`);
      assert.ok(
        unnamed <= before[i].unnamed + SLACK,
        `${title}: ${before[i].unnamed} unnamed mappings, then ${unnamed}`,
      );
    }
  });
}
