/** A shared address: hosts of network namespaces, each with its own Holdfast and keepalived. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { have } from "../support/have.ts";
import { startHoldfast } from "../support/holdfast.ts";
import { haveHosts, startHosts } from "../support/hosts.ts";
import { waitFor } from "../support/wait.ts";

const skip = haveHosts() || have("keepalived");
const SHARED = "10.77.0.100";

test("the address of a master that is killed is at the other node", { skip }, async (t) => {
  const { lb1, lb2 } = await startHosts(t, ["lb1", "lb2"]);
  const start = (host: typeof lb1) =>
    startHoldfast(t, {
      through: host.enter,
      config: `cluster test { node lb1 ${lb1.address}; node lb2 ${lb2.address}; secret_file secret;
          check interval=200 fall=2 rise=1 timeout=200; virtual_ip ${SHARED}/24 dev=eth0; }
        events {} http { access_log off; server { listen 80; location / { return 200 ${host.name}; } } }`,
      files: { "conf/secret": "a secret of the test's own\n" },
    });
  const [one, two] = [await start(lb1), await start(lb2)];
  await two.waitForLog(/address 10\.77\.0\.100 on eth0: this node is BACKUP/);
  await waitFor(() => lb1.has(SHARED) && !lb2.has(SHARED), "lb1 to have the address");
  const at = performance.now();
  one.signal("SIGKILL");
  await waitFor(() => lb2.has(SHARED), "lb2 to have the address");
  t.diagnostic(`the address moved in ${Math.round(performance.now() - at)} ms`);
  await waitFor(() => !lb1.has(SHARED), "lb1 to give the address up");
  assert.equal(await two.stop("SIGQUIT"), 0);
  assert.ok(!lb2.has(SHARED));
});
