"""A small Engine API client over a Unix socket, for looking at what deployrun did, independently of it."""

import http.client
import json
import socket
import struct
from urllib.parse import quote


class EngineError(Exception):
    def __init__(self, method, path, status, message):
        super().__init__(f"{method} {path}: {status} {message}")
        self.status = status


class _Connection(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__("engine", timeout=timeout)
        self._path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Engine:
    def __init__(self, socket_path):
        self.socket_path = str(socket_path)

    def raw(self, method, path, body=None, timeout=60):
        """One call; returns (status, bytes)."""
        connection = _Connection(self.socket_path, timeout)
        try:
            data = None if body is None else json.dumps(body)
            connection.request(method, path, body=data, headers={"Content-Type": "application/json"} if data else {})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def call(self, method, path, body=None, timeout=60):
        """One call; returns the decoded JSON answer or None. Raises EngineError from status 400 on."""
        status, data = self.raw(method, path, body, timeout)
        if status >= 400:
            raise EngineError(method, path, status, data.decode(errors="replace").strip())
        if not data.strip():
            return None
        lines = data.splitlines()
        return json.loads(data) if len(lines) == 1 else [json.loads(line) for line in lines if line.strip()]

    def get(self, path):
        return self.call("GET", path)

    def pull(self, image):
        progress = self.call("POST", f"/images/create?fromImage={quote(image, safe='')}", timeout=300)
        for event in progress if isinstance(progress, list) else [progress]:
            if event and "error" in event:
                raise EngineError("POST", "/images/create", 200, event["error"])

    def containers(self):
        """All containers, inspected."""
        found = []
        for entry in self.get("/containers/json?all=1"):
            try:
                found.append(self.get(f"/containers/{entry['Id']}/json"))
            except EngineError as error:
                if error.status != 404:  # removed meanwhile
                    raise
        return found

    def run(self, name, image, *, env=(), cmd=None, network=None, publish=None, labels=None, volumes=(), pull=True,
            restart="no", host_config=None):
        """Creates and starts a container; returns its id. `publish` maps host ports to container ports; `host_config`
        is added to the HostConfig of the Engine API."""
        if pull:
            self.pull(image)
        ports = {f"{inner}/tcp": [{"HostPort": str(outer)}] for outer, inner in (publish or {}).items()}
        spec = {"Image": image, "Env": list(env), "Labels": labels or {},
                "ExposedPorts": {port: {} for port in ports},
                "HostConfig": {"PortBindings": ports, "Binds": list(volumes), "RestartPolicy": {"Name": restart},
                               "NetworkMode": network or "default", **(host_config or {})}}
        if cmd:
            spec["Cmd"] = list(cmd)
        container = self.call("POST", f"/containers/create?name={name}", spec)["Id"]
        self.call("POST", f"/containers/{container}/start")
        return container

    def network(self, name):
        if not any(n["Name"] == name for n in self.get("/networks")):
            self.call("POST", "/networks/create", {"Name": name, "CheckDuplicate": True})

    def exec(self, container, argv, timeout=60):
        """Runs argv in a container; returns (exit code, stdout, stderr)."""
        created = self.call("POST", f"/containers/{container}/exec",
                            {"AttachStdout": True, "AttachStderr": True, "Cmd": list(argv)})["Id"]
        _, data = self.raw("POST", f"/exec/{created}/start", {"Detach": False, "Tty": False}, timeout)
        out = self._frames(data)
        return self.get(f"/exec/{created}/json")["ExitCode"], out[1], out[2]

    def logs(self, container):
        _, data = self.raw("GET", f"/containers/{container}/logs?stdout=1&stderr=1")
        out = self._frames(data)
        return out[1] + out[2]

    def remove(self, container):
        self.call("DELETE", f"/containers/{container}?force=1&v=1")

    @staticmethod
    def _frames(data):
        """Takes apart the engine's multiplexed stream: 8 bytes of header (stream, 3 zeros, length), then the bytes."""
        streams = {0: "", 1: "", 2: ""}
        while len(data) >= 8:
            stream, length = struct.unpack(">BxxxI", data[:8])
            streams[stream] += data[8:8 + length].decode(errors="replace")
            data = data[8 + length:]
        return streams
