"""Accessories of an app's settings: booted by a deploy, left alone by all that handles releases, replaced by
recipes/accessories.lua, asked from the app's network. The lab's demo app stands in for the search."""

import shutil

from labkit import Lab
from labkit.paths import ROOT
from noteskit import Notes

SEARCH = """\
accessories:
  search:
    image: {image}
    port: 80
    volumes: ["search-data:/index"]
    env: {{ clear: {{ {env} }}, secret: [SEARCH_KEY] }}
    health: {{ path: /up, deadline: 10s, settle: 50ms }}
    stop_timeout: 2s
"""


class Search:
    """The notes app with a search beside it."""

    def __init__(self, lab, site):
        self.lab, self.site, self.host = lab, site, site.host
        self.inventory = site.folder / "recipes/sqlite_app.yml"
        self.plain = self.inventory.read_text()
        recipe = (ROOT / "recipes/accessories.lua").read_text()
        assert "recipes/prod.yml" in recipe
        (site.folder / "recipes/accessories.lua").write_text(recipe.replace("recipes/prod.yml", "recipes/sqlite_app.yml"))
        shutil.copyfile(ROOT / "recipes/doctor.lua", site.folder / "recipes/doctor.lua")
        self.secret("swordfish")
        self.settings()

    def settings(self, tag="v1", env="COLOUR: blue"):
        self.inventory.write_text(self.plain + SEARCH.format(image=self.lab.image(f"app:{tag}"), env=env))

    def secret(self, value):
        (self.site.folder / ".deployrun").mkdir(exist_ok=True)
        (self.site.folder / ".deployrun/secrets").write_text(f"SEARCH_KEY={value}\n")

    def run(self, *words, code=0, recipe="accessories"):
        result = self.lab.deployrun([f"recipes/{recipe}.lua", *words], cwd=self.site.folder, timeout=120)
        assert result.code == code, result
        return result.out + result.err

    def state(self):
        """(id, running, environment)"""
        found = self.host.engine.get("/containers/notes-search/json")
        return found["Id"], found["State"]["Running"], found["Config"]["Env"]


def test_an_accessory_beside_the_app():
    with Lab(hosts=1) as lab:
        site = Notes(lab)
        search = Search(lab, site)
        for number in (1, 2, 3, 4):
            site.push(f"r{number}")
        plan = site.run("deploy", "--version", "r1", "--plan")
        assert "docker run --detach --name notes-search" in plan.out and "swordfish" not in plan.out, plan
        site.deploy("r1")
        first, running, env = search.state()
        assert running and "SEARCH_KEY=swordfish" in env and "COLOUR=blue" in env
        index = site.host.engine.get("/volumes/search-data")["Mountpoint"] + "/index.bin"
        site.host.machine.run(["sh", "-c", f"echo words >{index}"])

        # Deploys, what they let go of, and rollbacks pass it by.
        for number in (2, 3, 4):
            site.deploy(f"r{number}")
        assert site.run("rollback").code == 0
        assert search.state()[:2] == (first, True)
        assert "search     runs" in search.run("status")
        search.run("reach")

        # Other settings: a deploy says so and leaves it; a reboot replaces it, once; its data stays.
        search.settings(env="COLOUR: red")
        said = site.deploy("r4")
        assert "search: its settings changed" in said.out + said.err and search.state()[0] == first, said
        assert "settings changed since" in search.run("status")
        search.run("reboot")
        second, running, env = search.state()
        assert second != first and running and "COLOUR=red" in env
        assert "notes-search_set_aside" not in site.containers()
        search.run("reboot")
        assert search.state()[0] == second
        search.secret("correct horse")
        search.run("reboot", "search")
        third, _, env = search.state()
        assert third != second and "SEARCH_KEY=correct horse" in env
        search.settings("v2", env="COLOUR: red")
        search.run("reboot")
        fourth = search.state()[0]
        assert fourth != third and site.host.machine.run(["cat", index]).stdout == "words\n"
        search.run("reboot", "--anyway")
        fifth = search.state()[0]
        assert fifth != fourth

        # One that does not get ready gives way to the one before.
        search.settings("v2", env="HEALTH_STATUS: 500")
        said = search.run("reboot", code=1)
        assert "notes-search did not become ready" in said, said
        assert search.state()[:2] == (fifth, True) and "notes-search_set_aside" not in site.containers()
        search.settings("v2", env="COLOUR: red")
        search.run("reach")

        # Stopped: the app does not reach it, and that is found; a boot starts it.
        site.host.engine.call("POST", "/containers/notes-search/stop?t=1")
        said = search.run("reach", code=1)
        assert "the app does not reach search: it does not run" in said, said
        found = search.run("look", "--config", "recipes/sqlite_app.yml", recipe="doctor", code=1)
        assert "the accessory search does not run" in found, found
        search.run("boot")
        assert search.state()[:2] == (fifth, True)
        search.run("reach")
        assert "accessory search" not in search.run("look", "--config", "recipes/sqlite_app.yml", recipe="doctor")

        refused = search.run("boot", "serach", code=2)
        assert "no accessory is called serach" in refused and "search" in refused.replace("serach", ""), refused
        search.run("remove", "search")
        assert "notes-search" not in site.containers()
        assert site.host.machine.run(["cat", index]).stdout == "words\n"
        assert site.containers()["notes-web-r4"] == "running"
