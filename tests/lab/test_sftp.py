"""Servers without a shell, and without the programs that transfers use there: everything goes over SFTP by itself."""

import hashlib
import os
import random

from labkit import Lab
from transferkit import MIB, good, noise, same_tree, sum_there, there, transfer

SFTP_ONLY = ["ForceCommand internal-sftp"]


def _source_folder(lab):
    source = lab.scratch() / "site"
    for number in range(500):
        path = source / f"d{number % 7}" / f"sub {number % 3}" / f"file{number}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(random.Random(number).randbytes(number * 13))
    (source / "empty folder").mkdir()
    (source / "d0/large").write_bytes(random.Random(0).randbytes(9 * MIB + 1))
    (source / "d0/run.sh").write_text("#!/bin/sh\n")
    (source / "d0/run.sh").chmod(0o750)
    os.symlink("d1/sub 1", source / "current")
    return source


def test_files_travel_to_an_account_for_sftp_alone():
    with Lab(hosts=1, engine=False, sshd=SFTP_ONLY) as lab:
        there(lab, "mkdir", "/srv")
        source, to = lab.scratch() / "large", lab.scratch() / "down"
        expected = noise(source, 20 * MIB + 4711, 1)
        good(lab, f"""
local last = 0
local sent = on:upload("{source}", "/srv/in/large", {{ mode = "0640", make_parents = true, owner = "nobody",
  on_progress = function(now) last = now.bytes end }})
assert(sent.bytes == {20 * MIB + 4711} and sent.mode == "0640" and last == sent.bytes, sent.mode)
assert(on:write("/srv/in/note", "one\\n").mode == "0644")
on:write("/srv/in/note", "two\\n", {{ mode = "0600" }})
assert(on:write("/srv/in/note", "three\\n").mode == "0600", "the replaced file's mode stays")
on:write("/srv/in/empty", "")
assert(on:read("/srv/in/note") == "three\\n" and on:read("/srv/in/empty") == "")
local got = on:download("/srv/in/large", "{to}")
assert(got.bytes == sent.bytes and got.mode == "0640")
assert(on:stat("/srv/in/large").size == sent.bytes and on:stat("/srv/in").type == "directory")
assert(on:stat("/srv/in/large").user == "nobody" and on:stat("/srv/none") == nil)
assert(on:remove("/srv/in/empty") and not on:remove("/srv/in/empty"))
for kind, call in pairs {{
  ["ssh.not_found"] = function() on:read("/srv/none") end,
  ["ssh.directory"] = function() on:write("/srv/in", "x") end,
  ["ssh.transfer"] = function() on:write("/srv/none/x", "x") end,
  ["ssh.exec"] = function() on:exec({{ "true" }}) end,
}} do
  local ok, err = pcall(call)
  assert(not ok and err.kind == kind, kind .. ": " .. (ok and "no error" or err.kind .. " " .. err.message))
end
local ok, err = pcall(on.upload, on, "{source}", "/srv/in/large", {{ owner = "no_such_user" }})
assert(not ok and err.message:find("no_such_user", 1, true))
""")
        assert sum_there(lab, "/srv/in/large") == expected
        assert hashlib.sha256(to.read_bytes()).hexdigest() == expected
        assert there(lab, "stat", "-c", "%a %U", "/srv/in/large") == "640 nobody"
        assert sorted(there(lab, "ls", "-A", "/srv/in").split()) == ["large", "note"]


def test_what_is_in_a_file_is_never_taken_for_requests():
    """The server that runs in the shell's place reads what was meant for the shell's command."""
    init, remove = bytes([0, 0, 0, 5, 1, 0, 0, 0, 3]), b"/srv/victim"
    body = bytes([13]) + (7).to_bytes(4, "big") + len(remove).to_bytes(4, "big") + remove
    with Lab(hosts=1, engine=False, sshd=["ForceCommand /usr/lib/openssh/sftp-server"]) as lab:
        there(lab, "sh", "-c", "mkdir /srv && echo here >/srv/victim")
        source = lab.scratch() / "requests"
        source.write_bytes(init + len(body).to_bytes(4, "big") + body)
        good(lab, f'on:upload("{source}", "/srv/copy")')
        assert there(lab, "cat", "/srv/victim") == "here"
        assert (lab.hosts[0].machine.root / "srv/copy").read_bytes() == source.read_bytes()


