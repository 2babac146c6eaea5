"""The notes app with a search that is filled from its database, for tests of restores. The app itself stands in for the
search, and keeps how many notes it was told of."""

import json

from noteskit import Notes

SEARCH = """\
accessories:
  search:
    image: {image}
    cmd: [/app, search]
    port: 80
    volumes: ["search-index:/index"]
    health: {{ path: /up, deadline: 20s, settle: 50ms }}
    stop_timeout: 2s
    reindex: [{reindex}]
    reindex_timeout: 20s
"""

SUM = """
import hashlib, json, sqlite3
database = sqlite3.connect("file:%s?mode=ro", uri=True, timeout=10)
rows = database.execute("SELECT id, body FROM note ORDER BY id").fetchall()
print(json.dumps({"rows": len(rows), "sum": hashlib.sha256(repr(rows).encode()).hexdigest(),
                  "integrity": database.execute("PRAGMA integrity_check").fetchone()[0],
                  "schema": database.execute("SELECT max(version) FROM schema_migrations").fetchone()[0]}))
"""


class Searched(Notes):
    """The notes app with a search that is filled from its database."""

    def __init__(self, lab, *, held=False, **options):
        super().__init__(lab, **options)
        if options.get("kind") in ("caddy", "nginx", "traefik"):  # they cannot hold requests
            self.options(traffic='"maintenance"')
        if held:
            plain = self.recipe.read_text()
            held = plain.replace("{ backup = backup }", '{ backup = backup, traffic = "pause" }')
            assert held != plain
            self.recipe.write_text(held)
        self.inventory = self.folder / "recipes/sqlite_app.yml"
        self.plain = self.inventory.read_text()
        self.reindex()

    def reindex(self, *words):
        self.inventory.write_text(self.plain + SEARCH.format(image=self.lab.image("notes:r1"),
                                                             reindex=", ".join(["/app", "reindex", *words])))

    def content(self, file="app.sqlite3"):
        """Rows, their sum, integrity, schema; of a snapshot too."""
        return json.loads(self.host.machine.run(["python3", "-c", SUM % (self.data / file)]).stdout)

    def indexed(self):
        """How many notes the search was told of."""
        folder = self.host.engine.get("/volumes/search-index")["Mountpoint"]
        return int(self.host.machine.run(["cat", f"{folder}/rows"]).stdout)

    def write(self, count):
        """That many notes through the app."""
        with self.lab.load(rate=100, path="/write", duration=f"{count * 10}ms") as load:
            summary = load.wait()
        assert summary["failed"] == 0, summary

    def restore(self, *words, code=0, env=None):
        result = self.run("restore", *words, env=env)
        assert result.code == code, result
        return result.out + result.err

    def serves(self, version):
        states = self.containers()
        assert states[f"notes-web-{version}"] == "running" and states["notes-search"] == "running", states
        assert not [name for name in states if name.startswith("notes.")], states
        with self.lab.load(rate=20, path="/version", duration="1s") as load:
            summary = load.wait()
        assert summary["failed"] == 0 and summary["requests"] > 0, summary


def site_with_backup(lab, **options):
    """r2 serves; a backup was taken while r1 did. Gives its content too."""
    site = Searched(lab, **options)
    for number in (1, 2):
        site.push(f"r{number}")
    site.deploy("r1")
    site.write(30)
    then = site.content()
    assert site.run("backup").code == 0
    site.write(30)
    site.deploy("r2")
    site.write(30)
    return site, then


def failures_of(load):
    """Statuses of the requests that failed."""
    return [record["status"] for record in load.records() if record["error"] or record["status"] != 200]
