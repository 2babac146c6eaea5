"""Builds by the user's own buildx, at a real engine: what is made, what goes wrong, and what is left of a cancelled one."""

import shutil
import signal
import time
from pathlib import Path

from labkit import Lab, wait_until
from labkit import binaries, processes
from labkit.program import Program, environment

TOKEN = "hush-hush-0123456789"
DOCKERFILE = """\
FROM scratch AS tools
COPY busybox /bin/busybox
RUN ["/bin/busybox", "mkdir", "-p", "/made"]

FROM tools AS out
ARG COLOUR=red
LABEL colour=$COLOUR
RUN --mount=type=secret,id=token --mount=type=secret,id=file ["/bin/busybox", "sh", "-c", \
"cd /run/secrets; /bin/busybox sha256sum token file > /made/sums; echo said by the build"]
ENTRYPOINT ["/bin/busybox", "cat", "/made/sums"]

FROM tools AS broken
RUN ["/bin/busybox", "sh", "-c", "echo before the end; exit 3"]

FROM tools AS endless
RUN ["/bin/busybox", "sleep", "98765"]
"""
RECIPE = """\
local deploy = require "deploy"
deploy.command "build" {{
  default = true,
  run = function(run)
    run:step("build", {{ on = deploy.localhost, run = function()
{body}
    end }})
  end,
}}
"""


class Workshop:
    """A project with a context, the docker command with its plugin, and a host's engine to build at."""

    def __init__(self, lab, plugin=True):
        self.lab, self.host = lab, lab.hosts[0]
        self.folder = lab.scratch()
        self.home = lab.scratch()
        if plugin:
            plugins = self.home / ".docker/cli-plugins"
            plugins.mkdir(parents=True)
            (plugins / "docker-buildx").symlink_to(binaries.buildx())
        context = self.folder / "app"
        context.mkdir()
        shutil.copyfile(binaries.packaged("busybox", "busybox-static"), context / "busybox")
        (context / "busybox").chmod(0o755)
        (context / "Dockerfile").write_text(DOCKERFILE)
        (self.folder / "file.txt").write_text("of a file\n")

    def start(self, body, *options, env=None):
        (self.folder / "build.lua").write_text(RECIPE.format(body=body))
        base = environment({"HOME": self.home, "DOCKER_HOST": f"unix://{self.host.engine.socket_path}"})
        return Program(["build.lua", *options], cwd=self.folder, env={**base, **(env or {})})

    def run(self, body, *options, **more):
        return self.start(body, *options, **more).wait()


def builders(target):
    """Processes whose arguments hold this."""
    return [pid for pid, line in processes.command_lines().items() if target.encode() in line]


def test_an_image_is_built_and_pushed():
    binaries.buildx()
    with Lab(hosts=1) as lab:
        shop, image = Workshop(lab), lab.image("built:v1")
        body = """
          local built, seen = nil, {}
          built = deploy.build { context = "app", tags = "%s", target = "out", platforms = { "linux/amd64" },
            args = { COLOUR = "blue" }, labels = { made = "here" }, push = true,
            secrets = { token = require("native.secret").value("TOKEN", "%s"), file = "file.txt" },
            cache_to = "type=inline", on_progress = function(now) seen[#seen + 1] = now end }
          print("digest " .. tostring(built.digest))
          local last = 0
          for _, now in ipairs(seen) do if now.steps == 2 then last = now.step end end
          assert(last == 2, "the second of two steps was told")""" % (image, TOKEN)

        planned = shop.run(body.replace("assert", "--"), "--plan")
        assert planned.code == 0, planned
        assert f"docker buildx build --target=out --tag={image} --platform=linux/amd64" in planned.out, planned
        assert "--secret=id=token,env=DEPLOYRUN_BUILD_TOKEN" in planned.out and TOKEN not in planned.out, planned
        assert not shop.host.engine.get("/images/json") and lab.registry.tags("built") == []

        result = shop.run(body, "-vv")
        assert result.code == 0, result
        assert " said by the build\n" in result.out, result
        assert TOKEN not in result.out + result.err, result
        assert lab.registry.tags("built") == ["v1"]
        made = shop.host.engine.get(f"/images/{image}/json")
        assert f"digest {lab.registry.digest('built', 'v1')}" in result.out, result
        assert made["Config"]["Labels"] == {"colour": "blue", "made": "here"}
        container = shop.host.engine.run("try", image, pull=False)
        shop.host.engine.call("POST", f"/containers/{container}/wait")
        sums = shop.host.engine.logs(container)
        assert len(sums.split()) == 4 and "token" in sums and "file" in sums, sums
        assert not list(shop.folder.glob("*metadata*"))

        # Again, with the registry's cache: the same image, no step made twice.
        cached = body.replace("tags =", 'cache_from = "type=registry,ref=%s", tags =' % image).replace("assert", "--")
        again = shop.run(cached)
        assert again.code == 0 and "RUN" not in again.out, again
        assert shop.host.engine.get(f"/images/{image}/json")["Id"] == made["Id"]


def test_what_goes_wrong_is_told():
    binaries.buildx()
    with Lab(hosts=1) as lab:
        shop = Workshop(lab)
        broken = shop.run("""deploy.build { context = "app", target = "broken" }""")
        assert broken.code == 1 and "build.failed" in broken.out, broken
        for words in ("exit code: 3", "[broken 1/1] RUN", "before the end"):
            assert words in broken.out, (words, broken)
        nowhere = shop.run("""deploy.build { context = "nowhere" }""")
        assert nowhere.code == 1 and "build.failed" in nowhere.out and "nowhere" in nowhere.out, nowhere

        without = Workshop(lab, plugin=False)
        if not Path("/usr/libexec/docker/cli-plugins/docker-buildx").exists():
            missing = without.run("""deploy.build { context = "app" }""")
            assert missing.code == 1 and "build.missing" in missing.out and "docker-buildx" in missing.out, missing
        bare = without.folder / "bin"
        bare.mkdir()
        missing = without.run("""deploy.build { context = "app" }""", env={"PATH": str(bare)})
        assert missing.code == 1 and "build.missing" in missing.out and "install" in missing.out, missing


def test_a_cancelled_build_ends():
    binaries.buildx()
    with Lab(hosts=1) as lab:
        shop = Workshop(lab)
        program = shop.start("""deploy.build { context = "app", target = "endless" }""")
        wait_until(lambda: builders("sleep\0" + "98765"), 60, "the build's last step")
        assert builders("--target=endless")
        before = time.monotonic()
        program.signal(signal.SIGINT)
        ended = program.wait(60)
        assert ended.code == 130, ended
        assert not builders("--target=endless")
        wait_until(lambda: not builders("sleep\0" + "98765"), 60, "the end of the build's step in the engine")
        limited = shop.run("""deploy.build { context = "app", target = "endless", timeout = "3s" }""")
        assert limited.code == 1 and "timeout" in limited.out, limited
        wait_until(lambda: not builders("sleep\0" + "98765"), 60, "the end of the build's step in the engine")
        return f"gone {time.monotonic() - before:.1f} s after the signal"
