"""What kamal.lua has beside Kamal's own, under `x-deployrun` of deploy.yml: migrations, checks, the doctor; two servers under
load. And `output`, which is Kamal's."""

import json
import re
import signal
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from kamalkit import Kamal, Project, containers, push, running
from labkit import Lab, wait_until
from prodkit import summary_line

OURS = """x-deployrun:
  known_hosts: {known_hosts}
  migrate: {{ cmd: "/bin/busybox sh -c '{script}'", timeout: 60s }}
  checks:
    before:
      - {{ check: reachable, required: true }}
      - {{ check: disk, free: 1MB, required: true }}
      - {{ check: image, required: true }}
    after:
      - {{ check: http, url: "http://{address}/version", expect: {{ status: 200, body: {body} }}, required: true }}
      - {{ check: command, command: [test, -e, nowhere] }}
"""
# Notes each migration in a volume, with what it was given; fails or waits where it is told to.
SCRIPT = ("echo migrating; echo $VERSION $GREETING $API_TOKEN >> /data/log; [ ! -e /data/fail ] || exit 7; "
          "while [ -e /data/wait ]; do /bin/busybox usleep 50000; done")


class Site:
    def __init__(self, lab):
        self.lab, self.project, self.data = lab, Project(lab), "/root/data"
        self.path = self.project.folder / "config/deploy.yml"
        self.base = self.path.read_text().partition("x-deployrun:")[0] + f"volumes: [{self.data}:/data]\n"
        for host in lab.hosts:
            host.machine.run(["mkdir", "-p", self.data])
        self.expect("t1")

    def expect(self, body, script=SCRIPT):
        self.path.write_text(self.base + OURS.format(known_hosts=self.lab.known_hosts, script=script, body=body,
                                                     address=self.lab.hosts[0].address))

    def deploy(self, version, *words):
        return self.project.run(*(words or ("deploy",)), "-P", "--version", version)

    def log(self):
        """The migrations, per host."""
        return [host.read(f"{self.data}/log").splitlines() if host.exists(f"{self.data}/log") else []
                for host in self.lab.hosts]

    def serving(self):
        return [running(host) for host in self.lab.hosts]


def _leftovers(host):
    return [name for name in containers(host) if "-migrate-" in name]


def _migrations(lab, site):
    first = lab.hosts[0]
    for name, code, told in (("fail", 7, "exit code 7"),):
        site.expect("t2")
        first.machine.run(["touch", f"{site.data}/{name}"])
        bad = site.deploy("t2")
        assert bad.code == 1 and told in bad.out and "migrating" in bad.out, bad
        assert site.serving() == [["shop-web-t1"]] * 2 and _leftovers(first) == [], bad
        first.machine.run(["rm", f"{site.data}/{name}"])
    # Killed while it migrates: the container goes on; the next one waits for it, and migrates again.
    first.machine.run(["touch", f"{site.data}/wait"])
    for how, served in (("--abort", "t1"), ("--resume", "t2")):
        count = len(site.log()[0])
        program = site.project.start("deploy", "-P", "--version", "t2")
        wait_until(lambda: len(site.log()[0]) > count, 60, "the migration")
        program.signal(signal.SIGKILL)
        program.wait()
        assert _leftovers(first) == ["shop-web-migrate-t2"]
        if how == "--resume":
            first.machine.run(["rm", f"{site.data}/wait"])
        result = site.project.good(how)
        assert site.serving() == [[f"shop-web-{served}"]] * 2 and _leftovers(first) == [], result
    assert site.log()[1] == [], "only the primary host migrates"


def _checks(lab, site):
    site.expect("another")
    bad = site.deploy("t3")
    assert bad.code == 1 and "checks.failed" in bad.out and site.serving() == [["shop-web-t2"]] * 2, bad
    site.expect("t3")
    before = site.path.read_text()
    site.path.write_text(before.replace("free: 1MB", "free: 900TB"))
    count = len(site.log()[0])
    bad = site.deploy("t3")
    assert bad.code == 1 and "900TB free" in bad.out and len(site.log()[0]) == count, bad
    site.path.write_text(before.replace("check: disk", "check: disc").replace("  migrate:", "  migrat:"))
    bad = site.deploy("t3")
    assert bad.code == 2 and "did you mean 'disk'" in bad.out and "did you mean 'migrate'" in bad.out, bad
    site.path.write_text(before)
    good = site.deploy("t3")
    assert good.code == 0 and "(not required)" in good.out and site.serving() == [["shop-web-t3"]] * 2, good


