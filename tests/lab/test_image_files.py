"""Images into a file of this machine and out of it, over SSH: whole or not at all, compared, with little memory."""

import gzip
import hashlib
import io
import json
import os
import random
import tarfile
import time
from pathlib import Path

from labkit import Lab
from labkit.engine import EngineError
from labkit.program import Program, environment

MIB = 1024 * 1024
SIZE = (1024 if os.environ.get("DEPLOYRUN_FULL") else 96) * MIB
RECIPE = """\
local deploy = require "deploy"
local common = {{ user = "root", keys = {{ "{key}" }}, known_hosts = "{known_hosts}", config = false }}
local a = deploy.host({{ name = "h1", address = "{a}" }}, common)
local b = deploy.host({{ name = "h2", address = "{b}" }}, common)

deploy.command "carry" {{
  default = true,
  run = function(run)
    run:step("carry", {{ on = deploy.localhost, run = function()
{body}
    end }})
  end,
}}
"""


class Carrier:
    def __init__(self, lab):
        self.lab = lab
        self.folder = lab.scratch()

    def start(self, body, *options):
        (self.folder / "carry.lua").write_text(RECIPE.format(
            key=self.lab.keys.client["ed25519"], known_hosts=self.lab.known_hosts, body=body,
            a=self.lab.hosts[0].address, b=self.lab.hosts[1].address))
        return Program(["carry.lua", *options], cwd=self.folder, env=environment({"HOME": self.lab.folder}))

    def run(self, body, *options):
        return self.start(body, *options).wait()

    def good(self, body, *options):
        result = self.run(body, *options)
        assert result.code == 0, result
        return result

    def files(self):
        return sorted(path.name for path in self.folder.iterdir() if path.name not in ("carry.lua", ".deployrun"))


