import assert from "node:assert/strict";
import { test } from "node:test";
import { httpBackend } from "../support/backend.ts";
import { startHoldfast } from "../support/holdfast.ts";
import { get } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

/** Longer than setTimeout counts (24.8 days): what fires at once where it is not heeded. */
const LONG = "365d";
const USERS = "u:{PLAIN}p\n";

test("times of a year are waited for, not skipped", async (t) => {
  const waiting: (() => void)[] = [];
  let checks = 0;
  const backend = await httpBackend(t, (incoming, response) => {
    if (incoming.url === "/check") checks++;
    if (incoming.url === "/slow") waiting.push(() => response.end("slow"));
    else response.end("ok");
  });
  const holdfast = await startHoldfast(t, {
    files: { "conf/users": USERS },
    config: ([port]) => `worker_shutdown_timeout ${LONG};
      http { access_log logs/access.log combined buffer=64k flush=${LONG};
        client_header_timeout ${LONG}; client_body_timeout ${LONG}; send_timeout ${LONG}; keepalive_timeout ${LONG};
        lingering_timeout ${LONG}; lingering_time ${LONG}; resolver 127.0.0.1 valid=${LONG}; resolver_timeout ${LONG};
        upstream u { server ${backend.address} fail_timeout=${LONG} slow_start=${LONG}; server ${backend.address} backup;
          keepalive_timeout ${LONG}; keepalive_time ${LONG}; zone u 64k; }
        server { listen 127.0.0.1:${port}; proxy_connect_timeout ${LONG}; proxy_read_timeout ${LONG};
          proxy_send_timeout ${LONG}; proxy_next_upstream_timeout ${LONG};
          location / { proxy_pass http://u; health_check uri=/check interval=${LONG} timeout=${LONG} passes=1; }
          location /secret { auth_basic r; auth_basic_user_file users; auth_delay ${LONG}; }
          location /soon { auth_basic r; auth_basic_user_file users; auth_delay 50ms; } } }`,
  });
  await waitFor(() => (checks > 0 ? true : undefined), "the first check");
  const answered: string[] = [];
  const denied = get(holdfast.port, "/secret").then(
    () => answered.push("denied"),
    () => {},
  );
  const slow = get(holdfast.port, "/slow").then((response) => answered.push(response.body));
  const release = await waitFor(() => waiting[0], "the slow request");
  assert.equal((await get(holdfast.port, "/")).body, "ok");
  assert.equal((await get(holdfast.port, "/soon")).status, 401);
  assert.deepEqual(answered, [], "auth_delay is over");
  assert.equal(holdfast.accessLog(), "", "flush is over");
  assert.equal(await holdfast.reload(), true);
  assert.equal((await get(holdfast.port, "/soon")).status, 401);
  assert.deepEqual(answered, [], "worker_shutdown_timeout is over after a reload");
  holdfast.signal("SIGQUIT");
  await holdfast.waitForLog(/\[notice\] [^\n]*shutting down/);
  release();
  await slow;
  assert.deepEqual(answered, ["slow"], "worker_shutdown_timeout is over after SIGQUIT");
  assert.ok(checks <= 2, `${checks} checks in an interval of a year`);
  assert.equal(await holdfast.stop("SIGTERM"), 0);
  await denied;
});