def test_folders_travel_to_an_account_for_sftp_alone():
    with Lab(hosts=1, engine=False, sshd=SFTP_ONLY) as lab:
        there(lab, "sh", "-c", "mkdir -p /srv/site/d0 && echo mine >/srv/site/kept && echo old >/srv/site/d0/run.sh")
        _folders(lab, _source_folder(lab))


def test_folders_travel_to_a_server_without_tar():
    with Lab(hosts=1, engine=False) as lab:
        there(lab, "sh", "-c", "mkdir -p /srv/site/d0 && echo mine >/srv/site/kept && echo old >/srv/site/d0/run.sh")
        there(lab, "sh", "-c", "mount --bind /dev/null $(readlink -f $(command -v tar)) && ! command -v tar")
        _folders(lab, _source_folder(lab))
        good(lab, 'assert(on:exec({ "echo", "hello" }).stdout == "hello\\n")')


def _folders(lab, source):
    back = lab.scratch() / "back"
    good(lab, f"""
local last = 0
local sent = on:upload_folder("{source}", "/srv/site", {{ on_progress = function(now) last = now.bytes end }})
assert(sent.files == 502 and last == sent.bytes, sent.files)
assert(on:read("/srv/site/kept") == "mine\\n" and on:read("/srv/site/d0/run.sh") == "#!/bin/sh\\n")
on:upload_folder("{source}/", "/srv/new/deep/site/", {{ make_parents = true, owner = "nobody" }})
on:upload_folder("{source}", "/srv/site", {{ replace = true }})
local got = on:download_folder("/srv/site", "{back}")
assert(got.files == 502 and got.bytes == sent.bytes, got.files)
for kind, call in pairs {{
  ["ssh.transfer"] = function() on:upload_folder("{source}", "/srv/site/current/missing/x") end,
  ["ssh.file"] = function() on:upload_folder("{source}/nothing", "/srv/site") end,
  ["ssh.not_found"] = function() on:download_folder("/srv/none", "{back}") end,
}} do
  local ok, err = pcall(call)
  assert(not ok and err.kind == kind, kind .. ": " .. (ok and "no error" or err.kind .. " " .. err.message))
end
""")
    root = lab.hosts[0].machine.root
    for copy in (root / "srv/site", root / "srv/new/deep/site", back):
        same_tree(source, copy)
        assert os.readlink(copy / "current") == "d1/sub 1" and (copy / "empty folder").is_dir()
        assert (copy / "d0/run.sh").stat().st_mode & 0o777 == 0o750
    assert not (root / "srv/site/kept").exists()
    assert there(lab, "stat", "-c", "%U", "/srv/new/deep/site/d0/run.sh") == "nobody"
    assert sorted(there(lab, "ls", "-A", "/srv").split()) == ["new", "site"]
    there(lab, "sh", "-c", "mkdir /srv/evil && ln -s /etc/passwd /srv/evil/out")
    refused = transfer(lab, f'on:download_folder("/srv/evil", "{back}2")')
    assert refused.code == 1 and "out of the folder" in refused.out + refused.err, refused
    assert not back.with_name("back2").exists()


def test_a_full_disk_and_a_cut_leave_nothing_beside():
    with Lab(hosts=1, engine=False, sshd=SFTP_ONLY) as lab:
        there(lab, "sh", "-c", "mkdir -p /srv/small && mount -t tmpfs -o size=20m tmpfs /srv/small")
        there(lab, "sh", "-c", "echo old >/srv/small/f")
        source = lab.scratch() / "large"
        noise(source, 40 * MIB, 5)
        good(lab, f"""
local ok, err = pcall(on.upload, on, "{source}", "/srv/small/f")
assert(not ok and err.kind == "ssh.transfer", not ok and err.message)
assert(on:read("/srv/small/f") == "old\\n")
local task = require "native.task"
local sending
sending = task.spawn(function()
  on:upload("{source}", "/srv/f", {{ on_progress = function() sending:cancel() end }})
end, {{ observed = true }})
ok, err = pcall(task.join, sending)
assert(not ok and err.kind == "cancelled" and on:stat("/srv/f") == nil, ok and "not cancelled" or err.message)
""")
        assert there(lab, "ls", "-A", "/srv/small") == "f"
        assert there(lab, "ls", "-A", "/srv") == "small"
