"""The packages: built by cpack, installed in bare roots of Debian that hold nothing else, and used there."""

import json
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from labkit.needs import Skip
from labkit.paths import deployrun

# A binary runs where the C library is at least as new as where it was built.
SUITES = {"bookworm": ["bookworm", "trixie"], "trixie": ["trixie"], "noble": ["noble"]}


def _release():
    lines = Path("/etc/os-release").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)["VERSION_CODENAME"].strip('"')


def _run(argv, **options):
    result = subprocess.run([str(word) for word in argv], capture_output=True, text=True, check=False, **options)
    assert result.returncode == 0, (argv, result.stdout[-3000:], result.stderr[-3000:])
    return result.stdout


def _packages(folder):
    """(deb, archive) made from the binary under test."""
    build = deployrun().resolve().parent
    if not (build / "CPackConfig.cmake").is_file():
        raise Skip(f"{build} is no build folder")
    _run(["cmake", "--build", build, "--target", "package_files"])
    _run(["cpack", "--config", build / "CPackConfig.cmake", "-B", folder])
    return next(folder.glob("*.deb")), next(folder.glob("*.tar.gz"))


def _bare_root(suite, folder):
    root = folder / suite
    _run(["mmdebstrap", "--quiet", "--variant=essential", "--aptopt=Acquire::Check-Valid-Until \"false\"", suite, root])
    return root


def _use(root, project):
    """The installed program in the root: it starts, knows what is inside, begins a project and proves it."""
    def inside(*words):
        return _run(["chroot", root, "/usr/bin/deployrun", *words])

    assert inside("--version").startswith("deployrun ")
    assert len(json.loads(inside("sbom"))["components"]) >= 10
    inside("init", f"/{project}")
    command = f"cd /{project} && deployrun check recipes/prod.lua && deployrun test"
    out = _run(["chroot", root, "sh", "-c", command])
    assert "nothing wrong" in out and "2 passed, 0 failed" in out, out


def _has_licences(deb, archive, folder):
    """Both packages bring the licences of every library that the list of what is inside names."""
    _run(["dpkg-deb", "-x", deb, folder / "deb"])
    (folder / "tar").mkdir()
    _run(["tar", "-xzf", archive, "-C", folder / "tar", "--strip-components=1"])
    for docs in (folder / "deb/usr/share/doc/deployrun", folder / "tar/share/doc/deployrun"):
        inside = [component["name"] for component in json.loads((docs / "sbom.cdx.json").read_text())["components"]]
        kept = {path.name: path.read_text(errors="replace") for path in (docs / "licences").iterdir()}
        assert sorted(kept) == sorted(inside), (kept.keys(), inside)
        assert all(re.search("(?i)copyright|public domain", text) and len(text) > 500 for text in kept.values()), docs


def test_packages_run_on_bare_systems():
    if not shutil.which("mmdebstrap"):
        raise Skip("mmdebstrap is not installed")
    with tempfile.TemporaryDirectory(prefix="deployrun-package-") as path:
        folder = Path(path)
        deb, archive = _packages(folder / "made")
        needs = _run(["dpkg-deb", "-f", deb, "Depends"])
        assert {name.split()[0] for name in needs.split(",")} <= {"libc6", "libgcc-s1"}, needs
        contents = _run(["dpkg-deb", "-c", deb])
        for name in ("/usr/bin/deployrun", "man1/deployrun.1", "completions/deployrun", "_deployrun", "deployrun.fish",
                     "sbom.cdx.json", "copyright", "types/library/deploy.lua"):
            assert name in contents, (name, contents)
        _has_licences(deb, archive, folder)
        for suite in SUITES.get(_release(), [_release()]):
            root = _bare_root(suite, folder)
            shutil.copy(deb, root / "deployrun.deb")
            _run(["chroot", root, "dpkg", "-i", "/deployrun.deb"])
            _use(root, "one")
            _run(["chroot", root, "dpkg", "--remove", "deployrun"])
            assert not (root / "usr/bin/deployrun").exists()
            _run(["tar", "-xzf", archive, "-C", root / "usr", "--strip-components=1"])
            _use(root, "two")


test_packages_run_on_bare_systems.timeout = 900
