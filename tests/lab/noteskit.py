"""recipes/sqlite_app.lua on one host of the lab: an app that keeps notes in SQLite, its versions r1, r2, r3 …, each
with one migration more, and what tests look at. The recipe is the shipped file, copied unchanged."""

import json
import os
import shutil
import sqlite3
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path

from labkit import binaries
from labkit.images import Entry, Image
from labkit.paths import ROOT

FULL = os.environ.get("DEPLOYRUN_FULL") == "1"
OLD_NOTES = 60_000  # a migration takes its time: some tenths of a second
SERVICE, VOLUME = "notes", "notes-data"
WRITERS = {"rate": 200, "path": "/write", "all_bodies": "yes", "timeout": "2m"}

INVENTORY = """\
service: {service}
image: {image}
hosts:
  - {{ address: {address}, name: {name} }}
ssh:
  user: root
  keys: [{key}]
  known_hosts: {known_hosts}
  config: false
volumes: ["{volume}:/data"]
proxy:
  kind: {kind}
  image: {proxy}
health:
  path: /up
  deadline: 8s
  settle: 50ms
retain: 2
stop_timeout: 5s
"""

LOOK = """
import json, sqlite3
database = sqlite3.connect("file:%s?mode=ro", uri=True, timeout=10)
def one(sql): return [row[0] for row in database.execute(sql)]
print(json.dumps({"integrity": one("PRAGMA integrity_check"), "ids": one("SELECT id FROM note"),
                  "schema": one("SELECT max(version) FROM schema_migrations")[0],
                  "columns": [row[1] for row in database.execute("PRAGMA table_info(note)")]}))
"""


class Notes:
    """`recipe`: another shipped recipe instead."""

    def __init__(self, lab, *, recipe="sqlite_app", kind="kamal_proxy", proxy="kamal-proxy:v0.9.2"):
        self.lab, self.host, self.name = lab, lab.hosts[0], recipe
        self.folder = lab.scratch()
        self.layers = {}
        (self.folder / "recipes").mkdir()
        shutil.copyfile(ROOT / f"recipes/{recipe}.lua", self.recipe)
        (self.folder / f"recipes/{recipe}.yml").write_text(INVENTORY.format(
            service=SERVICE, image=lab.image("notes"), address=self.host.address, name=self.host.name, kind=kind,
            key=lab.keys.client["ed25519"], known_hosts=lab.known_hosts, volume=VOLUME, proxy=lab.image(proxy)))

    @property
    def recipe(self):
        return self.folder / f"recipes/{self.name}.lua"

    def options(self, **options):
        """Further options of deploy.migrate, or others than the recipe's, instead of an earlier call's; Lua's words."""
        lines, seen = [], set()
        for line in (ROOT / "recipes/sqlite_app.lua").read_text().splitlines():
            name = line.split(" = ")[0].strip() if line.startswith("  ") and " = " in line else None
            if name in options and name not in seen:
                seen.add(name)
                line = f"  {name} = {options[name]},"
            lines.append(line)
            if line.startswith("local database = deploy.migrate(app, {"):
                lines += [f"  {name} = {value}," for name, value in options.items()
                          if name not in ("database", "command", "pending", "timeout")]
                seen |= {name for name in options if name not in ("database", "command", "pending", "timeout")}
        assert seen == set(options), (seen, options)
        self.recipe.write_text("\n".join(lines) + "\n")

    def push(self, version, tag=None, **env):
        """Puts a version into the registry; `tag`: what it is called there."""
        words = [f"VERSION={version}", f"OLD_NOTES={OLD_NOTES}", *(f"{name}={value}" for name, value in env.items())]
        entries = (Entry("app", source=binaries.notes_app()), Entry("data"), Entry("tmp", mode=0o1777))
        self.lab.registry.push(Image("notes", tag or version, entries, {"Cmd": ["/app", "serve"], "Env": words}),
                               self.layers)

    def start(self, command, *args, env=None):
        return self.lab.start_deployrun([f"recipes/{self.name}.lua", command, *args], cwd=self.folder, env=env)

    def run(self, command, *args, env=None, timeout=180):
        return self.start(command, *args, env=env).wait(timeout)

    def settle(self, mode):
        return self.lab.deployrun([f"recipes/{self.name}.lua", f"--{mode}"], cwd=self.folder, timeout=180)

    def deploy(self, version):
        """A deploy that has to succeed."""
        result = self.run("deploy", "--version", version)
        assert result.code == 0, result
        return result

    def events(self, command, *args, env=None):
        result = self.run(command, *args, "--json", env=env)
        return result, [json.loads(line) for line in result.out.splitlines()]

    # --- what is there

    @property
    def data(self):
        """The volume's folder as the host sees it."""
        return Path(self.host.engine.get(f"/volumes/{VOLUME}")["Mountpoint"])

    def look(self):
        """The database: integrity, ids, schema, columns."""
        result = self.host.machine.run(["python3", "-c", LOOK % (self.data / "app.sqlite3")])
        return json.loads(result.stdout)

    def files(self):
        """What lies in the volume beside the database and its WAL."""
        names = self.host.machine.run(["ls", str(self.data)]).stdout.split()
        return [name for name in names if name not in ("app.sqlite3", "app.sqlite3-wal", "app.sqlite3-shm")]

    def containers(self):
        """name → state."""
        return {one["Name"].lstrip("/"): one["State"]["Status"] for one in self.host.engine.containers()}

    def proxy_state(self):
        code, out, _ = self.host.kamal_proxy("list")
        assert code == 0
        [line] = [line for line in out.splitlines() if SERVICE in line]
        return "paused" if "paused" in line else "running" if "running" in line else line

    def complaints(self):
        """What containers said of locks."""
        said = []
        for one in self.host.engine.containers():
            if one["Name"].startswith(f"/{SERVICE}"):
                said += [line for line in self.host.engine.logs(one["Id"]).splitlines() if "locked" in line]
        return said


