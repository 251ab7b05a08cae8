import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { have } from "../support/have.ts";
import { startHoldfast } from "../support/holdfast.ts";
import { canBind, freePort } from "../support/ports.ts";
import { get } from "../support/tcp.ts";
import { startUwsgi } from "../support/uwsgi.ts";
import { waitFor } from "../support/wait.ts";

/** Python's frameworks with their own session back ends for memcached, unchanged. */

/** As in docs/sessions.md. */
const FLASK = (port: number): string => `
from flask import Flask, jsonify, session
from flask_session import Session
from pymemcache.client.base import PooledClient
from pymemcache.client.retrying import RetryingClient
from pymemcache.exceptions import MemcacheUnexpectedCloseError
app = Flask(__name__)
memcached = RetryingClient(PooledClient(("127.0.0.1", ${port})), attempts=10, retry_delay=0.5,
                           retry_for=[OSError, MemcacheUnexpectedCloseError])
app.config.update(SESSION_TYPE="memcached", SESSION_MEMCACHED=memcached)
Session(app)

@app.route("/add/<item>")
def add(item):
    cart = session.get("cart", {})
    cart[item] = cart.get(item, 0) + 1
    session["cart"] = cart
    return jsonify(cart)

@app.route("/cart")
def cart():
    return jsonify(session.get("cart", {}))

application = app
`;

/** As in docs/sessions.md. */
const DJANGO = (port: number): string => `
import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import JsonResponse
from django.urls import path
settings.configure(
    SECRET_KEY="x" * 50, ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__,
    MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware"],
    SESSION_ENGINE="django.contrib.sessions.backends.cache",
    CACHES={"default": {"BACKEND": "django.core.cache.backends.memcached.PyMemcacheCache", "LOCATION": "127.0.0.1:${port}"}})

def add(request, item):
    cart = request.session.get("cart", {})
    cart[item] = cart.get(item, 0) + 1
    request.session["cart"] = cart
    return JsonResponse(cart)

def cart(request):
    return JsonResponse(request.session.get("cart", {}))

urlpatterns = [path("add/<item>", add), path("cart", cart)]
application = get_wsgi_application()
`;

/** As `have`, for uWSGI and modules of Debian's Python. */
function havePython(...modules: readonly string[]): false | string {
  const missing = have("uwsgi");
  if (missing !== false) return missing;
  const { status } = spawnSync("/usr/bin/python3", ["-c", `import ${modules.join(", ")}`]);
  if (status === 0) return false;
  const reason = `Python has not all of ${modules.join(", ")}`;
  if (process.env.CI === "true") throw new Error(reason);
  return reason;
}

const APPLICATIONS = [
  ["Flask", FLASK, ["flask", "flask_session", "pymemcache"]],
  ["Django", DJANGO, ["django", "pymemcache"]],
] as const;

for (const [name, application, modules] of APPLICATIONS) {
  test(`a cart of ${name}'s is there on every server, and after a killed Holdfast`, {
    skip: havePython(...modules),
  }, async (t) => {
    const listen = await freePort();
    const port = await freePort();
    const shops = [await startUwsgi(t, application(listen)), await startUwsgi(t, application(listen))];
    const config = `user root; worker_processes 2; http { session_zone carts:8m; session_listen 127.0.0.1:${listen} zone=carts;
      upstream shops { ${shops.map(({ address }) => `server ${address};`).join(" ")} }
      server { listen 127.0.0.1:${port};
        location / { uwsgi_pass shops; uwsgi_param REQUEST_METHOD GET; uwsgi_param PATH_INFO $uri; uwsgi_param QUERY_STRING "";
          uwsgi_param SERVER_NAME shop; uwsgi_param SERVER_PORT 80; uwsgi_param SERVER_PROTOCOL HTTP/1.1; } } }`;
    let holdfast = await startHoldfast(t, { config });
    let cookie = "";
    const ask = async (path: string): Promise<unknown> => {
      const answer = await get(port, path, ...(cookie === "" ? [] : [`Cookie: ${cookie}`]));
      cookie = answer.header("set-cookie")?.split(";")[0] ?? cookie;
      assert.equal(answer.status, 200, answer.raw);
      return JSON.parse(answer.body);
    };
    assert.deepEqual(await ask("/add/apple"), { apple: 1 });
    assert.deepEqual(await ask("/add/apple"), { apple: 2 });
    assert.deepEqual(await ask("/add/pear"), { apple: 2, pear: 1 });
    await holdfast.stop("SIGKILL");
    for (const one of [listen, port]) await waitFor(() => canBind(one), "a free port");
    holdfast = await startHoldfast(t, { config, prefix: holdfast.prefix });
    const carts = [await ask("/cart"), await ask("/cart")];
    assert.deepEqual(carts, [
      { apple: 2, pear: 1 },
      { apple: 2, pear: 1 },
    ]);
  });
}
