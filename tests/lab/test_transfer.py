"""Files and folders to a host over its real SSH server: whole, in one moment, going on where a cut upload stopped."""

import contextlib
import hashlib
import os
import random

from labkit import Lab
from transferkit import MIB, good, noise, same_tree, sum_there, there, transfer


@contextlib.contextmanager
def server():
    with Lab(hosts=1, engine=False) as lab:
        there(lab, "mkdir", "/srv")
        yield lab


def test_a_large_file_arrives_whole_and_leaves_nothing_beside_it():
    with server() as lab:
        source = lab.scratch() / "large"
        first = noise(source, 50 * MIB + 12345, 1)
        good(lab, f"""
local seen, last = 0, 0
local sent = on:upload("{source}", "/srv/in/large", {{ mode = "0640", make_parents = true, on_progress = function(now)
  assert(now.bytes >= last and now.total_bytes == {50 * MIB + 12345})
  seen, last = seen + 1, now.bytes
end }})
assert(sent.bytes == {50 * MIB + 12345} and sent.mode == "0640", sent.mode)
assert(seen > 0 and last == sent.bytes, "progress told " .. last)
""")
        assert sum_there(lab, "/srv/in/large") == first
        assert there(lab, "stat", "-c", "%a %U", "/srv/in/large") == "640 root"
        second = noise(source, 17 * MIB, 2)
        good(lab, f'on:upload("{source}", "/srv/in/large")')  # keeps the mode of what it replaces
        assert sum_there(lab, "/srv/in/large") == second
        assert there(lab, "stat", "-c", "%a", "/srv/in/large") == "640"
        assert there(lab, "ls", "-A", "/srv/in") == "large"


def test_a_download_arrives_as_it_is():
    with server() as lab:
        to = lab.scratch() / "down"
        there(lab, "sh", "-c", "head -c 30000000 /dev/urandom >/srv/big; chmod 640 /srv/big; : >/srv/empty")
        good(lab, f"""
local last = 0
local got = on:download("/srv/big", "{to}", {{ on_progress = function(now) last = now.bytes end }})
assert(got.bytes == 30000000 and got.mode == "0640" and last == got.bytes, got.bytes .. " " .. last)
assert(on:download("/srv/empty", "{to}.empty").bytes == 0)
local ok, err = pcall(on.download, on, "/srv/none", "{to}.none")
assert(not ok and err.kind == "ssh.not_found")
""")
        assert hashlib.sha256(to.read_bytes()).hexdigest() == sum_there(lab, "/srv/big")
        assert to.with_name("down.empty").read_bytes() == b""
        assert not to.with_name("down.none").exists()


def test_a_cut_upload_goes_on_where_it_stopped():
    """The server's side of the connection is killed in the middle; over a new one goes what is missing, no more."""
    with server() as lab:
        source = lab.scratch() / "large"
        size = 256 * MIB  # cut early: what is left takes longer than the cut
        expected = noise(source, size, 3)
        there(lab, "sh", "-c", "echo old >/srv/large")
        good(lab, f"""
local cut
on:upload("{source}", "/srv/large", {{ on_progress = function(now)
  if not cut and now.bytes > {size // 4} then
    cut = on:_session()
    pcall(on.exec, on, "cp /srv/large /tmp/seen; kill -9 $PPID")
  end
end }})
assert(cut and cut ~= on:_session(), "it was not cut")
local again = on:_session():stats().bytes_out
assert(again < {size * 7 // 8}, "sent again: " .. again)
assert(again > {size // 16}, "nothing was missing: " .. again)
""")
        assert there(lab, "cat", "/tmp/seen") == "old", "the old file must stay"
        assert sum_there(lab, "/srv/large") == expected
        assert there(lab, "ls", "-A", "/srv") == "large"


def test_a_cut_download_goes_on_where_it_stopped():
    """Over the new connection come the missing bytes, unless the file there is another one by then."""
    with server() as lab:
        to = lab.scratch() / "down"
        size = 256 * MIB
        there(lab, "sh", "-c", f"head -c {size} /dev/urandom >/srv/big; head -c {size} /dev/urandom >/srv/other")
        for change in ("", 'on:exec("mv /srv/other /srv/big")'):
            expected = sum_there(lab, "/srv/other" if change else "/srv/big")
            good(lab, f"""
local cut
on:download("/srv/big", "{to}", {{ on_progress = function(now)
  if not cut and now.bytes > {size // 4} then
    cut = on:_session()
    {change}
    pcall(on.exec, on, "kill -9 $PPID")
  end
end }})
assert(cut and cut ~= on:_session(), "it was not cut")
local again = on:_session():stats().bytes_in
assert(again {">" if change else "<"} {size * 7 // 8}, "fetched again: " .. again)
""")
            assert hashlib.sha256(to.read_bytes()).hexdigest() == expected
            assert sorted(p.name for p in to.parent.iterdir() if "deployrun-" in p.name) == []


def test_a_part_that_somebody_damaged_is_sent_again():
    with server() as lab:
        source = lab.scratch() / "large"
        expected = noise(source, 48 * MIB, 4)
        good(lab, f"""
local cut = false
pcall(on.upload, on, "{source}", "/srv/large", {{ on_progress = function(now)
  if not cut and now.bytes > {40 * MIB} then cut = true; pcall(on.exec, on, "kill -9 $PPID") end
end }})
on:exec("for f in /srv/.deployrun-*.part; do printf damage | dd of=$f bs=1 seek=1000 conv=notrunc; done")
on:upload("{source}", "/srv/large")
""")
        assert sum_there(lab, "/srv/large") == expected


