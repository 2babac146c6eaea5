"""Process 1 of a lab machine: builds its root file system, then waits for its owner to go away.

Runs under `unshare --net --mount --pid --uts --ipc --fork`. Everything of the machine lives in these namespaces, on a
tmpfs, so the end of this process is the end of the machine: the kernel kills its processes, unmounts its file systems
and removes its network devices. It ends when its standard input ends, which happens also when the owner was killed.
What the kernel does not remove is removed here, last: cgroup folders, the lab's folder, the uplink (early).

Standard library only, and everything is imported at the top: after pivot_root the interpreter's files may be gone.
"""

import ctypes
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

MS_RDONLY, MS_NOSUID, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE, MNT_DETACH = 1, 2, 32, 4096, 16384, 1 << 18, 2

IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # meant for the owner; the machine follows it

libc = ctypes.CDLL(None, use_errno=True)


def mount(source, target, kind=None, flags=0, data=None):
    args = [None if a is None else a.encode() for a in (source, target, kind)]
    if libc.mount(*args, ctypes.c_ulong(flags), None if data is None else data.encode()) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"mount {source} on {target}: {os.strerror(number)}")


def bind_read_only(source, target):
    mount(source, target, flags=MS_BIND)
    mount(source, target, flags=MS_BIND | MS_REMOUNT | MS_RDONLY)


def make_dirs(root, *names):
    for name in names:
        os.makedirs(root + name, exist_ok=True)


def build_system(root):
    """The parts that every machine takes from this one, read-only: programs and libraries."""
    make_dirs(root, "/usr")
    bind_read_only("/usr", root + "/usr")
    # What somebody put into /usr/local here is no part of a server.
    mount("tmpfs", root + "/usr/local", "tmpfs", 0, "mode=755,size=64m")
    make_dirs(root, "/usr/local/bin", "/usr/local/sbin", "/usr/local/lib")
    for name in ("/bin", "/sbin", "/lib", "/lib64", "/lib32", "/libx32"):
        if os.path.islink(name):
            os.symlink(os.readlink(name), root + name)
        elif os.path.isdir(name):
            make_dirs(root, name)
            bind_read_only(name, root + name)


def build_etc(root, files):
    make_dirs(root, "/etc/ssh", "/etc/ssl", "/etc/docker")
    for name in ("/etc/alternatives", "/etc/ld.so.conf.d"):
        if os.path.isdir(name):
            shutil.copytree(name, root + name, symlinks=True)
    for name in ("ld.so.cache", "ld.so.conf", "services", "protocols", "os-release", "ssh/moduli", "localtime"):
        if os.path.exists(f"/etc/{name}"):
            shutil.copyfile(f"/etc/{name}", f"{root}/etc/{name}")
    if os.path.isdir("/etc/ssl"):
        bind_read_only("/etc/ssl", root + "/etc/ssl")
    for entry in files:
        path = root + entry["path"]
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(entry["text"])
        os.chmod(path, entry.get("mode", 0o644))
        os.chown(path, entry.get("uid", 0), entry.get("uid", 0))


def build_homes(root, homes):
    for home in homes:
        make_dirs(root, home["path"])
        for folder, _, names in os.walk(root + home["path"]):
            for path in [folder] + [os.path.join(folder, n) for n in names]:
                os.chown(path, home["uid"], home["uid"])
        os.chmod(root + home["path"], 0o700)


