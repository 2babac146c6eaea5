"""`recipes/compose_blue_green.lua restore`: stop, restore, boot, fill what stays, check, release; rows counted and summed before
and after, and nothing changed where it fails. The notes app itself stands in for the search, a service that stays."""

import json
import signal

from labkit import Lab
from noteskit import row_of
from prodkit import CADDY, HAPROXY, KAMAL, NGINX, assert_same, assert_serving
from restorekit import SUM, failures_of
from test_compose_database import Site

SEARCH = """\
  search:
    image: {image}
    command: [/app, search]
    stop_grace_period: 2s
    volumes: ["index:/index"]
volumes: {{ data: , index: }}
"""
BACKUP = "backup: { folder: /home/deploy/backups }\n"
OWN = """\
local backup = deploy.backup { name = "shop", host = app.hosts[1], folder = "/home/deploy/backups",
  database = { volume = "shop_data", path = "app.sqlite3" } }
local restore = deploy.restore(app, { database = "/data/app.sqlite3", backup = backup })
"""
WRITES = {"rate": 100, "path": "/write", "duration": "300ms"}


class Searched(Site):
    """Notes as a Compose project with a search that stays, and backups."""

    def __init__(self, lab, **options):
        super().__init__(lab, **options)
        self.push("r1")
        self.replace(self.compose, "volumes: { data: }\n", SEARCH.format(image=lab.image("notes:r1")))
        self.replace(self.compose, '    volumes: ["data:/data"]\n',
                     '    volumes: ["data:/data"]\n    environment: { SEARCH: search }\n')
        self.settings.write_text(self.settings.read_text() + BACKUP)
        self.plain = self.settings.read_text()
        self.reindex()

    def reindex(self, *words):
        line = f"  search: {{ reindex: [{', '.join(('/app', 'reindex', *words))}], reindex_timeout: 20s }}\n"
        assert self.plain.count("migrate: {") == 1
        self.settings.write_text(self.plain.replace("migrate: {", line + "migrate: {"))

    def content(self, file="app.sqlite3"):
        """Rows, their sum, integrity, schema; of a snapshot too."""
        return json.loads(self.host.machine.run(["python3", "-c", SUM % (self.data / file)]).stdout)

    def indexed(self):
        """How many notes the search was told of."""
        folder = self.host.engine.get("/volumes/shop_index")["Mountpoint"]
        return int(self.host.machine.run(["cat", f"{folder}/rows"]).stdout)

    def write(self):
        with self.lab.load(**WRITES) as load:
            summary = load.wait()
        assert summary["failed"] == 0, summary

    def restore(self, *words, code=0, env=None):
        result = self.run("restore", *words, env=env)
        assert result.code == code, result
        return result.out + result.err

    def settle(self, way):
        return self.lab.deployrun([self.RECIPE, f"--{way}"], cwd=self.folder, timeout=180)

    def serves(self, version):
        assert_serving([self.host], version)
        states = self.states()
        assert states[f"shop-web-{version}"] == "running", states
        assert not [name for name in states if name.startswith("shop.")], states
        with self.lab.load(rate=20, path="/version", duration="1s") as load:
            summary = load.wait()
        assert summary["failed"] == 0 and summary["requests"] > 0, summary


def compose_site(lab, **options):
    """r2 serves; a backup was taken while r1 did. Gives its content too."""
    site = Searched(lab, **options)
    site.push("r2")
    site.deploy("r1")
    site.write()
    then = site.content()
    site.good("backup")
    site.write()
    site.deploy("r2")
    site.write()
    return site, then


def _restore(kind):
    with Lab(hosts=1) as lab:
        site, then = compose_site(lab, kind=kind)
        now = site.content()
        assert now["rows"] > then["rows"] and (now["schema"], then["schema"]) == (2, 1)
        listed = site.restore("--list")
        assert "backups, newest first" in listed and "from before the migration" in listed, listed
        plan = site.restore("--plan")
        for words in ("docker stop --time 3 shop-web-r2", ".before-restore", "docker start shop-web-r2", "/app reindex"):
            assert words in plan, (words, plan)
        assert site.content() == now

        site.give_page("<p>we are putting things in order</p>\n")
        with lab.load(rate=50, path="/version") as load:
            said = site.restore()
            site.serves("r2")
            load.stop()
        failed = failures_of(load)
        assert failed and set(failed) == {503}, failed[:5]
        after = site.content()
        assert {**after, "schema": 1} == then and after["schema"] == 2, (after, then)
        assert site.indexed() == then["rows"]
        assert f"note: {now['rows']} rows, {then['rows']} then" in said, said
        assert site.content("app.sqlite3.before-restore") == now

        site.restore("restore")
        assert site.content() == now and site.indexed() == now["rows"]
        site.serves("r2")
        site.host.machine.run(["sh", "-c", f"rm {site.data}/app.sqlite3*"])
        site.restore()
        assert {**site.content(), "schema": 1} == then and site.indexed() == then["rows"]
        site.serves("r2")
        return f"{kind}: {len(failed)} requests answered 503"


def test_a_compose_project_is_restored():
    return "\n".join(map(_restore, (CADDY, KAMAL)))


def test_a_restore_of_a_compose_project_that_fails_is_undone():
    """A fill that fails, a kill: the same rows, the same containers, traffic, the search filled from those rows."""
    with Lab(hosts=1) as lab:
        site, then = compose_site(lab, kind=NGINX)
        now, before = site.content(), site.host.snapshot()
        site.reindex("fail")
        said = site.restore(code=1)
        assert "search was not filled again: /app reindex fail: exit code 1" in said, said
        assert "it was told to fail" in said and "the app serves, with what is left in it" in said, said
        assert site.content() == now
        assert_same(before, site.host.snapshot(), said)
        site.serves("r2")

        site.reindex()
        site.restore()
        row = row_of(site, "restore the database")
        site.restore("restore")
        assert site.content() == now
        for way in ("abort", "resume"):
            killed = site.run("restore", env={"DEPLOYRUN_FAULT": f"after:{row}"})
            assert killed.code == -signal.SIGKILL, killed
            assert site.content()["rows"] == then["rows"]
            settled = site.settle(way)
            assert settled.code == 0, settled
            assert site.content()["rows"] == (now if way == "abort" else then)["rows"] == site.indexed()
            site.serves("r2")
        return said[said.index("search was not"):].splitlines()[0]


def test_a_blue_green_project_is_restored():
    """Its settings name no database: the recipe does."""
    with Lab(hosts=1) as lab:
        site = Searched(lab, kind=HAPROXY)
        plain, moves = site.settings.read_text(), "services:\n  web:\n    shares_volumes: true\n"
        text = plain.replace("mode: window", "mode: blue-green").replace("services:\n  web:\n", moves)
        site.settings.write_text(text.replace(" pending: [/app, pending], database: /data/app.sqlite3,", "").replace(BACKUP, ""))
        recipe = site.recipe.read_text()
        told = recipe.replace("local restore = database and deploy.restore(database, { backup = backup })", OWN)
        site.recipe.write_text(told.replace("local backup = app:backup()\n", ""))
        assert told != recipe and "shares_volumes" in text and "pending" in plain and "pending" not in site.settings.read_text()
        site.deploy("r1")
        site.write()
        then = site.content()
        site.good("backup")
        site.write()
        now = site.content()
        said = site.restore()
        assert "migrate" not in said and site.content() == then != now, said
        assert site.indexed() == then["rows"]
        site.serves("r1")
        site.restore("restore")
        assert site.content() == now and site.indexed() == now["rows"]
        site.serves("r1")


test_a_compose_project_is_restored.timeout = 900