def peak(program):
    """What the program has held at most, in MiB, looked at until it ends."""
    most = 0
    while program.process.poll() is None:
        try:
            status = Path(f"/proc/{program.process.pid}/status").read_text()
        except OSError:
            break
        most = max([most] + [int(line.split()[1]) // 1024 for line in status.splitlines() if line.startswith("VmHWM")])
        time.sleep(0.02)
    return most


def archive(path, name, layers):
    """`docker save`'s form of an image."""
    digests = [hashlib.sha256(layer).hexdigest() for layer in layers]
    config = json.dumps({"architecture": "amd64", "os": "linux", "created": "2020-01-01T00:00:00Z",
                         "config": {"Env": ["A=1"], "Cmd": ["/run"]},
                         "rootfs": {"type": "layers", "diff_ids": [f"sha256:{one}" for one in digests]}}).encode()
    files = {f"{digest}/layer.tar": layer for digest, layer in zip(digests, layers)}
    files[f"{hashlib.sha256(config).hexdigest()}.json"] = config
    files["manifest.json"] = json.dumps([{"Config": f"{hashlib.sha256(config).hexdigest()}.json", "RepoTags": [name],
                                          "Layers": [f"{digest}/layer.tar" for digest in digests]}]).encode()
    with tarfile.open(path, "w") as tar:
        for member, data in files.items():
            info = tarfile.TarInfo(member)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return "sha256:" + hashlib.sha256(config).hexdigest()


def layer(size, seed):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        info = tarfile.TarInfo(f"noise-{seed}")
        info.size = size
        tar.addfile(info, io.BytesIO(random.Random(seed).randbytes(size)))
    return buffer.getvalue()


def image_id(host, name):
    try:
        return host.engine.get(f"/images/{name}/json")["Id"]
    except EngineError as error:
        assert error.status == 404, error
        return None


def test_images_go_into_a_file_and_out_of_it():
    with Lab(hosts=2) as lab:
        carrier, (a, b) = Carrier(lab), lab.hosts
        large = archive(carrier.folder / "large.tar", "large:v1", [layer(SIZE, 1)])

        # In, as a stream, with progress.
        program = carrier.start("""
          local told = 0
          local loaded = a.docker:load_images("large.tar", { on_progress = function(now) told = now.bytes end })
          assert(#loaded.images == 1 and loaded.images[1].name == "large:v1")
          assert(told == loaded.bytes, "the last of the progress is all of it")
          print(loaded.images[1].id)""")
        held = peak(program)
        loaded = program.wait()
        assert loaded.code == 0 and large in loaded.out, loaded
        assert image_id(a, "large:v1") == large
        assert held < 48, f"{held} MiB held for {SIZE // MIB}"

        # A plan writes nothing and loads nothing.
        for host in (a, b):
            host.engine.pull(lab.image("app:v1"))
        save = """a.docker:save_images({ "large:v1", "%s" }, "saved.tar")""" % lab.image("app:v1")
        planned = carrier.good(save + """ b.docker:load_images("saved.tar")""", "--plan")
        assert f"docker save --output saved.tar large:v1 {lab.image('app:v1')}" in planned.out, planned
        assert "docker load --input saved.tar" in planned.out, planned
        assert carrier.files() == ["large.tar"] and image_id(b, "large:v1") is None

        # Out: one file of both, of its owner alone.
        before = time.monotonic()
        program = carrier.start(save)
        saved_held = peak(program)
        saved = program.wait()
        seconds = time.monotonic() - before
        assert saved.code == 0, saved
        assert carrier.files() == ["large.tar", "saved.tar"]
        assert (carrier.folder / "saved.tar").stat().st_mode & 0o777 == 0o600
        assert saved_held < 48, f"{saved_held} MiB held for {SIZE // MIB}"
        carrier.good("""
          local loaded = b.docker:load_images("saved.tar")
          assert(#loaded.images == 2, #loaded.images)""")
        assert image_id(b, "large:v1") == large
        return f"{SIZE // MIB} MiB: {held} MiB held to load, {saved_held} to save, {seconds:.1f} s"


def test_what_is_no_image_or_is_missing_is_refused_and_leaves_nothing():
    with Lab(hosts=2) as lab:
        carrier, (a, _) = Carrier(lab), lab.hosts
        folder = carrier.folder
        small = archive(folder / "small.tar", "small:v1", [layer(MIB, 2)])
        whole = (folder / "small.tar").read_bytes()
        (folder / "cut.tar").write_bytes(whole[:MIB])
        (folder / "text.tar").write_text("this is no archive at all\n" * 100)
        (folder / "empty.tar").write_bytes(b"")
        (folder / "packed.tar.gz").write_bytes(gzip.compress(whole))
        flipped = bytearray(whole)
        flipped[MIB // 2] ^= 1  # in the layer, whose digest the engine checks
        (folder / "flipped.tar").write_bytes(flipped)
        before = carrier.files()
        tried = carrier.good("""
          local function kind(fn, ...)
            local ok, err = pcall(fn, ...)
            return ok and "ok" or err.kind
          end
          local docker = a.docker
          for _, name in ipairs { "cut", "text", "empty", "flipped", "nobody" } do
            print(name .. "=" .. kind(docker.load_images, docker, name .. ".tar"))
          end
          print("folder=" .. kind(docker.load_images, docker, "."))
          print("unknown=" .. kind(docker.save_images, docker, { "nobody:v1" }, "unknown.tar"))
          print("none=" .. kind(docker.save_images, docker, {}, "none.tar"))""").out
        for line in ("cut=docker.invalid", "text=docker.invalid", "empty=docker.invalid", "flipped=docker.",
                     "nobody=files.not_found", "folder=files.io", "unknown=docker.not_found", "none=usage"):
            assert line in tried, (line, tried)
        assert carrier.files() == before
        assert image_id(a, "small:v1") is None

        carrier.good("""
          assert(a.docker:load_images("packed.tar.gz").images[1].name == "small:v1")
          local ok, err = pcall(a.docker.save_images, a.docker, "small:v1", "nowhere/x.tar")
          assert(not ok and err.kind == "files.not_found", tostring(err))""")
        assert image_id(a, "small:v1") == small

        # An image of that name is there already, and the file brings another.
        other = archive(folder / "small.tar", "small:v1", [layer(MIB, 3)])
        carrier.good("""assert(a.docker:load_images("small.tar").images[1].id == "%s")""" % other)


def test_a_save_that_is_cancelled_leaves_nothing():
    with Lab(hosts=2) as lab:
        carrier, (a, _) = Carrier(lab), lab.hosts
        archive(carrier.folder / "large.tar", "large:v1", [layer(SIZE, 1)])
        carrier.good("""a.docker:load_images("large.tar")""")
        (carrier.folder / "saved.tar").write_text("the one before")
        before = carrier.files()
        carrier.good("""
          local task, events = require "native.task", {}
          local saving
          saving = task.spawn(function()
            a.docker:save_images("large:v1", "saved.tar", { on_progress = function(now)
              if now.bytes > 0 and not events.reached then
                events.reached = true
                saving:cancel()
              end
            end })
          end, { observed = true })
          local ok, err = pcall(task.join, saving)
          assert(not ok and err.kind == "cancelled" and events.reached, tostring(err and err.kind))""")
        assert carrier.files() == before
        assert (carrier.folder / "saved.tar").read_text() == "the one before"

        # The server goes away in the middle.
        ended = carrier.run("""
          local killed
          a.docker:save_images("large:v1", "saved.tar", { on_progress = function()
            if not killed then
              killed = true
              a:exec { "sh", "-c", "kill -9 $(cat /run/docker.pid)" }
            end
          end })""")
        assert ended.code == 1, ended
        assert carrier.files() == before
        assert (carrier.folder / "saved.tar").read_text() == "the one before"
