"""https endpoints whose certificate vouches for nothing, and names that nobody resolves: each probe is refused,
within its deadline, with what is wrong and where. Real TLS servers on the loopback; certificates are made here, by openssl."""

import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path

from labkit.authority import Authority
from labkit.needs import Skip
from labkit.paths import deployrun
from labkit.program import environment

RECIPE = """\
local deploy = require "deploy"
local http, json = require "native.http", require "native.json"
deploy.command "probe" {{ reads = true, run = function()
  local ok, got = pcall({call})
  print(json.encode(ok and {{ status = got.status, reason = got.reason }}
    or {{ kind = got.kind, message = got.message, hint = got.hint, last = got.last }}))
end }}
"""


@contextmanager
def tls_server(certificate, key, version="v2"):
    """A server on the loopback with that certificate; its port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        def serve():
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                try:
                    with context.wrap_socket(connection, server_side=True) as stream:
                        stream.recv(65536)
                        stream.sendall(f"HTTP/1.1 200 OK\r\nX-Version: {version}\r\nContent-Length: 2\r\n"
                                       "Connection: close\r\n\r\nok".encode())
                except (OSError, ssl.SSLError):
                    pass  # the client refused us: what is tested
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(10)


def _ask(folder, call, before=()):
    """What the call in a recipe gave, and how long the whole program took. `before`: words in front of the command."""
    (folder / "probe.lua").write_text(RECIPE.format(call=call))
    done = subprocess.run([*before, str(deployrun()), "probe.lua", "-q"], cwd=folder, capture_output=True, text=True,
                          check=False, timeout=60, env=environment({"HOME": folder}), stdin=subprocess.DEVNULL)
    assert done.returncode == 0 and done.stdout.startswith("{"), done
    return json.loads(done.stdout.splitlines()[0])


@contextmanager
def _folder():
    if not shutil.which("openssl"):
        raise Skip("openssl is not installed")
    with tempfile.TemporaryDirectory(prefix="deployrun-tls-") as path:
        yield Path(path)


def _probe(port, ca, more=""):
    return f'http.probe, "https://localhost:{port}/up", 200, {{ ca_file = "{ca}", timeout = "5s" {more} }}'


def test_bad_certificates_are_refused():
    with _folder() as folder:
        ca, other = Authority.new(folder, "ca"), Authority.new(folder, "other")
        good = ca.issue("good")
        ca.issue("middle", extra="basicConstraints=critical,CA:TRUE")
        forged = Authority(folder, "good").issue("forged")
        forged[0].write_text(forged[0].read_text() + good[0].read_text())
        cases = {
            "expired": (ca.issue("old", days=-1), "expired"),
            "another name": (ca.issue("name", alt="DNS:shop.example"), "localhost"),
            "a wildcard of another domain": (ca.issue("wild", alt="DNS:*.example"), "localhost"),
            "an address only": (ca.issue("address", alt="IP:127.0.0.1"), "localhost"),
            "signed by itself": ((folder / "other.pem", folder / "other.key"), "self.signed|issuer"),
            "signed by nobody known": (other.issue("stranger"), "issuer"),
            "a link of the chain is missing": (Authority(folder, "middle").issue("leaf"), "issuer"),
            "for clients alone": (ca.issue("client", extra="extendedKeyUsage=clientAuth"), "purpose"),
            "a chain through one that may not sign": (forged, "CA certificate"),
        }
        told = []
        with tls_server(*good) as port:
            assert _ask(folder, _probe(port, folder / "ca.pem")) == {"status": 200}
            none = _ask(folder, f'http.probe, "https://localhost:{port}/up", 200, {{ timeout = "5s" }}')
            assert none["kind"] == "http.tls", none  # the system's authorities do not know ours
            assert _ask(folder, _probe(port, "/nowhere.pem"))["kind"] == "http.tls"
            for version, said in (("v2", None), ("v3", "header X-Version is `v2`, not `v3`")):
                expect = f'{{ headers = {{ ["X-Version"] = "{version}" }} }}'
                got = _ask(folder, _probe(port, folder / "ca.pem").replace(", 200,", f", {expect},"))
                assert got == {"status": 200, **({"reason": said} if said else {})}, got
        _days_left(folder, ca)
        for name, (pair, words) in cases.items():
            with tls_server(*pair) as port:
                got = _ask(folder, _probe(port, folder / "ca.pem"))
                assert got.get("kind") == "http.tls", (name, got)
                assert f"GET https://localhost:{port}/up: " in got["message"], (name, got)
                assert re.search(words, got["message"], re.I), (name, got)
                assert got.get("hint"), (name, got)
                told.append(f"{name}: {got['message']}")
        return "\n".join(told)


def _days_left(folder, ca):
    """A certificate that is good today may be one that somebody has to renew tomorrow."""
    with tls_server(*ca.issue("soon", days=10)) as port:
        for days, reason in ((9, None), (11, "the certificate ends in 10 days, 11 are asked for")):
            got = _ask(folder, _probe(port, folder / "ca.pem").replace(", 200,", f", {{ tls_days = {days} }},"))
            assert got == {"status": 200, **({"reason": reason} if reason else {})}, got
        call = _probe(port, folder / "ca.pem", ', within = "1s"').replace("http.probe", "http.wait_healthy")
        got = _ask(folder, call.replace(" 200, {", " { expect = { tls_days = 300 },"))
        assert got["kind"] == "http.unhealthy" and "300 are asked for" in got["last"], got


UNSHARED = """\
import os, socket, subprocess, sys
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
subprocess.run(["mount", "--bind", "resolv.conf", "/etc/resolv.conf"], check=True)
silent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)  # answers no question
if sys.argv[1] == "silent": silent.bind(("127.0.0.1", 53))
sys.exit(subprocess.run(sys.argv[2:]).returncode)
"""


def test_names_that_nobody_resolves():
    if os.geteuid() != 0:
        raise Skip("needs root")
    with _folder() as folder:
        (folder / "resolv.conf").write_text("nameserver 127.0.0.1\n")
        (folder / "alone.py").write_text(UNSHARED)
        told = []
        for resolver in ("none", "silent"):
            before = ["unshare", "--net", "--mount", sys.executable, "alone.py", resolver]
            call = ('function() local began = require("native.task").now(); local ok, got = pcall(http.wait_healthy, '
                    '"https://shop.example/up", { within = "2s", timeout = "1s" }); '
                    'got.message = got.message .. (" [%d ms]"):format(require("native.task").now() - began); '
                    'error(got, 0) end')
            got = _ask(folder, call, before)
            assert got["kind"] == "http.unhealthy", got
            waited = int(re.search(r"\[(\d+) ms\]", got["message"])[1])
            assert 1500 <= waited <= 20000, got
            told.append(f"{resolver}: {got}")
        return "\n".join(told)
