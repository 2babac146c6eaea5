"""recipes/doctor.lua: each failure of the runbook is made for real, and found with its cause and what mends it; a healthy
system gives no finding. The recipe is the shipped file; what it says of the app is filled in as a team would."""

import crypt
import json
import re
import shutil
import signal
import subprocess
from pathlib import Path

import composekit
from labkit import Lab, wait_until
from labkit.images import Image, Entry, app_images, nginx_image
from labkit.paths import ROOT
from labkit.registry import configuration
from noteskit import Notes
from prodkit import Project, assert_same, container, snapshots

PAGE = ('<html><head><link rel="stylesheet" href="/app-1a2b.css"><script src="/app-3c4d.js"></script></head>'
        '<body>shop</body></html>')
SITE = """\
worker_processes 1; pid /tmp/nginx.pid; error_log stderr;
events { worker_connections 64; }
http { access_log off; server { listen 80; root /site; location = /up { return 200 "ok"; } } }
"""


TLS_SERVER = """
import http.server, ssl
server = http.server.ThreadingHTTPServer(("", 8443), http.server.SimpleHTTPRequestHandler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("/root/cert.pem", "/root/key.pem")
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"""


def site_image(tag, assets=("app-1a2b.css", "app-3c4d.js"), **config):
    """A web app with a page and its assets: nginx and a shell."""
    files = tuple(Entry(f"site/{name}", text="/* */", mode=0o644) for name in assets)
    entries = (*nginx_image().entries, Entry("etc/site.conf", text=SITE, mode=0o644),
               Entry("site/index.html", text=PAGE, mode=0o644), *files)
    return Image("app", tag, entries, {"Cmd": ["nginx", "-c", "/etc/site.conf", "-g", "daemon off;"],
                                       "Env": ["PATH=/usr/sbin:/usr/bin:/bin"], **config})


def app_image(tag, **settings):
    """The demo app under another tag, with settings of its own."""
    good = next(image for image in app_images() if image.tag == "v1")
    env = [f"VERSION={tag}", "PATH=/", *(f"{name}={value}" for name, value in settings.items())]
    return Image("app", tag, good.entries, {**good.config, "Env": env})


def add_doctor(folder, config="recipes/prod.yml", **says):
    """recipes/doctor.lua beside the project's own, with what it is told of the app (Lua's words)."""
    text = (ROOT / "recipes/doctor.lua").read_text()
    lines = "".join(f"    {name} = {value},\n" for name, value in says.items())
    text = text.replace("    app = deploy.app(config),\n", "    app = deploy.app(config),\n" + lines)
    text = text.replace("recipes/prod.yml", config)
    (folder / "recipes/doctor.lua").write_text(text)


def look(lab, folder, *args):
    """(Result, findings) of a visit."""
    result = lab.deployrun(["recipes/doctor.lua", "look", "--json", *args], cwd=folder, timeout=120)
    return result, [event for event in map(json.loads, result.out.splitlines()) if event["type"] == "finding"]


def find(lab, folder, ident, *, title=".", cause=".", fix=".", seen="", host=None, alone=True):
    """The visit finds this (and, unless told, nothing else); every text fits its pattern. Returns the finding."""
    result, findings = look(lab, folder)
    found = [one for one in findings if one["id"] == ident and (host is None or one.get("host") == host)]
    assert found, (ident, [(one["id"], one["title"], one["evidence"]) for one in findings], result.code, result.err)
    one = found[0]
    for field, pattern in (("title", title), ("cause", cause), ("fix", fix)):
        assert re.search(pattern, one[field], re.S), (field, pattern, one)
    assert re.search(seen, "\n".join(one["evidence"])), (seen, one)
    others = {other["id"] for other in findings} - {ident}
    assert not (alone and others), (ident, findings)
    assert result.code == (1 if any(each["severity"] == "error" for each in findings) else 0), (result.code, findings)
    return one


def test_a_healthy_system_gives_no_finding():
    with Lab(hosts=2) as lab:
        lab.registry.push(site_image("s1"))
        project = Project(lab)
        project.deploy("s1")
        add_doctor(project.folder, assets='"/"', accessories='{ { name = "search", port = 80, path = "/up" } }',
                   jobs='{ { command = { "sh", "-c", "exit 0" } } }')
        lab.hosts[0].run_app("v1", name="search")
        before = snapshots(lab.hosts)
        result, findings = look(lab, project.folder)
        assert result.code == 0 and findings == [], (findings, str(result))
        assert_same(before, snapshots(lab.hosts), "a look changes nothing")
        people = lab.deployrun(["recipes/doctor.lua"], cwd=project.folder)
        assert people.code == 0 and "nothing is wrong with shop" in people.out, people
        return f"2 servers in {people.seconds:.1f} s"


