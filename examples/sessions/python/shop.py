"""A shop under any WSGI server. SESSION_API in its environment: where the session API is."""

import json
import os

from holdfast_session import HoldfastSession


def shop(environ, start_response):
    cart = environ["holdfast.session"].get("cart", {})
    path = environ["PATH_INFO"]
    if path.startswith("/add/"):
        item = path.removeprefix("/add/")
        cart[item] = cart.get(item, 0) + 1
        environ["holdfast.session"]["cart"] = cart
    start_response("200 OK", [("Content-Type", "application/json"), ("X-Server", os.environ.get("SERVER_LABEL", ""))])
    return [json.dumps(cart).encode()]


application = HoldfastSession(shop, os.environ.get("SESSION_API", "http://127.0.0.1:8081/session-api/"))
