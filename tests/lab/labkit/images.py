"""The lab's images, described as data: files from this machine on an empty root, and a configuration.

Tags of `app`: v1 to v9 are good; the others are bad in the way that their name says.
"""

from dataclasses import dataclass, field
from pathlib import Path

from . import binaries
from .needs import Skip

BROKEN = {
    "crash": {"CRASH_AFTER_MS": "200", "EXIT_CODE": "3"},      # listens, then ends
    "crash-boot": {"BOOT_DELAY_MS": "60000", "CRASH_AFTER_MS": "300", "EXIT_CODE": "3"},  # never listens
    "unhealthy": {"HEALTH_STATUS": "500"},
    "wrong-port": {"PORT": "8080"},
    "redirect": {"HEALTH_STATUS": "301"},
    "slow-boot": {"BOOT_DELAY_MS": "60000"},                   # later than any health deadline of a test
    "slow-health": {"HEALTH_DELAY_MS": "20000"},
}
GOOD = {f"v{n}": {} for n in range(1, 10)}
SLOW_START = {"v-late": {"BOOT_DELAY_MS": "2000"}}             # good, and healthy only after two seconds


@dataclass(frozen=True)
class Entry:
    """A file or folder of an image."""
    path: str
    source: Path | None = None     # copied from here
    text: str | None = None        # or this text; neither: a folder
    mode: int = 0o755
    uid: int = 0


@dataclass(frozen=True)
class Image:
    repository: str
    tag: str
    entries: tuple
    config: dict = field(default_factory=dict)  # as in an image's configuration: Env, Cmd, Entrypoint, User …


def app_images():
    entries = (Entry("demo_app", source=binaries.app()),)
    images = []
    for tag, settings in {**GOOD, **BROKEN, **SLOW_START}.items():
        env = {"VERSION": tag, **settings}
        images.append(Image("app", tag, entries, {
            "Entrypoint": ["/demo_app"], "ExposedPorts": {"80/tcp": {}},
            "Env": ["PATH=/"] + [f"{name}={value}" for name, value in env.items()]}))
    return images


def kamal_app_images():
    """The same program as Kamal builds it: with its label. Few, for each takes its time."""
    return [Image("shop", image.tag, image.entries, {**image.config, "Labels": {"service": "shop"}})
            for image in app_images() if image.tag in ("v1", "v2", "v3", "unhealthy")]


def kamal_proxy_image():
    """Laid out like the official image: same user, same state folder, same command; without its Ubuntu."""
    home = "home/kamal-proxy/.config/kamal-proxy"
    folders = tuple(Entry(path, uid=1001) for path in
                    ("home/kamal-proxy", "home/kamal-proxy/.config", home))
    entries = (Entry("usr/local/bin/kamal-proxy", source=binaries.kamal_proxy()),
               Entry("etc/passwd", text="root:x:0:0:root:/root:/sbin/nologin\n"
                     "kamal-proxy:x:1001:1001::/home/kamal-proxy:/sbin/nologin\n", mode=0o644),
               Entry("etc/group", text="root:x:0:\nkamal-proxy:x:1001:\n", mode=0o644),
               Entry("tmp", mode=0o1777), *folders)
    return Image("kamal-proxy", "v0.9.2", entries, {
        "User": "kamal-proxy:kamal-proxy", "Cmd": ["kamal-proxy", "run"],
        "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
        "ExposedPorts": {"80/tcp": {}, "443/tcp": {}}})


CADDYFILE = ":80 {\n\trespond \"no app yet\" 503\n}\n"