def acknowledged(load):
    """The numbers of the notes that were acknowledged to the writers: their side log."""
    numbers = [int(record["body"]) for record in load.records() if record["status"] == 200]
    assert len(set(numbers)) == len(numbers), "a number was given twice: a row that was acknowledged is lost"
    return set(numbers)


def failures(load):
    return [record for record in load.records() if record["error"]]


MOMENT = timedelta(milliseconds=500)  # of a slow machine


def refused_by_a_pause(host, load):
    """How many requests kamal-proxy turned away in the moment of a pause (docs/sqlite.md, "The moment of a pause"): it had
    let them through and not yet sent them anywhere. Its own log has each, answered 503 with no target right after
    «Service paused»; a failed request that is not there is somebody else's."""
    failed = [(record["status"], _time(record["start_ms"] + record["duration_ms"])) for record in failures(load)]
    if not failed:
        return 0
    [proxy] = [one["Id"] for one in host.engine.containers() if one["Name"].strip("/") == "kamal-proxy"]
    paused, refused = None, []
    for line in host.engine.logs(proxy).splitlines():
        entry = json.loads(line) if line.startswith("{") else {}
        at = datetime.fromisoformat(entry["time"]) if "time" in entry else None
        if entry.get("msg") == "Service paused":
            paused = at
        elif entry.get("status") == 503 and not entry["target"] and paused and at - paused < MOMENT:
            refused.append(at)
    explained = [one for one in failed if one[0] == 503 and any(abs(one[1] - at) < MOMENT for at in refused)]
    return min(len(explained), len(refused))


def _time(milliseconds):
    return datetime.fromtimestamp(milliseconds / 1000, timezone.utc)


def row_of(site, step):
    """The journal's row that says that a task of a step of the newest run has ended."""
    with closing(sqlite3.connect(site.folder / ".deployrun/journal.db")) as database:
        run, = database.execute("SELECT run FROM journal WHERE type = 'run' ORDER BY number DESC LIMIT 1").fetchone()
        types = database.execute("SELECT type, json_extract(body, '$.name'), json_extract(body, '$.ordinal'), "
                                 "json_extract(body, '$.step'), json_extract(body, '$.state') FROM journal WHERE run = ? "
                                 "ORDER BY number", (run,)).fetchall()
    [ordinal] = [row[2] for row in types if row[0] == "step" and row[1] == step]
    return [number for number, row in enumerate(types, 1) if row[0] == "task" and row[3] == ordinal and row[4] == "done"][0]