def test_a_compose_project_that_is_well_gives_no_finding():
    """Its images have no name without a version, its database is in a network of the project's own, and what runs once
    has ended."""
    with Lab(hosts=1) as lab:
        others = (f'  init: {{ image: "{lab.image("app")}:${{VERSION}}", environment: {{ CRASH_AFTER_MS: 100, EXIT_CODE: 0 }} }}\n'
                  f'  db: {{ image: "{lab.image("app:v9")}", volumes: ["db:/db"] }}\nvolumes: {{ db: }}\n')
        project = composekit.Project(lab, others=others, services="  init: { one_shot: true }\n")
        project.deploy("v1")
        add_doctor(project.folder, config="recipes/compose_blue_green.yml", recipe='"recipes/compose_blue_green.lua"',
                   accessories='{ { name = "db", container = "shop-db-1", port = 80 } }')
        doctor = project.folder / "recipes/doctor.lua"
        doctor.write_text(doctor.read_text().replace("deploy.app(config)", "deploy.compose(config)"))
        result, findings = look(lab, project.folder)
        assert result.code == 0 and findings == [], (findings, str(result))
        project.replace(doctor, "port = 80", "port = 81")
        find(lab, project.folder, "accessory.unreachable", title="port 81", seen=r"listens on \*:80")


def test_servers_that_cannot_be_reached():
    with Lab(hosts=3, engine=False) as lab:
        key = lab.scratch() / "other"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
        known = lab.scratch() / "known_hosts"
        known.write_text("".join(line for line in lab.known_hosts.read_text().splitlines(True)
                                 if not line.startswith(lab.hosts[0].address + " ")))
        for options, ident, words in (
                ({"key": key}, "ssh.key_refused", {"fix": f"ssh-copy-id -i {key}.pub root@", "cause": "authorized_keys"}),
                ({"known_hosts": known}, "ssh.unknown_host_key",
                 {"fix": f"deployrun host trust {lab.hosts[0].address} --file {known}", "seen": "SHA256:"})):
            project = Project(lab, hosts=lab.hosts[:1], **options)
            add_doctor(project.folder)
            find(lab, project.folder, ident, host="h1", **words)
        project = Project(lab, hosts=lab.hosts[1:])
        add_doctor(project.folder)
        for kind in ("ed25519", "ecdsa", "rsa"):
            lab.keys.replace_host_key("h2", kind)
            (lab.hosts[1].machine.root / f"etc/ssh/ssh_host_{kind}_key").write_text(
                lab.keys.host_key("h2", kind).read_text())
        lab.hosts[1].configure_sshd([])
        lab.hosts[2].stop_sshd()
        find(lab, project.folder, "ssh.changed_host_key", host="h2", alone=False, seen="SHA256:",
             fix=f"ssh-keygen -R {lab.hosts[1].address} -f .*host trust {lab.hosts[1].address}")
        find(lab, project.folder, "ssh.refused", host="h3", alone=False, cause="nothing listens there",
             fix="systemctl start ssh")


def test_engine_clock_and_a_run_that_was_killed():
    with Lab(hosts=2) as lab:
        project = Project(lab)
        add_doctor(project.folder)
        project.deploy("v1")
        killed = project.run("deploy", "--version", "v2", env={"DEPLOYRUN_FAULT": "after:8"})  # "see to the proxy" begun
        assert killed.code == -signal.SIGKILL, killed
        find(lab, project.folder, "run.unfinished", fix="--resume .*--abort", alone=False)
        assert lab.deployrun(["recipes/prod.lua", "--abort"], cwd=project.folder).code == 0
        library = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
        lab.hosts[1].configure_sshd([f"SetEnv LD_PRELOAD={library} FAKETIME=+10m"])
        find(lab, project.folder, "clock.skew", host="h2", title=r"(59\d|60[0-2]) s ahead", fix="timedatectl set-ntp true")
        lab.hosts[1].configure_sshd([])
        lab.hosts[0].stop_engine()
        find(lab, project.folder, "engine.down", host="h1", fix="systemctl start docker", cause="docker.sock")


