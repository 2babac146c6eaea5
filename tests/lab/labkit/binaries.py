"""Programs that the lab builds or finds. What it builds is kept in the cache under a hash of the sources, so it is
never stale and built once."""

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from .needs import Skip, find
from .paths import DEPS, LAB_CACHE, ROOT

FLAGS = ["-std=c++20", "-O2"]


def digest(*parts):
    """A short hash of files and strings."""
    sha = hashlib.sha256()
    for part in parts:
        data = part.read_bytes() if isinstance(part, Path) else str(part).encode()
        sha.update(len(data).to_bytes(8, "big") + data)
    return sha.hexdigest()[:16]


def _build(name, folder, flags, more=()):
    sources = sorted([*folder.glob("*.cpp"), *more])
    target = LAB_CACHE / f"{name}-{digest(*flags, *sources, *sorted(folder.glob('*.hpp')))}"
    if target.exists():
        return target
    LAB_CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=LAB_CACHE) as scratch:
        output = Path(scratch) / name
        subprocess.run(["g++", *FLAGS, *map(str, sources), "-o", str(output), *flags], check=True)
        os.rename(output, target)  # whole or not at all: another lab may be building the same
    return target


def app():
    """The demo app, static."""
    return _build("demo_app", ROOT / "recipes" / "demo" / "app", ["-static", "-pthread", "-s"])


def notes_app():
    """The app of the SQLite tests, static, with the SQLite that the set-up script builds."""
    demo = ROOT / "recipes/demo/app"
    flags = [f"-I{demo}", f"-I{DEPS / 'include'}", str(DEPS / "lib" / "libsqlite3.a"), "-static", "-pthread", "-s"]
    return _build("notes_app", ROOT / "tests" / "lab" / "notes_app", flags, [demo / "http.cpp"])


def load():
    """The load generator, with the libcurl that the set-up script builds."""
    return _build("lab_load", ROOT / "tests" / "support" / "load",
                  [f"-I{DEPS / 'include'}", str(DEPS / "lib" / "libcurl.a"), "-lssl", "-lcrypto", "-pthread"])


def kamal_proxy():
    """kamal-proxy as the set-up script installs it, or from the search path. Raises Skip."""
    for path in (DEPS / "bin" / "kamal-proxy", shutil.which("kamal-proxy")):
        if path and Path(path).exists():
            return Path(path)
    raise Skip("kamal-proxy is not installed (needs a Go toolchain when set up)")


def traefik():
    """Traefik as the set-up script builds it. Raises Skip."""
    path = DEPS / "bin" / "traefik"
    if not path.exists():
        raise Skip("traefik is not installed (needs a Go toolchain when set up)")
    return path


def buildkit(program):
    """buildkitd or buildctl as the set-up script builds it. Raises Skip."""
    path = DEPS / "bin" / program
    if not path.exists():
        raise Skip(f"{program} is not installed (needs a Go toolchain when set up)")
    return path


def versitygw():
    """The S3 server that the set-up script builds. Raises Skip."""
    path = DEPS / "bin" / "versitygw"
    if not path.exists():
        raise Skip("versitygw is not installed (needs a Go toolchain when set up)")
    return path


def buildx():
    """Docker's plugin as the set-up script keeps it, or as a package has installed it. Raises Skip."""
    folders = [DEPS / "bin"] + [Path(place) / "docker/cli-plugins" for place in
                                          ("/usr/libexec", "/usr/lib", "/usr/local/libexec", "/usr/local/lib")]
    for folder in folders:
        if (folder / "docker-buildx").exists():
            return folder / "docker-buildx"
    raise Skip("docker-buildx is not installed")


def compose():
    """Docker's plugin as the set-up script keeps it. Raises Skip."""
    path = DEPS / "bin" / "docker-compose"
    if not path.exists():
        raise Skip("docker-compose (version 2) is not installed")
    return path


def packaged(program, package=None):
    """A program of the distribution. Raises Skip."""
    path = find(program)
    if path is None:
        raise Skip(f"packages are missing: {package or program}")
    return Path(path)


def caddy():
    """The distribution's Caddy. Raises Skip."""
    return packaged("caddy")


def libraries(program):
    """The shared libraries a program is linked with, the loader included, as paths."""
    output = subprocess.run(["ldd", str(program)], capture_output=True, text=True, check=False).stdout
    words = [word for line in output.splitlines() for word in line.split() if word.startswith("/")]
    return [Path(word) for word in words]