def caddy_image():
    """Laid out like the official image: paths, environment, command. Runs as root, like it."""
    program = binaries.caddy()
    entries = (Entry("usr/bin/caddy", source=program),
               *(Entry(str(path).lstrip("/"), source=path) for path in binaries.libraries(program)),
               Entry("etc/caddy/Caddyfile", text=CADDYFILE, mode=0o644),
               Entry("etc/passwd", text="root:x:0:0:root:/root:/sbin/nologin\n", mode=0o644), Entry("root"),
               Entry("tmp", mode=0o1777), Entry("config"), Entry("data"), Entry("srv"))
    return Image("caddy", "2", entries, {
        "Cmd": ["caddy", "run", "--config", "/etc/caddy/Caddyfile", "--adapter", "caddyfile"], "WorkingDir": "/srv",
        "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "XDG_CONFIG_HOME=/config",
                "XDG_DATA_HOME=/data", "GODEBUG=netdns=go"],
        "Volumes": {"/config": {}, "/data": {}},
        "ExposedPorts": {"80/tcp": {}, "443/tcp": {}, "2019/tcp": {}}})


def _program(path, program):
    """Entries of a program and its libraries."""
    return (Entry(path, source=program), *(Entry(str(lib).lstrip("/"), source=lib) for lib in binaries.libraries(program)))


def _unique(*groups):
    """One entry per path: programs share libraries."""
    return tuple({entry.path: entry for group in groups for entry in group}.values())


USERS = ("root:x:0:0:root:/root:/sbin/nologin\nnobody:x:65534:65534:nobody:/nonexistent:/sbin/nologin\n"
         "haproxy:x:99:99::/var/lib/haproxy:/sbin/nologin\n")
GROUPS = "root:x:0:\nnogroup:x:65534:\nhaproxy:x:99:\n"
PATHS = ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]


def nginx_image():
    """Laid out like the official image: a master process of root, a shell, the folders that nginx writes to."""
    entries = _unique(_program("usr/sbin/nginx", binaries.packaged("nginx")),
                      _program("bin/sh", binaries.packaged("dash")),
                      (Entry("etc/passwd", text=USERS, mode=0o644), Entry("etc/group", text=GROUPS, mode=0o644),
                       Entry("tmp", mode=0o1777), Entry("run"), Entry("var/log/nginx"), Entry("var/lib/nginx")))
    return Image("nginx", "stable", entries, {"Cmd": ["nginx", "-g", "daemon off;"], "Env": PATHS,
                                              "StopSignal": "SIGQUIT", "ExposedPorts": {"80/tcp": {}}})


def haproxy_image():
    """Laid out like the official image: a user of its own, a shell and bash."""
    entries = _unique(_program("usr/sbin/haproxy", binaries.packaged("haproxy")),
                      _program("bin/sh", binaries.packaged("dash")),
                      _program("bin/bash", binaries.packaged("bash")),
                      (Entry("etc/passwd", text=USERS, mode=0o644), Entry("etc/group", text=GROUPS, mode=0o644),
                       Entry("tmp", mode=0o1777), Entry("run"), Entry("var/lib/haproxy", uid=99)))
    return Image("haproxy", "lts", entries, {"User": "haproxy", "WorkingDir": "/var/lib/haproxy", "Env": PATHS,
                                             "StopSignal": "SIGUSR1", "ExposedPorts": {"80/tcp": {}}})


def traefik_image():
    """Laid out like the official image, which is Alpine's: busybox beside the program, which runs as root."""
    entries = _unique(_program("usr/local/bin/traefik", binaries.traefik()),
                      _program("bin/sh", binaries.packaged("busybox")), _program("bin/wget", binaries.packaged("busybox")),
                      (Entry("etc/passwd", text=USERS, mode=0o644), Entry("etc/group", text=GROUPS, mode=0o644),
                       Entry("tmp", mode=0o1777)))
    return Image("traefik", "v3", entries, {"Cmd": ["traefik"], "Env": PATHS, "ExposedPorts": {"80/tcp": {}}})


def all_images():
    """Every image that can be made on this machine."""
    images = app_images() + kamal_app_images()
    for make in (kamal_proxy_image, caddy_image, nginx_image, haproxy_image, traefik_image):
        try:
            images.append(make())
        except Skip:
            pass  # a test that wants it asks for it and is skipped with the reason
    return images
