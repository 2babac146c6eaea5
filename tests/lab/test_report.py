"""--report: the page of a failed deploy on three hosts, rendered by a real browser and read as a person would; check-lists;
notifications."""

import http.server
import json
import os
import re
import threading
from pathlib import Path

from browser import Browser
from labkit import Lab
from prodkit import Project, assert_serving, container

SECRET = "s3cret-token-of-the-shop"
OBSERVE = '    run:log("shipping "'

# The contrast of every text with what lies behind it (WCAG 2.2, 1.4.3), the lowest first.
CONTRAST = """
(() => {
  const parse = text => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = node => { for (let at = node; at; at = at.parentElement) {
    const colour = parse(getComputedStyle(at).backgroundColor); if (colour.length < 4 || colour[3] > 0) return colour; }
    return [255, 255, 255]; };
  const found = [];
  for (const node of document.querySelectorAll("body *")) {
    if (![...node.childNodes].some(one => one.nodeType === 3 && one.textContent.trim())) continue;
    const [a, b] = [light(parse(getComputedStyle(node).color)), light(behind(node))];
    found.push([(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), node.textContent.trim().slice(0, 40)]);
  }
  return found.sort((a, b) => a[0] - b[0])[0];
})()
"""


class Hook:
    """A webhook on the loopback that keeps what it was told."""

    def __init__(self):
        self.told = []
        told = self.told

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                told.append((self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
                self.send_response(200 if "broken" not in self.path else 500)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


def test_the_page_of_a_failed_deploy():
    with Lab(hosts=3) as lab:
        project = Project(lab, deadline="6s", more="env: { secret: [SHOP_TOKEN] }\n")
        (project.folder / ".deployrun").mkdir()
        secrets = project.folder / ".deployrun/secrets"
        secrets.write_text(f"SHOP_TOKEN={SECRET}\n")
        secrets.chmod(0o600)
        project.replace(project.recipe, OBSERVE, f'    deploy.observe("{lab.hosts[0].url}/up")\n{OBSERVE}')
        project.replace(project.recipe, 'run:log("shipping " .. app:image(run.version))',
                        f'run:log("shipping " .. app:image(run.version) .. " with {SECRET} <script>alert(1)</script>")')
        project.deploy("v1")
        failed = project.run("deploy", "--version", "unhealthy", "--report", "run.html")
        assert failed.code == 1, failed
        assert_serving(lab.hosts, "v1")
        page = project.folder / "run.html"
        html = page.read_text()
        assert page.stat().st_mode & 0o777 == 0o600
        assert SECRET not in html and "<script" not in html and not re.search(r'(src|href)="', html), "self-contained"
        keep = os.environ.get("DEPLOYRUN_PICTURES")
        with Browser(lab.scratch()) as browser:
            browser.open(page)
            for width, dark in ((1200, False), (1200, True), (375, False)):
                browser.look(width, dark=dark)
                text = browser.text()
                for words in ("deploy unhealthy", "failed; all that it changed is undone", "What failed",
                              "wait until it is ready", "h1", "h2", "h3", "undo: start the new version", "500",
                              "What it means", "does not answer as ready in time", "requests", "longest gap",
                              "create the container shop-web-unhealthy", "remove the container", "[secret:SHOP_TOKEN]"):
                    assert words in text, (words, text)
                assert browser.run("document.documentElement.scrollWidth") <= width, f"wider than {width}"
                contrast, where = browser.run(CONTRAST)
                assert contrast >= 4.5, (contrast, where, dark)
                if keep:
                    browser.picture(Path(keep) / f"report-{width}-{'dark' if dark else 'light'}.png")
            browser.look(1200)
            lanes = browser.run("""[...document.querySelectorAll('.lane')].map(lane => ({
                host: lane.querySelector('.host').innerText, state: lane.querySelector('.state').innerText,
                width: lane.querySelector('.bar').getBoundingClientRect().width,
                inside: lane.querySelector('.bar').getBoundingClientRect().right <=
                        lane.querySelector('.track').getBoundingClientRect().right + 1}))""")
            assert len(lanes) >= 15 and all(lane["width"] >= 3 and lane["inside"] for lane in lanes), lanes
            assert {lane["host"] for lane in lanes if lane["state"] == "failed"} & {"h1", "h2", "h3"}
            assert [lane for lane in lanes if lane["state"] == "undone"], lanes
            assert browser.run("getComputedStyle(document.body).backgroundColor") == "rgb(246, 247, 249)"
            # A failed step's log is open, the others can be opened.
            assert browser.run("document.querySelectorAll('details[open]').length") >= 1
            assert browser.run("document.querySelectorAll('details').length") > 5
        good = project.good("deploy", "--version", "v2", "--report", "run.html")
        assert "report: run.html" in good.out, good
        with Browser(lab.scratch()) as browser:
            browser.open(page)
            text = browser.text()
            assert "deploy v2" in text and "What failed" not in text and "0\nfailed" in text, text
        return f"{len(html) // 1024} KiB, {len(lanes)} lanes"


CHECKS = """
local before = deploy.checks("before the deploy", app, {
  { check = "reachable", required = true }, { check = "disk", free = "100MB", required = true }, { check = "lock" },
  { check = "image", required = true }, { check = "secrets", names = { "SHOP_TOKEN" }, required = true },
  { check = "command", name = "CI is green", command = { "sh", "-c", "exit $CI_STATUS" }, required = true },
  { check = "command", name = "the moon is full", command = { "false" } },
})
local after = deploy.checks("after the deploy", app, {
  { check = "serving", required = true }, { check = "http", url = "URL/up", required = true },
  { check = "logs", pattern = "fatal", required = true }, { check = "doctor", required = true },
  { name = "a check of our own", required = true, run = function(context) return context.version ~= "v3", "not v3" end },
})
local back = deploy.checks("before the rollback", app, { { check = "release", required = true } })

deploy.command "deploy" {"""


def test_check_lists():
    with Lab(hosts=2) as lab:
        project = Project(lab, more="env: { secret: [SHOP_TOKEN] }\n")
        project.replace(project.recipe, 'deploy.command "deploy" {', CHECKS.replace("URL", lab.hosts[0].url))
        project.replace(project.recipe, OBSERVE, f"    before:run(run, {{ version = run.version }})\n{OBSERVE}")
        project.replace(project.recipe, "    -- What is let go cannot", "    after:run(run, { version = run.version })\n\n"
                        "    -- What is let go cannot")
        project.replace(project.recipe, "    local seen = look(run)\n", "    back:run(run)\n    local seen = look(run)\n")
        good = {"SHOP_TOKEN": "some-token-or-other", "CI_STATUS": "0"}
        people = project.good("deploy", "--version", "v1", env=good)
        assert re.search(r"checks before the deploy\n  ok +servers and engines answer .*\n(.*\n)*"
                         r"  warning +the moon is full .*exit code 1.*not required", people.out), people
        result, events = project.events("deploy", "--version", "v2", env={**good, "CI_STATUS": "1"})
        lists = [event for event in events if event["type"] == "checks"]
        assert result.code == 1 and len(lists) == 1, result
        states = {one["name"]: one["state"] for one in lists[0]["checks"]}
        assert states["CI is green"] == "failed" and states["the moon is full"] == "warning", states
        assert all(state == "ok" for name, state in states.items() if name not in ("CI is green", "the moon is full")), lists
        [error] = [event["error"] for event in events if event["type"] == "error"]
        assert error["kind"] == "checks.failed" and "CI is green (exit code 1" in error["message"], error
        assert_serving(lab.hosts, "v1")
        # What fails after the switch takes it back.
        failed = project.run("deploy", "--version", "v3", env=good)
        assert failed.code == 1 and "a check of our own (not v3)" in failed.out, failed
        assert_serving(lab.hosts, "v1", failed)
        project.good("deploy", "--version", "v2", env=good)
        project.good("rollback", env=good)
        assert_serving(lab.hosts, "v1")
        host = lab.hosts[1]
        host.engine.remove(container("v2"))
        refused = project.run("rollback", env=good)
        assert refused.code == 1 and "every server keeps the release" in refused.out, refused


def test_notifications():
    with Lab(hosts=1) as lab, Hook() as hook:
        project = Project(lab, deadline="6s")
        (project.folder / "announce").write_text('#!/bin/sh\necho "$DEPLOYRUN_EVENT" >> announced; cat >> announced\n')
        (project.folder / "announce").chmod(0o755)
        project.replace(project.recipe, 'deploy.command "deploy" {',
                        f'deploy.notify {{ webhook = deploy.secrets.from_env "HOOK" }}\n'
                        f'deploy.notify {{ slack = "{hook.url}/slack", on = {{ "success", "rollback" }} }}\n'
                        f'deploy.notify {{ webhook = "{hook.url}/broken", on = {{ "success" }} }}\n'
                        'deploy.notify { command = { "./announce" }, on = { "failure" } }\n\ndeploy.command "deploy" {')
        project.replace(project.recipe, 'run:log("shipping "', f'if run.version == "v9" then deploy.fail("{SECRET} is wrong") '
                        'end run:log("shipping "')
        env = {"HOOK": f"{hook.url}/hook/{SECRET}"}
        first = project.good("deploy", "--version", "v1", env=env)
        assert "not notified" in first.out and "answered 500" in first.out, first
        assert SECRET not in first.out + first.err
        failed = project.run("deploy", "--version", "unhealthy", env=env)
        assert failed.code == 1, failed
        project.good("deploy", "--version", "v2", env=env)
        project.good("rollback", env=env)
        told = [body["event"] for path, body in hook.told if path.startswith("/hook/")]
        assert sorted(told) == sorted(["start", "success", "start", "failure", "start", "success", "start", "rollback"]), told
        slack = [body["text"] for path, body in hook.told if path == "/slack"]
        assert len(slack) == 4 and "deploy v1 is done" in slack[0] and "unhealthy" in slack[1] and \
            "rollback went back" in slack[3], slack
        failure = next(body for path, body in hook.told if path.startswith("/hook/") and body["event"] == "failure")
        assert failure["error"]["host"] == "h1" and failure["version"] == "unhealthy" and failure["run"], failure
        announced = (project.folder / "announced").read_text()
        assert announced.startswith("failure\n{") and "what it changed is undone" in announced, announced
