"""The engine's own floor: the docker steps of a deploy by a plain client on the engine's local socket, nothing else.

Runs on the server itself. Each line of standard input is one deploy as JSON; its answer is the milliseconds it took.
"""

import http.client
import json
import socket
import sys
import time
from urllib.parse import quote


class Engine(http.client.HTTPConnection):
    def __init__(self):
        super().__init__("engine")

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect("/var/run/docker.sock")

    def call(self, method, path, body=None):
        self.request(method, path, body=None if body is None else json.dumps(body),
                     headers={"Content-Type": "application/json"} if body is not None else {})
        response = self.getresponse()
        data = response.read()
        if response.status >= 400:
            raise RuntimeError(f"{method} {path}: {response.status} {data.decode()}")
        return data

    def get(self, path):
        return json.loads(self.call("GET", path))


def healthy(address):
    try:
        connection = http.client.HTTPConnection(address, 80, timeout=1)
        connection.request("GET", "/up")
        return connection.getresponse().status == 200
    except OSError:
        return False


def run_in_proxy(engine, argv):
    made = json.loads(engine.call("POST", "/containers/kamal-proxy/exec",
                                  {"AttachStdout": True, "AttachStderr": True, "Cmd": argv}))["Id"]
    engine.call("POST", f"/exec/{made}/start", {"Detach": False, "Tty": False})
    if engine.get(f"/exec/{made}/json")["ExitCode"] != 0:
        raise RuntimeError(f"{argv} failed")


def start(engine, order):
    """Pulls and creates the new container, or wakes the kept one; returns when it answers."""
    name = order["new"]
    if order["pull"]:
        engine.call("POST", f"/images/create?fromImage={quote(order['image'], safe='')}")
        engine.call("POST", f"/containers/create?name={name}",
                    {"Image": order["image"], "HostConfig": {"NetworkMode": "kamal", "RestartPolicy": {"Name": "unless-stopped"}}})
    engine.call("POST", f"/containers/{name}/start")
    address = engine.get(f"/containers/{name}/json")["NetworkSettings"]["Networks"]["kamal"]["IPAddress"]
    while not healthy(address):
        time.sleep(0.005)


def deploy(engine, order):
    start(engine, order)
    run_in_proxy(engine, ["kamal-proxy", "deploy", order["service"], f"--target={order['new']}:80", f"--host={order['host']}",
                          "--health-check-interval=100ms"])
    if order["old"]:
        engine.call("POST", f"/containers/{order['old']}/stop?t=10")
    if order["oldest"]:
        engine.call("DELETE", f"/containers/{order['oldest']}?v=1")
        engine.call("DELETE", f"/images/{quote(order['oldest_image'], safe='/:')}")


def main():
    engine = Engine()
    for line in sys.stdin:
        begin = time.monotonic()
        deploy(engine, json.loads(line))
        print(1000 * (time.monotonic() - begin), flush=True)


if __name__ == "__main__":
    main()