def test_containers_that_fail():
    with Lab(hosts=1) as lab:
        host = lab.hosts[0]
        lab.registry.push(app_image("dies", CRASH_AFTER_MS="20000", EXIT_CODE="3"))
        check = {"Test": ["CMD", "/bin/sh", "-c", "echo no database behind it; exit 7"], "Interval": 10**9, "Retries": 1,
                 "Timeout": 60 * 10**9}
        lab.registry.push(site_image("sick", Healthcheck=check))
        project = Project(lab)
        add_doctor(project.folder)
        project.deploy("dies")
        wait_until(lambda: host.engine.get("/containers/shop-web-dies/json")["RestartCount"] >= 1, 120, "a restart")
        find(lab, project.folder, "container.restarting", title=r"shop-web-dies", cause="exit code 3",
             fix="docker logs --tail 100 shop-web-dies.*rollback")
        project.deploy("sick")
        wait_until(lambda: host.engine.get("/containers/shop-web-sick/json")["State"]["Health"]["Status"] == "unhealthy",
                   120, "an unhealthy container")
        find(lab, project.folder, "container.unhealthy", cause="exit code 7", seen="no database behind it")
        project.deploy("v1")
        project.replace(project.inventory, "  path: /up\n", "  path: /up\n  port: 3000\n")
        find(lab, project.folder, "container.port", title="shop-web-v1 does not listen on port 3000",
             cause="another port", seen=r"it listens on \*:80", fix="health.port")
        project.replace(project.inventory, "  path: /up\n  port: 3000\n", "  path: /nowhere\n")
        find(lab, project.folder, "app.unready", title="/nowhere", cause="404")
        project.replace(project.inventory, "/nowhere", "/up")
        host.engine.remove(container("v1"))
        find(lab, project.folder, "proxy.target", title="which is gone", fix="deployrun recipes/prod.lua deploy")


def test_workers_memory_and_jobs():
    with Lab(hosts=1) as lab:
        host = lab.hosts[0]
        project = Project(lab)
        inventory = project.inventory.read_text()
        hosts = re.search(r"hosts:\n(  - .*\n)", inventory)[1]
        project.inventory.write_text(inventory.replace("hosts:\n" + hosts, "roles:\n  web:\n    hosts:\n    " + hosts +
                                                       "  worker:\n    hosts:\n    " + hosts))
        project.deploy("v1")
        add_doctor(project.folder, jobs='{ { role = "worker", command = { "/demo_app", "--no-such-option" } } }')
        host.engine.call("POST", f"/containers/{container('v1', 'worker')}/stop?t=1")
        find(lab, project.folder, "jobs.stopped", title="worker", fix="docker start shop-worker-v1")
        host.engine.call("POST", f"/containers/{container('v1', 'worker')}/start")
        add_doctor(project.folder)
        result, findings = look(lab, project.folder)
        assert result.code == 0 and findings == [], findings
        host.engine.remove(container("v1", "worker"))
        labels = {"service": "shop", "role": "worker", "deployrun.version": "v1", "destination": ""}
        host.engine.run(container("v1", "worker"), lab.image("nginx:stable"), network="kamal", labels=labels,
                        cmd=["sh", "-c", "x=aaaaaaaa; while :; do x=$x$x; done"], host_config={"Memory": 48 << 20})
        wait_until(lambda: host.engine.get(f"/containers/{container('v1', 'worker')}/json")["State"]["OOMKilled"], 60,
                   "the end by memory")
        find(lab, project.folder, "container.oom", cause="limit of 48 MB", fix="docker stats", alone=False)


