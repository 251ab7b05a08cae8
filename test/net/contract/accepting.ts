import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import net from "node:net";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import type { Engine } from "../../../src/net/engine.ts";
import { bindSocket, duplicate } from "../../../src/net/listening_socket.ts";
import type { Stream, StreamError } from "../../../src/net/stream.ts";
import { have } from "../../support/have.ts";
import { NODE_FLAGS } from "../../support/holdfast.ts";
import { RawConnection } from "../../support/tcp.ts";
import { waitFor } from "../../support/wait.ts";
import { dial, freeAddress, listening, recorder, serving, target, turns } from "./harness.ts";

const LIMITED = fileURLToPath(new URL("../../support/limited_main.ts", import.meta.url));
const PROC = existsSync("/proc/self/fd");

function descriptors(): number {
  return PROC ? readdirSync("/proc/self/fd").length : 0;
}

export function accepting(engine: Engine): void {
  test("listens on a socket that was bound for it; once closed it accepts no more, and connections live on", async (t) => {
    const address = await freeAddress(t, false);
    const bound = bindSocket({ address, ipv6only: undefined, join: false });
    assert.ok("fd" in bound);
    let stream: Stream | undefined;
    const listener = await engine.listen(
      { address, fd: duplicate(bound.fd) },
      (accepted) => {
        stream = accepted;
        return recorder({ onData: (echo, bytes) => void echo.write(bytes) });
      },
      () => {},
    );
    const peer = await dial(t, address);
    await waitFor(() => stream !== undefined, "a connection");
    listener.close();
    peer.socket.write("still here");
    assert.equal(await peer.take(10), "still here");

    // The socket is still the binder's: what comes waits, and can be accepted from another duplicate.
    const waiting = await dial(t, address);
    await turns();
    const again = await engine.listen(
      { address, fd: duplicate(bound.fd) },
      () => recorder({ onData: (s) => s.end() }),
      () => {},
    );
    waiting.socket.write("x");
    assert.equal(await waiting.take(), "");
    again.close();
    stream?.destroy();
  });

  test("a listener that cannot be: its promise fails in nginx's words", async (t) => {
    const { address } = await serving(t);
    await assert.rejects(
      engine.listen(
        { address },
        () => recorder(),
        () => {},
      ),
      {
        code: "EADDRINUSE",
        message: "98: Address already in use",
      } satisfies StreamError,
    );
  });

  test("thousands of short lives leave nothing behind", async (t) => {
    const ways: readonly ((stream: Stream, bytes: Buffer) => void)[] = [
      (stream, bytes) => {
        stream.write(bytes);
        stream.end();
      },
      (stream) => stream.destroy(),
      (stream) => stream.destroy(true),
      (stream, bytes) => {
        stream.cork();
        stream.write(bytes);
        stream.uncork();
        stream.pause();
        stream.end();
        stream.resume();
      },
    ];
    let accepted = 0;
    let closed = 0;
    const address = await listening(t, engine, () => {
      const way = ways[accepted++ % ways.length];
      return recorder({
        onData: way,
        onEnd: (stream) => stream.end(),
        onClose: () => void closed++,
      });
    });
    await turns();
    const before = descriptors();
    const wanted = 4000;
    let started = 0;
    let ended = 0;
    const next = (): void => {
      if (started === wanted) return;
      const number = started++;
      const end = (): void => {
        ended++;
        next();
      };
      if (number % 2 === 0) {
        const heard = recorder({
          onConnect: (stream) => void stream.write("x"),
          onEnd: (stream) => stream.end(),
          onClose: end,
        });
        engine.connect({ address }, heard);
      } else {
        const socket = net.connect(target(address));
        socket.on("error", () => {}).on("close", end);
        if (number % 3 === 0) socket.on("connect", () => socket.resetAndDestroy());
        else socket.resume().write("x");
      }
    };
    for (let i = 0; i < 50; i++) next();
    await waitFor(() => ended === wanted && closed === accepted, "the end of all connections", 60_000);
    // One that the test's side reset at once may have left the queue before it was accepted.
    assert.ok(accepted > wanted / 2);
    assert.equal(engine.openStreams(), 0);
    await waitFor(() => descriptors() <= before, `${before} descriptors, as before`);
  });

  test("at the limit of descriptors: said, and those who came are served once some are free", {
    skip: have("prlimit"),
  }, async (t) => {
    const [port] = [((await freeAddress(t, false)) as { port: number }).port];
    const child = spawn(
      "prlimit",
      ["--nofile=64", process.execPath, ...NODE_FLAGS, LIMITED, engine.name, String(port)],
      {
        stdio: ["ignore", "pipe", "inherit"],
      },
    );
    t.after(() => child.kill("SIGKILL"));
    let said = "";
    child.stdout.setEncoding("latin1").on("data", (text: string) => {
      said += text;
    });
    await waitFor(() => said.includes("listening"), "the child");
    const clients = await Promise.all(Array.from({ length: 80 }, () => RawConnection.open(port)));
    t.after(() => {
      for (const client of clients) client.close();
    });
    await waitFor(() => said.includes("failed: EMFILE 24: Too many open files"), "EMFILE");
    const ask = async (client: RawConnection): Promise<string> => {
      client.write("x");
      const answer = await client.readAll();
      client.close();
      return answer;
    };
    const answers = await Promise.all(clients.map(ask));
    assert.deepEqual(new Set(answers), new Set(["x"]));
  });
}
