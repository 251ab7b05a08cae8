# The header way: no library, no request to anybody.
import base64, json, os


def application(environ, start_response):
    cart = json.loads(base64.b64decode(environ.get("HTTP_X_SESSION_DATA", "e30="))).get("cart", {})
    headers = [("X-Server", os.environ.get("SERVER_LABEL", ""))]
    if environ["PATH_INFO"].startswith("/add/"):
        item = environ["PATH_INFO"].removeprefix("/add/")
        cart[item] = cart.get(item, 0) + 1
        patch = json.dumps({"cart": {item: cart[item]}}).encode()
        headers.append(("X-Session-Set", base64.b64encode(patch).decode()))
    start_response("200 OK", headers)
    return [json.dumps(cart).encode()]