def build_devices(root):
    make_dirs(root, "/dev", "/proc", "/sys")
    mount("proc", root + "/proc", "proc")
    # Recursive: the control groups are mounts below /sys, and the engine needs them.
    mount("/sys", root + "/sys", flags=MS_BIND | MS_REC)
    mount("tmpfs", root + "/dev", "tmpfs", MS_NOSUID, "mode=755")
    for name, major, minor in (("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9),
                               ("tty", 5, 0)):
        os.mknod(f"{root}/dev/{name}", stat.S_IFCHR | 0o666, os.makedev(major, minor))
        os.chmod(f"{root}/dev/{name}", 0o666)
    make_dirs(root, "/dev/pts", "/dev/shm")
    mount("devpts", root + "/dev/pts", "devpts", 0, "newinstance,ptmxmode=0666,mode=620,gid=5")
    mount("tmpfs", root + "/dev/shm", "tmpfs", 0, "mode=1777")
    os.symlink("pts/ptmx", root + "/dev/ptmx")
    for name, target in (("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")):
        os.symlink("/proc/self/fd" + target, f"{root}/dev/{name}")


def build_root(config):
    root = config["root"]
    mount("none", "/", flags=MS_REC | MS_PRIVATE)
    mount("tmpfs", root, "tmpfs", 0, "mode=755,size=8g")
    make_dirs(root, "/run/sshd", "/var/lib", "/var/log", "/var/tmp", "/tmp", "/root", "/home", "/.old")
    os.symlink("/run", root + "/var/run")
    os.chmod(root + "/tmp", 0o1777)
    os.chmod(root + "/var/tmp", 0o1777)
    build_system(root)
    build_etc(root, config["files"])
    build_homes(root, config["homes"])
    build_devices(root)
    for overlay in config["overlays"]:
        upper, work = root + "/.overlay/upper", root + "/.overlay/work"
        make_dirs("", upper, work, root + overlay["path"])
        mount("overlay", root + overlay["path"], "overlay", 0,
              f"lowerdir={overlay['lower']},upperdir={upper},workdir={work}")
    os.chdir(root)
    subprocess.run(["pivot_root", ".", ".old"], check=True)
    os.chroot(".")
    os.chdir("/")
    if libc.umount2(b"/.old", MNT_DETACH) != 0:
        raise OSError(ctypes.get_errno(), "umount the old root")
    os.rmdir("/.old")


def thaw(name):
    """Containers that were frozen go on: a process in a freezer does not end."""
    for folder, _, files in [found for top in ("freezer/" + name, name) for found in os.walk("/sys/fs/cgroup/" + top)]:
        for file, word in (("freezer.state", "THAWED"), ("cgroup.freeze", "0")):
            if file in files:
                try:
                    Path(folder, file).write_text(word)
                except OSError:
                    pass  # ended meanwhile


def end_everything(cgroup):
    """Kills all other processes of the machine and waits for each of them."""
    try:
        os.kill(-1, signal.SIGKILL)
    except ProcessLookupError:
        return
    thaw(cgroup)
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def remove_cgroups(name):
    base = "/sys/fs/cgroup"
    tops = [os.path.join(base, name)]
    tops += [os.path.join(base, controller, name) for controller in os.listdir(base)]
    for top in tops:
        for folder, _, _ in os.walk(top, topdown=False):
            for _ in range(50):  # a group stays busy for a moment after its last process was reaped
                try:
                    os.rmdir(folder)
                    break
                except FileNotFoundError:
                    break
                except OSError:
                    time.sleep(0.01)


def start(service, argv):
    """Starts a daemon as our own child; its output goes to /var/log/<service>.log. Returns its process id."""
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            log = os.open(f"/var/log/{service}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            null = os.open("/dev/null", os.O_RDONLY)
            for target, source in enumerate((null, log, log)):
                os.dup2(source, target)
            os.closerange(3, 1024)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for number in IGNORED:
                signal.signal(number, signal.SIG_DFL)
            os.execvp(argv[0], argv)
        finally:
            os._exit(127)
    return pid


def obey(order):
    """Carries out one line from the owner; returns the line that answers it."""
    if "start" in order:
        return start(order["start"], order["argv"])
    os.kill(order.get("pid", -1), order["signal"])
    return 0


def serve_owner():
    """Takes orders from standard input until it ends. Reaps what the machine's processes leave behind meanwhile."""
    signal.signal(signal.SIGCHLD, reap)
    pending = b""
    while data := os.read(0, 4096):
        *lines, pending = (pending + data).split(b"\n")
        for line in lines:
            try:
                answer = obey(json.loads(line))
            except OSError as error:
                answer = -error.errno
            os.write(1, f"{answer}\n".encode())
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def reap(_number, _frame):
    while True:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                return
        except ChildProcessError:
            return


def main():
    os.setsid()
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)
    with open(sys.argv[1], encoding="utf-8") as file:
        config = json.load(file)
    outside = os.open("/tmp", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)  # to reach the folder from another root
    socket.sethostname(config["name"])
    try:
        build_root(config)
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        os.write(1, b"ready\n")
        serve_owner()
    finally:
        for device in config["devices"]:
            subprocess.run(["ip", "link", "del", device], check=False, stderr=subprocess.DEVNULL)
        end_everything(config["cgroup"])
        remove_cgroups(config["cgroup"])
        if config["folder"]:
            shutil.rmtree(config["folder"], ignore_errors=True, dir_fd=outside)


if __name__ == "__main__":
    main()
