"""Sessions in a session zone of Holdfast, as WSGI middleware: environ["holdfast.session"] is a dict of what JSON has.

The id and, where it is small enough, the data come with the request. What the application has changed is sent to the session
API as a merge patch with the version that it was made from, before the response begins: so what is answered is stored, and two
requests of one visitor do not undo one another's changes.
"""

import base64
import copy
import json
import urllib.error
import urllib.request


class SessionError(Exception):
    """The session could not be read or changed; status is the API's."""

    def __init__(self, status, sentence):
        super().__init__(f"the session API has answered {status}: {sentence}")
        self.status = status


class HoldfastSession:
    """api: "http://127.0.0.1:8081/session-api/"."""

    def __init__(self, application, api):
        self.application = application
        self.api = api

    def __call__(self, environ, start_response):
        url = self.api + environ["HTTP_X_SESSION_ID"]
        session, version = self.read(url, environ)
        known = copy.deepcopy(session)
        environ["holdfast.session"] = session

        def start(status, headers, exc_info=None):
            changes = merge_patch(known, session)
            if changes:
                ask(url, "PATCH", version, changes)
            return start_response(status, headers, exc_info)

        return self.application(environ, start)

    @staticmethod
    def read(url, environ):
        version = environ.get("HTTP_X_SESSION_VERSION", "0")
        data = environ.get("HTTP_X_SESSION_DATA")
        if data:
            return json.loads(base64.b64decode(data)), version
        if version == "0":
            return {}, version
        # Data that a request does not carry are asked for.
        try:
            return ask(url, "GET")
        except SessionError as error:
            if error.status == 404:
                return {}, "0"
            raise


def merge_patch(before, after):
    """The merge patch (RFC 7396) that makes `after` of `before`."""
    patch = {name: None for name in before if name not in after}
    for name, value in after.items():
        old = before.get(name)
        if isinstance(old, dict) and isinstance(value, dict):
            changes = merge_patch(old, value)
            if changes:
                patch[name] = changes
        elif old != value:
            patch[name] = value
    return patch


def ask(url, method, version="0", body=None):
    """Returns what is answered, and the session's version."""
    headers = {"Content-Type": "application/merge-patch+json", "X-Session-Version": version}
    data = None if body is None else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, headers, method=method), timeout=2) as answer:
            return json.loads(answer.read() or "null"), answer.headers["X-Session-Version"]
    except urllib.error.HTTPError as error:
        raise SessionError(error.code, error.read().decode()) from error
