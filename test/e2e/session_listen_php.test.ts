import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { startHoldfast } from "../support/holdfast.ts";
import { havePhpModule, type PhpFpm, startPhp } from "../support/php.ts";
import { canBind, freePort } from "../support/ports.ts";
import { workersOf } from "../support/processes.ts";
import { noRedis, startRedis } from "../support/redis.ts";
import { get } from "../support/tcp.ts";
import { waitFor } from "../support/wait.ts";

/** PHP's own session handler for memcached, unchanged: `session_listen` is all that a shop needs. */

const SHOP = `<?php
  session_start();
  $item = $_GET['add'] ?? null;
  if ($item !== null) $_SESSION['cart'][$item] = ($_SESSION['cart'][$item] ?? 0) + 1;
  if (isset($_GET['slow'])) usleep(200000);
  header('Content-Type: application/json');
  echo json_encode(['cart' => $_SESSION['cart'] ?? (object) [], 'id' => session_id()]);`;

/** As in docs/sessions.md. */
function pool(port: number): string {
  return `pm=static
pm.max_children=3
php_admin_value[extension]=memcached.so
php_admin_value[session.save_handler]=memcached
php_admin_value[session.save_path]=127.0.0.1:${port}
php_admin_value[memcached.sess_binary_protocol]=0
php_admin_value[memcached.sess_locking]=1
php_admin_value[memcached.sess_lock_wait_min]=10
php_admin_value[memcached.sess_lock_wait_max]=50
php_admin_value[memcached.sess_lock_retries]=500`;
}

function config(zone: string, listen: number, port: number, shops: readonly PhpFpm[]): string {
  const servers = shops.map(({ address }) => `server ${address};`).join(" ");
  return `user root; worker_processes 2; http { session_timeout 10s; session_zone carts:8m ${zone};
    session_listen 127.0.0.1:${listen} zone=carts;
    upstream shops { ${servers} }
    server { listen 127.0.0.1:${port};
      location / { fastcgi_pass shops; fastcgi_param REQUEST_METHOD GET; fastcgi_param QUERY_STRING $args;
        fastcgi_param HTTP_COOKIE "PHPSESSID=$arg_id"; fastcgi_param SCRIPT_FILENAME $fastcgi_root/index.php; } } }`;
}

test(
  "a cart of PHP's is there on every server, after a killed worker and after a killed Holdfast",
  {
    skip: havePhpModule("memcached"),
  },
  (t) => keepCart(t, ""),
);

test(
  "and so it is where a group of nodes has the carts",
  {
    skip: havePhpModule("memcached") || noRedis,
  },
  async (t) => keepCart(t, `store=redis://${(await startRedis(t)).address}`),
);

async function keepCart(t: TestContext, zone: string): Promise<void> {
  const listen = await freePort();
  const port = await freePort();
  const scripts = { "index.php": SHOP };
  const shops = [await startPhp(t, scripts, pool(listen)), await startPhp(t, scripts, pool(listen))];
  const text = config(zone, listen, port, shops).replace("$fastcgi_root", shops[0].root);
  let holdfast = await startHoldfast(t, { config: text });
  const id = "0123456789abcdef0123456789abcdef";
  const ask = async (query: string): Promise<unknown> => {
    const { body } = await get(port, `/?id=${id}&${query}`);
    return JSON.parse(body.slice(body.indexOf("{"))).cart;
  };
  assert.deepEqual(await ask("add=apple"), { apple: 1 });
  assert.deepEqual(await ask("add=pear"), { apple: 1, pear: 1 });
  await shops[0].stop();
  assert.deepEqual(await ask("add=apple"), { apple: 2, pear: 1 });
  await shops[0].start();
  const [worker] = workersOf(holdfast.pid);
  process.kill(worker, "SIGKILL");
  await waitFor(
    () => !workersOf(holdfast.pid).includes(worker) && workersOf(holdfast.pid).length === 2,
    "a new worker",
  );
  assert.deepEqual(await ask("add=plum"), { apple: 2, pear: 1, plum: 1 });
  await holdfast.stop("SIGKILL");
  for (const one of [listen, port]) await waitFor(() => canBind(one), "a free port");
  holdfast = await startHoldfast(t, { config: text, prefix: holdfast.prefix });
  assert.deepEqual(await ask("x"), { apple: 2, pear: 1, plum: 1 });
  // Locked: of requests at the same time none loses what another has put in.
  await Promise.all(Array.from({ length: 6 }, () => ask("add=grape&slow=1")));
  assert.deepEqual(await ask("x"), { apple: 2, pear: 1, plum: 1, grape: 6 });
}
