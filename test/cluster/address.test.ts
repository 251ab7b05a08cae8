/** A shared address: hosts of network namespaces, each with its own Holdfast and keepalived. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { startDaemon } from "../support/daemon.ts";
import { have } from "../support/have.ts";
import { runTool, startHoldfast } from "../support/holdfast.ts";
import { type Host, haveHosts, startHosts } from "../support/hosts.ts";
import { isRunning } from "../support/processes.ts";
import { waitFor } from "../support/wait.ts";

const skip = haveHosts() || have("keepalived");
const SHARED = "10.77.0.100";

function configOf(name: string, { lb1, lb2 }: Readonly<Record<"lb1" | "lb2", Host>>, cluster = ""): string {
  return `cluster test { node lb1 ${lb1.address}; node lb2 ${lb2.address}; secret_file secret;
      check interval=200 fall=2 rise=1 timeout=200; virtual_ip ${SHARED}/24 dev=eth0; ${cluster} }
    events {} http { access_log off; server { listen 80; location / { return 200 ${name}; } } }`;
}

const files = { "conf/secret": "a secret of the test's own\n" };

test("an upgrade moves no address: keepalived goes on", { skip }, async (t) => {
  const hosts = await startHosts(t, ["lb1", "lb2"]);
  const { lb1, lb2 } = hosts;
  const daemon = await startDaemon(t, configOf("lb1", hosts), { through: lb1.enter, files });
  await waitFor(() => lb1.has(SHARED), "lb1 to have the address");
  const two = await startHoldfast(t, { through: lb2.enter, config: configOf("lb2", hosts), files });
  await two.waitForLog(/address 10\.77\.0\.100 on eth0: this node is backup/);
  const keepalived = daemon.read("logs/holdfast.keepalived/keepalived.pid");
  const old = await daemon.startNewBinary();
  await daemon.signal("SIGQUIT", "the old master's end", () => !isRunning(old), old);
  await waitFor(() => /this node is master/.test(daemon.errorLog()), "the log");
  assert.equal(daemon.read("logs/holdfast.keepalived/keepalived.pid"), keepalived);
  // The new master looks after it: it ends keepalived when it is killed itself.
  assert.ok(lb1.has(SHARED) && !lb2.has(SHARED));
  assert.doesNotMatch(two.errorLog(), /this node is master/);
  process.kill(daemon.pid, "SIGKILL");
  await waitFor(() => lb2.has(SHARED) && !lb1.has(SHARED), "lb2 to have the address");
});

test("the address of a master that is killed is at the other node", { skip }, async (t) => {
  const hosts = await startHosts(t, ["lb1", "lb2"]);
  const { lb1, lb2 } = hosts;
  const start = (host: Host) => startHoldfast(t, { through: host.enter, config: configOf(host.name, hosts), files });
  const [one, two] = [await start(lb1), await start(lb2)];
  await two.waitForLog(/address 10\.77\.0\.100 on eth0: this node is backup/);
  await waitFor(() => lb1.has(SHARED) && !lb2.has(SHARED), "lb1 to have the address");
  const at = performance.now();
  one.signal("SIGKILL");
  await waitFor(() => lb2.has(SHARED), "lb2 to have the address");
  t.diagnostic(`the address moved in ${Math.round(performance.now() - at)} ms`);
  await waitFor(() => !lb1.has(SHARED), "lb1 to give the address up");
  assert.equal(await two.stop("SIGQUIT"), 0);
  assert.ok(!lb2.has(SHARED));
});

test("whoever asks is told which node has the address, and a node that drains gives it up", { skip }, async (t) => {
  const hosts = await startHosts(t, ["lb1", "lb2"]);
  const { lb1, lb2 } = hosts;
  const start = (host: Host) => {
    const config = configOf(host.name, hosts).replace(
      `return 200 ${host.name};`,
      `return 200 "$cluster_node: $cluster_holder"; } location = /cluster { cluster_status json;`,
    );
    return startHoldfast(t, { through: host.enter, config, files });
  };
  const [one, two] = [await start(lb1), await start(lb2)];
  const told = async (holder: string): Promise<void> => {
    for (const [host, running] of [
      [lb1, one],
      [lb2, two],
    ] as const) {
      await waitFor(
        () => host.run("curl -s http://127.0.0.1/") === `${host.name}: ${holder}`,
        `${host.name} to name ${holder}`,
      );
      const { stdout } = await runTool(running, "cluster", "status");
      assert.match(stdout, new RegExp(`\\n${holder}\\*? .* ${SHARED.replaceAll(".", "\\.")}\\n`));
      const { addresses } = JSON.parse(host.run("curl -s http://127.0.0.1/cluster"));
      assert.deepEqual([addresses[0].address, addresses[0].holders], [SHARED, [holder]]);
    }
  };
  await waitFor(() => lb1.has(SHARED) && !lb2.has(SHARED), "lb1 to have the address");
  await told("lb1");
  assert.equal((await runTool(one, "cluster", "drain")).stdout, "node lb1 is draining\n");
  await waitFor(() => lb2.has(SHARED) && !lb1.has(SHARED), "lb2 to have the address");
  await told("lb2");
  await runTool(one, "cluster", "undrain");
  await waitFor(() => lb1.has(SHARED) && !lb2.has(SHARED), "lb1 to have the address again");
});
