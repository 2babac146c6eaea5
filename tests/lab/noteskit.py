"""recipes/sqlite_app.lua on one host of the lab: an app that keeps notes in SQLite, its versions r1, r2, r3 …, each
with one migration more, and what tests look at. The recipe is the shipped file, copied unchanged."""

import json
import os
import shutil
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
