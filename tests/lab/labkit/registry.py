"""The registry's contents: images written through its HTTP API once, kept in the cache, and shared by all labs.

A lab's registry runs on an overlay over the kept folder, so it starts full and may be written to.
"""

import fcntl
import gzip
import hashlib
import http.client
import io
import json
import os
import platform
import shutil
import socket
import subprocess
import tarfile
import tempfile
from pathlib import Path

from . import images as image_list
from .binaries import digest
from .paths import LAB_CACHE
from .wait import START, wait_until

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG = "application/vnd.docker.container.image.v1+json"
LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def configuration(storage, address):
    return json.dumps({  # JSON is YAML
        "version": "0.1", "log": {"level": "warn", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(storage)}, "delete": {"enabled": True},
                    "maintenance": {"uploadpurging": {"enabled": False}}},
        "http": {"addr": address}})


def tarball(entries):
    """The uncompressed layer: the same bytes for the same entries."""
    buffer = io.BytesIO()
    done = set()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for entry in entries:
            parts = entry.path.split("/")
            for depth in range(1, len(parts)):
                parent = "/".join(parts[:depth])
                if parent not in done and not any(e.path == parent for e in entries):
                    done.add(parent)
                    _add(tar, parent, tarfile.DIRTYPE, 0o755, 0, b"")
            if entry.source is not None:
                _add(tar, entry.path, tarfile.REGTYPE, entry.mode, entry.uid, entry.source.read_bytes())
            elif entry.text is not None:
                _add(tar, entry.path, tarfile.REGTYPE, entry.mode, entry.uid, entry.text.encode())
            else:
                _add(tar, entry.path, tarfile.DIRTYPE, entry.mode, entry.uid, b"")
    return buffer.getvalue()


def _add(tar, path, kind, mode, uid, data):
    info = tarfile.TarInfo(path)
    info.type, info.mode, info.uid, info.gid, info.size = kind, mode, uid, uid, len(data)
    tar.addfile(info, io.BytesIO(data))


class Registry:
    """A client for pushing and looking."""

    def __init__(self, address):
        self.address = address

    def _request(self, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection(self.address, timeout=30)
        try:
            connection.request(method, path, body=body, headers=headers or {})
            response = connection.getresponse()
            return response.status, response.headers, response.read()
        finally:
            connection.close()

    def answers(self):
        return self._request("GET", "/v2/")[0] == 200

    def tags(self, repository):
        status, _, data = self._request("GET", f"/v2/{repository}/tags/list")
        return sorted(json.loads(data)["tags"]) if status == 200 else []

    def digest(self, repository, tag):
        """The digest of a tag's manifest, `sha256:…`."""
        status, headers, _ = self._request("HEAD", f"/v2/{repository}/manifests/{tag}", headers={"Accept": MANIFEST})
        return headers["Docker-Content-Digest"] if status == 200 else None

    def architectures(self, repository, tag):
        """Those of a tag that is a list of images for several; empty where it is one image."""
        kind = "application/vnd.oci.image.index.v1+json"
        status, headers, data = self._request("GET", f"/v2/{repository}/manifests/{tag}", headers={"Accept": kind})
        listed = json.loads(data).get("manifests", []) if status == 200 and headers["Content-Type"] == kind else []
        return {one["platform"]["architecture"] for one in listed}

    def _push_blob(self, repository, data):
        name = "sha256:" + hashlib.sha256(data).hexdigest()
        if self._request("HEAD", f"/v2/{repository}/blobs/{name}")[0] != 200:
            _, headers, _ = self._request("POST", f"/v2/{repository}/blobs/uploads/")
            place = headers["Location"].split(self.address, 1)[-1]
            status, _, answer = self._request("PUT", f"{place}{'&' if '?' in place else '?'}digest={name}", data,
                                              {"Content-Type": "application/octet-stream"})
            if status != 201:
                raise RuntimeError(f"push of a blob to {repository}: {status} {answer!r}")
        return {"digest": name, "size": len(data)}

    def push(self, image, layers=None):
        """Pushes an image; `layers` keeps layers between calls that share them."""
        layers = {} if layers is None else layers
        if image.entries not in layers:
            plain = tarball(image.entries)
            layers[image.entries] = (hashlib.sha256(plain).hexdigest(), gzip.compress(plain, 1, mtime=0))
        diff, packed = layers[image.entries]
        config = json.dumps({
            "architecture": ARCHITECTURES.get(platform.machine(), platform.machine()), "os": "linux",
            "created": "2020-01-01T00:00:00Z", "config": image.config,
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{diff}"]},
            "history": [{"created": "2020-01-01T00:00:00Z", "created_by": "lab"}]}, sort_keys=True).encode()
        manifest = json.dumps({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": {"mediaType": CONFIG, **self._push_blob(image.repository, config)},
            "layers": [{"mediaType": LAYER, **self._push_blob(image.repository, packed)}]}).encode()
        status, _, answer = self._request("PUT", f"/v2/{image.repository}/manifests/{image.tag}", manifest,
                                          {"Content-Type": MANIFEST})
        if status != 201:
            raise RuntimeError(f"push of {image.repository}:{image.tag}: {status} {answer!r}")


def _fill(storage, images):
    with tempfile.TemporaryDirectory() as scratch, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
        probe.close()
        config = Path(scratch) / "registry.yml"
        config.write_text(configuration(storage, address))
        with open(Path(scratch) / "log", "wb") as log:
            server = subprocess.Popen(["docker-registry", "serve", str(config)], stdout=log, stderr=log)
        try:
            registry = Registry(address)
            wait_until(registry.answers, START, "registry for filling the cache")
            layers = {}
            for image in images:
                registry.push(image, layers)
        finally:
            server.terminate()
            server.wait(timeout=10)


def storage():
    """The kept folder with all images, made when it is not there yet."""
    images = image_list.all_images()
    sources = sorted({e.source for image in images for e in image.entries if e.source})
    # Their bytes are hundreds of megabytes, and each lab asks.
    known = [(str(path), status.st_size, status.st_mtime_ns) for path in sources for status in [path.stat()]]
    key = digest(Path(image_list.__file__), Path(__file__), known)
    kept = LAB_CACHE / f"registry-{key}"
    LAB_CACHE.mkdir(parents=True, exist_ok=True)
    with open(LAB_CACHE / "registry.lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several labs may start at once
        if not kept.exists():
            scratch = Path(tempfile.mkdtemp(dir=LAB_CACHE, prefix="filling-"))
            try:
                _fill(scratch, images)
                os.chmod(scratch, 0o755)
                os.rename(scratch, kept)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
    return kept