def test_ports_proxy_and_registry():
    with Lab(hosts=1, systemd=True) as lab:
        host = lab.hosts[0]
        project = Project(lab)
        add_doctor(project.folder)
        project.deploy("v1")
        host.engine.call("POST", "/containers/kamal-proxy/stop?t=1")
        find(lab, project.folder, "proxy.down", title="kamal-proxy", fix="docker start kamal-proxy")
        unit = host.machine.root / "etc/systemd/system/squatter.service"
        unit.write_text("[Service]\nExecStart=python3 -m http.server 80\n[Install]\nWantedBy=multi-user.target\n")
        host.machine.run(["sh", "-c", "systemctl daemon-reload && systemctl enable --now squatter"])
        wait_until(lambda: subprocess.run(["curl", "-s", "-o", "/dev/null", host.url]).returncode == 0, 90, "the squatter")
        find(lab, project.folder, "port.taken", title=r"port 80 is taken by python3 \(pid \d+\)", seen="python3",
             fix="systemctl disable --now squatter.service")
        host.machine.run(["systemctl", "disable", "--now", "squatter.service"])
        host.engine.call("POST", "/containers/kamal-proxy/start")
        wait_until(lambda: host.kamal_proxy("list")[0] == 0, 90, "the proxy")

        wanted = _registry_with_password(lab)
        project.replace(project.inventory, f"image: {lab.image('app')}\n", f"image: {wanted}/app\n")
        find(lab, project.folder, "registry.denied", cause="names none", fix="registry.username")
        (project.folder / ".deployrun").mkdir(exist_ok=True)
        secrets = project.folder / ".deployrun/secrets"
        secrets.write_text("REGISTRY_PASSWORD=not-the-right-one\n")
        secrets.chmod(0o600)
        project.replace(project.inventory, "hosts:\n", "registry: { username: ann, password: REGISTRY_PASSWORD }\nhosts:\n")
        denied = find(lab, project.folder, "registry.denied", cause="user ann with the password in REGISTRY_PASSWORD",
                      fix=f"docker login {wanted} -u ann")
        assert "not-the-right-one" not in json.dumps(denied)
        secrets.write_text("REGISTRY_PASSWORD=the-right-one\n")
        result, findings = look(lab, project.folder)
        assert not [one for one in findings if one["severity"] == "error"], (findings, str(result))
        project.replace(project.inventory, f"image: {wanted}/app\n", f"image: {wanted[:-4]}9/app\n")
        find(lab, project.folder, "registry.unreachable", fix="curl -sS")


def _registry_with_password(lab):
    """A second registry that wants ann's password; its address."""
    address = lab.registry_address.rpartition(":")[0] + ":5009"
    config = json.loads(configuration("/tmp/registry-2", address))
    config["auth"] = {"htpasswd": {"realm": "lab", "path": "/tmp/htpasswd"}}
    hashed = crypt.crypt("the-right-one", crypt.mksalt(crypt.METHOD_BLOWFISH, rounds=16))
    hub = lab._hub
    (hub.root / "tmp/htpasswd").write_text(f"ann:{hashed}\n")
    (hub.root / "tmp/registry-2.yml").write_text(json.dumps(config))
    hub.start("registry-2", ["docker-registry", "serve", "/tmp/registry-2.yml"])
    wait_until(lambda: subprocess.run(["curl", "-s", "-o", "/dev/null", f"http://{address}/v2/"]).returncode == 0, 90,
               "the second registry")
    return address


DISK = 96  # MB


def test_a_full_disk_and_the_fix():
    with Lab(hosts=1) as lab:
        host = lab.hosts[0]
        host.stop_engine()
        host.machine.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}m", "tmpfs", "/var/lib/docker"])
        host.start_engine()
        project = Project(lab)
        add_doctor(project.folder)
        project.deploy("v1")
        # A nameless image that nothing uses, and a log that fills what is left.
        lab.registry.push(Image("app", "big", (Entry("blob", text="x" * 20_000_000),), {"Cmd": ["/blob"]}))
        host.engine.pull(lab.image("app:big"))
        image = host.engine.get(f"/images/{lab.image('app:big')}/json")["Id"]
        host.engine.pull(lab.image("app:v2"))
        host.engine.call("POST", f"/images/{lab.image('app:v2')}/tag?repo={lab.image('app')}&tag=big")
        free = int(host.machine.run(["df", "-k", "--output=avail", "/var/lib/docker"]).stdout.split()[-1])
        host.machine.run(["fallocate", "-l", f"{free - 1500}KiB", "/var/lib/docker/volumes/backup.tar"])
        full = find(lab, project.folder, "disk.full", title="/var/lib/docker is full", cause="images .*MB",
                    fix=r"docker image prune -f.*safe: about (19|2[0-9]) MB", seen=r"nameless image \w+, 2\d MB")
        assert full["safe"] is True
        fixed = lab.deployrun(["recipes/doctor.lua", "--fix"], cwd=project.folder)
        assert re.search(r"disk\.full: 2\d MB freed", fixed.out), fixed
        assert not any(one["Id"] == image for one in host.engine.get("/images/json?all=1")), "the image is still there"
        assert host.engine.get("/containers/shop-web-v1/json")["State"]["Running"]
        result, findings = look(lab, project.folder)
        assert "disk.full" not in {one["id"] for one in findings}, (findings, str(result))


