/** A shared address: hosts of network namespaces, each with its own Holdfast and keepalived. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { startDaemon } from "../support/daemon.ts";
import { have } from "../support/have.ts";
import { runHoldfast, runTool, startHoldfast } from "../support/holdfast.ts";
import { type Host, haveHosts, startHosts } from "../support/hosts.ts";
import { isRunning } from "../support/processes.ts";
import { waitFor } from "../support/wait.ts";

const skip = haveHosts() || have("keepalived");
/** Its number among the protocols over IP. */
const VRRP = 112;
const SHARED = "10.77.0.100";

function configOf(name: string, { lb1, lb2 }: Readonly<Record<"lb1" | "lb2", Host>>, cluster = ""): string {
  return `cluster test { node lb1 ${lb1.address}; node lb2 ${lb2.address}; secret_file secret;
      check interval=200 fall=2 rise=1 timeout=2000; virtual_ip ${SHARED}/24 dev=eth0; ${cluster} }
    events {} http { access_log off; server { listen 80; location / { return 200 ${name}; } } }`;
}

const files = { "conf/secret": "a secret of the test's own\n" };

test("-t says what is missing; a start says it in the log, and the rest of the group works", { skip }, async (t) => {
  const hosts = await startHosts(t, ["lb1", "lb2"]);
  const { lb1, lb2 } = hosts;
  const check = async (config: string, through: readonly string[]): Promise<string> => {
    const { code, stderr } = await runHoldfast(t, { config, through, files, args: ["-t"] });
    assert.match(stderr, code === 0 ? /test is successful/ : /test failed/);
    return code === 0 ? "" : (/\[emerg\] (.*) in \S+nginx\.conf:2/.exec(stderr)?.[1] ?? stderr);
  };
  const whole = configOf("lb1", hosts);
  assert.equal(await check(whole, lb1.enter), "");
  assert.equal(await check(whole.replace("eth0", "eth7"), lb1.enter), 'there is no network interface "eth7"');
  const asNobody = [...lb1.enter, "setpriv", "--reuid", "65534", "--clear-groups"];
  assert.match(await check(whole.replace("listen 80", "listen 8080"), asNobody), /^virtual addresses need root/);
  const script = `mount --bind /dev/null "$(command -v keepalived)" && exec "$@"`;
  const without = (host: Host): string[] => [...host.enter, "unshare", "-m", "sh", "-c", script, "sh"];
  assert.match(await check(whole, without(lb1)), /^keepalived, .* is not installed$/);

  const one = await startHoldfast(t, { through: without(lb1), config: whole, files });
  await one.waitForLog(/\[error\] .* keepalived is not installed: this node has no virtual addresses/);
  const two = await startHoldfast(t, { through: lb2.enter, config: configOf("lb2", hosts), files });
  await waitFor(() => lb2.has(SHARED), "lb2 to have the address");
  await one.waitForLog(/enable check peer: 10\.77\.0\.2:7946/);
  await two.waitForLog(/check peer is up: 10\.77\.0\.1:7946|enable check peer: 10\.77\.0\.1:7946/);
});

test("keepalived that dies is started again", { skip }, async (t) => {
  const hosts = await startHosts(t, ["lb1", "lb2"]);
  const one = await startHoldfast(t, { through: hosts.lb1.enter, config: configOf("lb1", hosts), files });
  await waitFor(() => hosts.lb1.has(SHARED), "lb1 to have the address");
  const pid = (): number => Number(one.read("logs/holdfast.keepalived/keepalived.pid"));
  const before = pid();
  process.kill(before, "SIGKILL");
  await one.waitForLog(/\[alert\] .* keepalived has exited, starting it again/);
  await waitFor(() => pid() !== before && pid() > 0 && hosts.lb1.has(SHARED), "another keepalived");
  // A line more in the configuration, and one less.
  assert.ok(await one.reload(configOf("lb1", hosts, "virtual_ip 10.77.0.101/24 dev=eth0;")));
  await waitFor(() => hosts.lb1.has("10.77.0.101") && hosts.lb1.has(SHARED), "both addresses");
  assert.ok(await one.reload("events {} http { server { listen 80; } }"));
  await waitFor(() => !hosts.lb1.has(SHARED) && !hosts.lb1.has("10.77.0.101"), "no address");
});

test("two nodes that do not hear each other's advertisements are reported by name, and have it apart again", {
  skip,
}, async (t) => {
  const hosts = await startHosts(t, ["lb1", "lb2"]);
  const both = [hosts.lb1, hosts.lb2];
  const nodes = await Promise.all(
    both.map((host) => startHoldfast(t, { through: host.enter, config: configOf(host.name, hosts), files })),
  );
  const holders = (): number => both.filter((host) => host.has(SHARED)).length;
  await waitFor(() => holders() === 1, "one holder");
  for (const host of both) host.lose("in", { protocol: VRRP });
  for (const node of nodes) {
    await node.waitForLog(/\[alert\] .*address 10\.77\.0\.100 is at "lb[12]" and "lb[12]" at once/);
  }
  for (const host of both) host.heal();
  await waitFor(() => holders() === 1, "one holder");
  for (const node of nodes) await node.waitForLog(/address 10\.77\.0\.100 is at one node again: lb[12]/);
});

test("addresses of IPv6, and advertisements that go to the other nodes alone", { skip }, async (t) => {
  const hosts = await startHosts(t, ["lb1", "lb2"]);
  const [six, alone] = ["fd77::100", "10.77.0.102"];
  const more = `virtual_ip ${six}/64 dev=eth0 vrid=7; virtual_ip ${alone} dev=eth0 prefer=lb2 unicast advert=50ms;`;
  const start = (host: Host) =>
    startHoldfast(t, { through: host.enter, config: configOf(host.name, hosts, more), files });
  const [one] = await Promise.all([start(hosts.lb1), start(hosts.lb2)]);
  for (const address of [six, alone]) {
    const holders = (): number => [hosts.lb1, hosts.lb2].filter((host) => host.has(address)).length;
    await waitFor(() => holders() === 1, `one holder of ${address}`);
  }
  await waitFor(() => hosts.lb2.has(alone), "lb2 to have what rather belongs to it");
  one.signal("SIGKILL");
  await waitFor(() => [six, alone, SHARED].every((address) => hosts.lb2.has(address)), "lb2 to have all");
});

test("an upgrade moves no address: keepalived goes on", { skip }, async (t) => {
  const hosts = await startHosts(t, ["lb1", "lb2"]);
  const { lb1, lb2 } = hosts;
  // Advertisements that do not come for 300 ms would be enough to move it.
  const config = (name: string): string => configOf(name, hosts).replace("dev=eth0", "dev=eth0 advert=500ms");
  const daemon = await startDaemon(t, config("lb1"), { through: lb1.enter, files });
  await waitFor(() => lb1.has(SHARED), "lb1 to have the address");
  const two = await startHoldfast(t, { through: lb2.enter, config: config("lb2"), files });
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