def _doctor(lab, site):
    first, second = lab.hosts
    well = site.project.good("doctor")
    assert "nothing is wrong with shop" in well.out and "failed" not in well.out and "warning" not in well.out, well
    Kamal(first).lock()
    first.kamal_proxy("deploy", "shop-gone", "--target", "shop-web-t3:80", "--host", "gone.test",
                      "--health-check-path", "/up")
    second.engine.call("POST", "/containers/shop-web-t2/start")
    found = site.project.run("doctor")
    assert found.code == 0 and "Locked by: Ann" in found.out, found
    assert "kamal-proxy remove shop-gone" in found.out and "2 containers of web run" in found.out, found
    Kamal(first).unlock()
    second.engine.call("POST", "/containers/kamal-proxy/stop")
    found = site.project.run("doctor")
    assert found.code == 1 and "it is stopped: proxy start" in found.out, found


def test_migrations_checks_and_the_doctor():
    with Lab(hosts=2) as lab:
        push(lab, "t1", "t2", "t3", tools=True)
        site = Site(lab)
        first = site.deploy("t1", "setup")
        assert first.code == 0 and site.log() == [['t1 hello there token $x "q"'], []], (site.log(), first)
        plan = site.project.good("plan", "deploy", "-P", "--version", "t2").out
        assert "shop-web-migrate-t2" in plan and site.log()[0] == ['t1 hello there token $x "q"'], plan
        with lab.load(rate=100) as load:
            _migrations(lab, site)
            _checks(lab, site)
            count = len(site.log()[0])
            site.project.good("rollback")  # neither migrates nor is checked
            site.project.good("rollback", "t3")
            assert len(site.log()[0]) == count
            summary = load.stop()
        assert summary["failed"] == 0, summary
        _doctor(lab, site)
        return summary_line(summary)


class Gateway(BaseHTTPRequestHandler):
    """Takes OTLP logs."""
    bodies = []

    def do_POST(self):
        Gateway.bodies.append((self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


def _records():
    """(path, resource, bodies of all records) since the last call."""
    found, Gateway.bodies = Gateway.bodies, []
    one = found[0][1]["resourceLogs"][0]
    resource = {each["key"]: each["value"]["stringValue"] for each in one["resource"]["attributes"]}
    lines = [record["body"]["stringValue"] for _, body in found
             for record in body["resourceLogs"][0]["scopeLogs"][0]["logRecords"]]
    return found[0][0], resource, lines


def test_logs_of_what_changes_are_kept_as_the_project_says():
    gateway = ThreadingHTTPServer(("127.0.0.1", 0), Gateway)
    threading.Thread(target=gateway.serve_forever, daemon=True).start()
    with Lab(hosts=1, engine=False) as lab:
        project = Project(lab)
        port = gateway.server_address[1]
        project.configure("deploy_timeout:", f"output: {{ file: {{ path: logs/ }}, otel: {{ endpoint: 'http://127.0.0.1:"
                          f"{port}' }} }}\ndeploy_timeout:")
        project.good("lock", "status")
        assert not (project.folder / "logs").exists()
        said = project.good("lock", "acquire", "-m", "mine", "--version", "v1")
        file, = (project.folder / "logs").iterdir()
        assert f"Logs written to logs/{file.name}" in said.out + said.err, said
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d_lock_acquire\.log", file.name), file
        text = file.read_text()
        assert "take the deploy lock" in text and re.fullmatch(r"# Completed in [\d.]+s", text.splitlines()[-1]), text
        path, resource, lines = _records()
        assert path == "/v1/logs" and resource["service.name"] == "kamal" and resource["service.namespace"] == "shop"
        assert resource["kamal.deploy_version"] == "v1", resource
        assert lines[0] == "kamal.start" and lines[-1] == "kamal.complete" and any("done" in line for line in lines), lines

        file.unlink()
        bad = project.run("lock", "acquire", "-m", "again", "--version", "v1")
        file, = (project.folder / "logs").iterdir()
        assert bad.code == 3 and "# FAILED: kamal.locked: " in file.read_text(), (bad, file.read_text())
        assert _records()[2][-1] == "kamal.failed"
        # Nobody there, and a folder that cannot be made: the command is done all the same.
        gateway.shutdown()
        gateway.server_close()
        project.configure("path: logs/", "path: /proc/logs")
        quiet = project.good("lock", "release")
        assert "output/file: " in quiet.out and "output/otel: " in quiet.out, quiet