def test_a_full_disk_is_told_and_not_left_full():
    with server() as lab:
        source = lab.scratch() / "large"
        noise(source, 40 * MIB, 5)
        there(lab, "sh", "-c", "mkdir -p /srv/small && mount -t tmpfs -o size=20m tmpfs /srv/small")
        there(lab, "sh", "-c", "echo old >/srv/small/f")
        good(lab, f"""
local ok, err = pcall(on.upload, on, "{source}", "/srv/small/f")
assert(not ok and err.kind == "ssh.transfer" and err.message:find("No space left", 1, true), not ok and err.message)
assert(on:read("/srv/small/f") == "old\\n")
""")
        assert there(lab, "ls", "-A", "/srv/small") == "f"


def test_a_folder_is_added_or_replaces_as_a_whole():
    with server() as lab:
        source = lab.scratch() / "site"
        for n in range(600):
            path = source / f"d{n % 7}" / f"sub {n % 3}" / f"file{n}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(random.Random(n).randbytes(n * 13))
        os.symlink("d1/sub 1", source / "current")
        (source / "d0/run.sh").write_text("#!/bin/sh\n")
        (source / "d0/run.sh").chmod(0o750)
        there(lab, "sh", "-c", "mkdir -p /srv/site && echo mine >/srv/site/kept && ln -s site /srv/link")
        good(lab, f"""
local sent = on:upload_folder("{source}", "/srv/site")
assert(sent.files == 601, sent.files)
assert(on:read("/srv/site/kept") == "mine\\n")
on:upload_folder("{source}/", "/srv/new/deep/site/", {{ make_parents = true, owner = "nobody" }})
on:upload_folder("{source}", "/srv/site", {{ replace = true }})
local ok, err = pcall(on.upload_folder, on, "{source}", "/srv/site/current/missing/x")
assert(not ok and err.kind == "ssh.transfer", ok and "no folder above it" or err.kind)
ok, err = pcall(on.upload_folder, on, "{source}/nothing", "/srv/site")
assert(not ok and err.kind == "ssh.file")
""")
        same_tree(source, lab.hosts[0].machine.root / "srv/site")
        same_tree(source, lab.hosts[0].machine.root / "srv/new/deep/site")
        assert there(lab, "stat", "-c", "%a", "/srv/site/d0/run.sh") == "750"
        assert there(lab, "readlink", "/srv/site/current") == "d1/sub 1"
        assert there(lab, "stat", "-c", "%U", "/srv/new/deep/site/d0/run.sh") == "nobody"
        assert sorted(there(lab, "ls", "-A", "/srv").split()) == ["link", "new", "site"]


def test_a_folder_comes_down_whole_or_not_at_all():
    with server() as lab:
        to = lab.scratch() / "site"
        there(lab, "sh", "-c", "mkdir -p '/srv/site/a b/c' /srv/evil && cd /srv/site && "
              "for n in $(seq 400); do head -c $((n * 50)) /dev/urandom >\"a b/c/$n\"; done; "
              "ln -s 'a b/c/7' link; ln 'a b/c/8' hard; chmod 750 'a b'; "
              "ln -s /etc/passwd /srv/evil/out; echo x >/srv/file")
        good(lab, f"""
local last
local got = on:download_folder("/srv/site", "{to}", {{ on_progress = function(now) last = now.bytes end }})
assert(got.files == 401 and last == got.bytes, got.files)
on:download_folder("/srv/site/", "{to}2", {{ replace = true }})
on:download_folder("/srv/site/", "{to}2", {{ replace = true }})
for name, kind in pairs {{ none = "ssh.not_found", file = "ssh.transfer", evil = "ssh.file" }} do
  local ok, err = pcall(on.download_folder, on, "/srv/" .. name, "{to}")
  assert(not ok and err.kind == kind, name)
end
local ok, err = pcall(on.download_folder, on, "/srv/site", "{to}3", {{ limit = 1000 }})
assert(not ok and err.kind == "ssh.file" and err.message:find("1000", 1, true), not ok and err.message)
""")
        site = lab.hosts[0].machine.root / "srv/site"
        for copy in (to, to.with_name("site2")):
            same_tree(site, copy)
            assert os.readlink(copy / "link") == "a b/c/7"
            assert (copy / "a b").stat().st_mode & 0o777 == 0o750
        names = sorted(path.name for path in to.parent.iterdir())
        assert "site3" not in names and not [name for name in names if name.startswith(".deployrun.")], names


def test_a_plan_tells_transfers_and_makes_none():
    with server() as lab:
        source = lab.scratch() / "site"
        source.mkdir()
        (source / "index.html").write_text("hello\n")
        plan = transfer(lab, f"""
on:upload_folder("{source}", "/srv/site", {{ replace = true }})
assert(on:stat("/srv/site").type == "directory")
on:upload("{source}/index.html", "/srv/index.html")
assert(on:read("/srv/index.html") == "hello\\n")
""", "--plan")
        assert plan.code == 0 and f"rsync -rlpt --delete {source}/ h1:/srv/site" in plan.out, plan
        assert "/srv/index.html" in plan.out, plan
        assert there(lab, "ls", "-A", "/srv") == ""
