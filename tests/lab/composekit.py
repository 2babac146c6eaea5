"""recipes/compose_blue_green.lua on the lab's hosts: a project with its settings and its Compose file."""

import re
import shutil

import prodkit
from labkit.paths import ROOT
from prodkit import CADDY, PROXY_IMAGES, SERVICE, assert_same

SETTINGS = """\
service: {service}
mode: {mode}
hosts:
{hosts}
ssh:
  user: {user}
  keys: [{key}]
  known_hosts: {known_hosts}
  config: false
proxy:
  kind: {kind}
  image: {proxy_image}
services:
  web:
    proxy: {{ app_port: 80 }}
    health: {{ path: /up, timeout: 1s, deadline: {deadline} }}
{services}
{more}"""

COMPOSE = """\
services:
  web:
    image: {app}:${{VERSION}}
    restart: unless-stopped
{web}
{services}
"""


class Project(prodkit.Project):
    """A folder with the shipped recipe, its settings and a Compose file. `web`: further lines of the Compose file's web,
    `others`: further lines of the Compose file, `services` and `more` of the settings."""

    RECIPE = "recipes/compose_blue_green.lua"

    def __init__(self, lab, *, kind=CADDY, mode="blue-green", user="root", deadline="8s", web="", others="", services="",
                 more="", plugin=True):
        self.lab = lab
        self.host = lab.hosts[0]
        if plugin:
            for host in lab.hosts:
                host.install_compose()
        self.folder = lab.scratch()
        (self.folder / "recipes").mkdir()
        shutil.copyfile(ROOT / self.RECIPE, self.recipe)
        self.settings.write_text(SETTINGS.format(
            service=SERVICE, mode=mode, user=user, key=lab.keys.client["ed25519"], kind=kind, services=services, more=more,
            hosts="".join(f"  - {{ address: {host.address}, name: {host.name} }}\n" for host in lab.hosts),
            known_hosts=lab.known_hosts, proxy_image=lab.image(PROXY_IMAGES[kind]), deadline=deadline))
        self.compose.write_text(COMPOSE.format(app=lab.image("app"), web=web, services=others))

    @property
    def settings(self):
        return self.folder / "recipes/compose_blue_green.yml"

    @property
    def compose(self):
        return self.folder / "recipes/compose.yml"

    def give_page(self, text):
        """A maintenance page of the app's own."""
        (self.folder / "recipes/maintenance.html").write_text(text)
        self.settings.write_text(self.settings.read_text() + "\nmaintenance: { page: maintenance.html }\n")

    def states(self, host=None):
        """The containers of the app on a host: name → state, without the proxy."""
        found = (host or self.host).snapshot()["containers"]
        return {name: one["state"] for name, one in found.items() if name.startswith(SERVICE)}

    def bad(self, version, words):
        """A deploy that has to fail with these words (an expression) about the host, and leaves everything as it was."""
        before, folders = self.host.snapshot(), self._folders()
        result = self.run("deploy", "--version", version)
        assert result.code == 1, result
        said = result.out + result.err
        found = re.search(words, said, re.I)
        assert found and self.host.name in said, (words, result)
        assert_same(before, self.host.snapshot(), result)
        assert self._folders() == folders, result
        line = said[said.rfind("\n", 0, found.end()) + 1:].split("\n")[0].strip()
        return f"{version}: exit 1 after {result.seconds:.1f} s: {line}"

    def _folders(self):
        return self.host.machine.run(["ls", "-A", "/root/.deployrun/compose"]).stdout
