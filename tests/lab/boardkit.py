"""The image of a Flask app behind gunicorn, of this machine's own packages, as tests/lab/test_flask_gunicorn.py runs it."""

import subprocess
from pathlib import Path

from labkit import binaries
from labkit.images import Entry, Image, PATHS, USERS
from labkit.needs import Skip
from labkit.paths import ROOT, deployrun

PACKAGES = ("gunicorn", "python3-flask")
LEFT_OUT = ("/test/", "/tests/", "/idlelib/", "/lib2to3/", "/ensurepip/", "/tkinter/", "/__pycache__/", "/doc/")
ENTRYPOINT = """\
#!/bin/sh
set -e
cd /app
if [ "$INIT_ON_IMPORT" != 1 ]; then
  /bin/deployrun-agent once --db /data/app.sqlite3 --key schema-1 --timeout 60s -- /usr/bin/flask init-db
fi
exec /usr/bin/gunicorn --timeout 600 --workers 8 --bind 0.0.0.0:8000 app:app
"""


def _query(field, package):
    result = subprocess.run(["dpkg-query", "-W", "-f", f"${{{field}}}", package], capture_output=True, text=True)
    return result.stdout if result.returncode == 0 else ""


def _closure():
    """The packages and what they need of Python."""
    found, left = set(), list(PACKAGES)
    while left:
        package = left.pop()
        if package in found or not _query("Version", package):
            continue
        found.add(package)
        for word in (_query("Pre-Depends", package) + "," + _query("Depends", package)).replace("|", ",").split(","):
            name = word.split("(")[0].split(":")[0].strip()
            if name.startswith(("python3", "libpython3", "gunicorn")):
                left.append(name)
    return found


def _files():
    for package in sorted(_closure()):
        for line in subprocess.run(["dpkg", "-L", package], capture_output=True, text=True, check=True).stdout.split("\n"):
            path = Path(line)
            if line.startswith(("/usr/bin/", "/usr/lib/")) and path.is_file() and not any(p in line for p in LEFT_OUT):
                yield path


def board_image(tag, **env):
    for package in PACKAGES:
        if not _query("Version", package):
            raise Skip(f"packages are missing: {package}")
    files = {str(path): path for path in _files()}
    for path in list(files.values()):
        if path.suffix == ".so" or ".so." in path.name or path.name == "python3.11" or path.name.startswith("python3."):
            files.update({str(lib): lib for lib in binaries.libraries(path)})
    shell = binaries.packaged("dash")
    files.update({str(lib): lib for lib in binaries.libraries(shell)})
    entries = [Entry(name.lstrip("/"), source=path) for name, path in sorted(files.items())]
    agent = deployrun().parent / "agent/deployrun-agent"
    entries += [Entry("bin/sh", source=shell), Entry("bin/deployrun-agent", source=agent),
                Entry("app/app.py", source=ROOT / "tests/lab/board_app/app.py"), Entry("entrypoint", text=ENTRYPOINT),
                Entry("etc/passwd", text=USERS, mode=0o644), Entry("data"), Entry("tmp", mode=0o1777)]
    words = [*PATHS, "LC_ALL=C.UTF-8", "FLASK_APP=app", *(f"{name}={value}" for name, value in env.items())]
    return Image("board", tag, tuple(entries), {"Cmd": ["/entrypoint"], "Env": words, "WorkingDir": "/app"})
