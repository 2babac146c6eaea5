"""A registry in front of the lab's registry that goes wrong when it is told to: it answers one client badly and forwards
everything else as it is."""

import http.client
import re
import socketserver
import threading
from http.server import BaseHTTPRequestHandler

PASSED = ("Content-Type", "Content-Length", "Docker-Content-Digest", "Docker-Distribution-Api-Version", "ETag", "Location",
          "WWW-Authenticate")


DIGEST = re.compile(rb"(sha256:)([0-9a-f]{64})")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.server.owner._answer(self)

    do_HEAD = do_GET


class _Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    allow_reuse_address = True
    daemon_threads = True

    def handle_error(self, *_):
        pass  # a client that left


class FaultyRegistry:
    """Listens on this machine's address in the lab's network; `address` is what image names begin with.

    `fault` is None or one of: "500", "429", "hang", "trickle", "wrong digest" (of the configuration, in a manifest),
    "expired token". It hits the client `victim` (an address) alone, where a path has `only` in it, `times` times (None: always)."""

    def __init__(self, lab):
        self._upstream = lab.registry_address
        self._server = _Server((f"10.99.{lab.number}.254", 0), _Handler)
        self._server.owner = self
        self.address = f"10.99.{lab.number}.254:{self._server.server_address[1]}"
        self.fault = None
        self.victim = None
        self.only = "/"
        self.times = None
        self.hits = 0
        self._released = threading.Event()
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._released.set()
        self._server.shutdown()
        self._server.server_close()

    def strike(self, fault, victim, only="/", times=None):
        self.fault, self.victim, self.only, self.times, self.hits = fault, victim, only, times, 0
        self._released.clear()

    def heal(self):
        self.fault = None
        self._released.set()

    def _strikes(self, request):
        return (request.client_address[0] == self.victim and self.only in request.path
                and (self.times is None or self.hits < self.times))

    def _answer(self, request):
        fault = self.fault if self._strikes(request) else None
        if fault:
            self.hits += 1
        if fault == "500":
            return self._say(request, 500, b'{"errors":[{"code":"UNKNOWN","message":"unknown error"}]}')
        if fault == "429":
            return self._say(request, 429, b'{"errors":[{"code":"TOOMANYREQUESTS","message":"slow down"}]}',
                             {"Retry-After": "1"})
        if fault == "expired token":
            if request.path.startswith("/token"):
                return self._say(request, 401, b'{"errors":[{"code":"UNAUTHORIZED","message":"token expired"}]}')
            realm = f'Bearer realm="http://{self.address}/token",service="lab",scope="repository:app:pull"'
            return self._say(request, 401, b'{"errors":[{"code":"UNAUTHORIZED","message":"token expired"}]}',
                             {"WWW-Authenticate": realm})
        if fault == "hang":
            self._released.wait()
            request.close_connection = True
            return None
        return self._forward(request, fault)

    def _forward(self, request, fault):
        upstream = http.client.HTTPConnection(self._upstream, timeout=60)
        try:
            # An engine that asks what a tag means says in several lines what it accepts.
            headers = {name: ", ".join(request.headers.get_all(name)) for name in ("Accept", "Range") if name in request.headers}
            upstream.request(request.command, request.path, headers=headers)
            answer = upstream.getresponse()
            body = answer.read()
            if fault == "wrong digest" and "/manifests/" in request.path and body:
                body = DIGEST.sub(lambda found: found[1] + found[2][::-1], body, count=1)
            passed = {name: answer.headers[name] for name in PASSED if answer.headers[name]}
            self._say(request, answer.status, body, passed, slow=fault == "trickle")
        finally:
            upstream.close()

    def _say(self, request, status, body, headers=None, slow=False):
        request.send_response(status)
        headers = {"Content-Length": str(len(body)), **(headers or {})}
        for name, value in headers.items():
            request.send_header(name, value)
        request.end_headers()
        if request.command == "HEAD":
            return
        if not slow:
            request.wfile.write(body)
            return
        for index in range(0, len(body), 20):
            request.wfile.write(body[index:index + 20])
            request.wfile.flush()
            if self._released.wait(1):
                return  # healed: the client sees a body that ends early
