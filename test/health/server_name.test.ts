import assert from "node:assert/strict";
import { createServer } from "node:net";
import { test } from "node:test";
import { startChecks } from "../../src/health/scheduler.ts";
import { freePort } from "../support/ports.ts";
import { waitFor } from "../support/wait.ts";
import { bind, ipv4, memoryLog, planOf } from "./support.ts";

test("after a reload a server's new name at the same address is the one its check asks for", async (t) => {
  const port = await freePort();
  let received = "";
  const server = createServer((socket) => {
    socket.on("error", () => {});
    socket.on("data", (bytes) => {
      received += bytes.toString("latin1");
      socket.destroy();
    });
  });
  await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
  t.after(() => server.close());
  const planned = (name: string) => {
    const plan = planOf([ipv4(port)], { type: "ssl_hello", interval: 50, fall: 1 });
    return { ...plan, checks: plan.checks.map((check) => ({ ...check, server: `${name}:${port}` })) };
  };
  const first = bind(planned("one.example"));
  const checks = startChecks(first, { log: memoryLog() });
  t.after(() => checks.stop());
  await waitFor(() => received.includes("one.example"), "the first name");
  checks.update(bind(planned("two.example"), first.states, 2));
  await waitFor(() => received.includes("two.example"), "the second name", 3000);
  assert.ok(received.indexOf("two.example") > received.indexOf("one.example"));
});