def test_databases():
    with Lab(hosts=1) as lab:
        site = Notes(lab)
        site.push("r1")
        site.push("r2", MIGRATE_FAULT="half")
        site.deploy("r1")
        add_doctor(site.folder, config="recipes/sqlite_app.yml", recipe='"recipes/sqlite_app.lua"',
                   databases='{ { path = "/data/app.sqlite3", pending = { "/app", "pending" } } }')
        result, findings = look(lab, site.folder)
        assert result.code == 0 and findings == [], (findings, str(result))
        path = site.data / "app.sqlite3"
        hold = ("import sqlite3, sys, time\nd = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
                "d.execute('BEGIN IMMEDIATE')\nprint('held', flush=True)\ntime.sleep(300)")
        holder = subprocess.Popen(site.host.machine.enter(["python3", "-c", hold, str(path)]), stdout=subprocess.PIPE)
        assert holder.stdout.readline() == b"held\n"
        locked = find(lab, site.folder, "database.locked", title=r"locked by process \d+", cause="python3",
                      fix=r"sudo kill \d+", alone=False)
        pid = re.search(r"process (\d+)", locked["title"])[1]
        site.host.machine.run(["kill", "-KILL", pid])
        holder.wait(60)
        site.host.machine.run(["python3", "-c", "import sqlite3, sys\nd = sqlite3.connect(sys.argv[1])\n"
                               "d.execute('DELETE FROM schema_migrations')\nd.commit()", str(path)])
        find(lab, site.folder, "database.pending", cause="r1", fix="deployrun recipes/sqlite_app.lua deploy")
        site.deploy("r1")
        # A migration that fails is told by the run itself, and by a visit afterwards.
        failed, events = site.events("deploy", "--version", "r2")
        assert failed.code == 1, failed
        told = [event for event in events if event["type"] == "finding"]
        assert [one["id"] for one in told] == ["migration.failed"], (told, str(failed))
        find(lab, site.folder, "run.failed", title="migration failed", seen="migrate the database", alone=False)


def test_accessories_and_assets():
    with Lab(hosts=1) as lab:
        host = lab.hosts[0]
        lab.registry.push(site_image("s1", assets=("app-1a2b.css",)))
        project = Project(lab)
        project.deploy("s1")
        add_doctor(project.folder, assets='"/"')
        find(lab, project.folder, "assets.missing", title="1 of 2 assets of / answer 404", seen="/app-3c4d.js: 404",
             fix="assets:precompile")
        add_doctor(project.folder, accessories='{ { name = "search", container = "shop-search", port = 7700 } }')
        find(lab, project.folder, "accessory.missing", title="search")
        host.run_app("v1", name="shop-search", network="bridge")
        find(lab, project.folder, "accessory.apart", fix="docker network connect kamal shop-search", cause="bridge")
        host.engine.call("POST", "/networks/kamal/connect", {"Container": "shop-search"})
        find(lab, project.folder, "accessory.unreachable", title="port 7700", cause="no connection", seen=r"listens on \*:80")
        host.engine.call("POST", "/containers/shop-search/stop?t=1")
        find(lab, project.folder, "accessory.down", fix="docker start shop-search")


def test_certificates_and_names():
    with Lab(hosts=1) as lab:
        host = lab.hosts[0]
        project = Project(lab)
        project.deploy("v1")
        folder = lab.scratch()
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                        "-days", "3", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout",
                        str(folder / "key.pem"), "-out", str(folder / "cert.pem")], check=True, capture_output=True)
        for name in ("key.pem", "cert.pem"):
            shutil.copyfile(folder / name, host.machine.root / "root" / name)
        host.machine.start("tls", ["python3", "-c", TLS_SERVER])
        wait_until(lambda: subprocess.run(["curl", "-sk", "-o", "/dev/null", f"https://{host.address}:8443/"]).returncode == 0,
                   60, "the TLS server")
        ours = f'{{ {{ name = "localhost", port = 8443, days = DAYS, ca_file = "{folder}/cert.pem" }} }}'
        add_doctor(project.folder, certificates=ours.replace("DAYS", "14"))
        find(lab, project.folder, "certificate.expiring", title="ends in [23] days")
        add_doctor(project.folder, certificates=ours.replace("DAYS", "1"))
        result, findings = look(lab, project.folder)
        assert result.code == 0 and findings == [], findings
        add_doctor(project.folder, certificates='{ { name = "localhost", port = 8443 } }')
        find(lab, project.folder, "certificate.missing", cause="certificate", fix="docker logs")
        add_doctor(project.folder)
        project.replace(project.inventory, f"  kind: kamal_proxy\n", "  kind: kamal_proxy\n  host: shop.invalid\n")
        find(lab, project.folder, "dns.missing", title="shop.invalid", fix=host.address)
        project.replace(project.inventory, "host: shop.invalid", "host: localhost")
        find(lab, project.folder, "dns.elsewhere", title=f"localhost points to .*, not to {host.address}")
