"""A site whose deploys are disturbed: three hosts, an app in its steady state, and a chain of versions r1, r2, r3 …

Every deploy ships the next version, so each one pulls an image, starts, switches, retires and lets the oldest release go,
and its end is the start of the next. Two ends are equal when they are equal with all versions counted back from the
newest; the state after an undone deploy has to be the one before it, as it stands.
"""

import json
import os
import re
import signal
import sqlite3
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lab"))

from labkit import Lab  # noqa: E402
from labkit.images import app_images  # noqa: E402
from prodkit import KAMAL, SERVICE, Project, differences, serving  # noqa: E402

FULL = os.environ.get("DEPLOYRUN_FULL") == "1"
RETAIN = 2
VERSION = re.compile(r"\br(\d+)\b")
LIGHT = {"rate": 30}
FINAL = "let go of the oldest"  # the recipe's last step; what is removed cannot come back
# Small figures where the shipped ones leave room for slow apps: the recipe does the same in less time.
MORE = f"  settle: 50ms\nretain: {RETAIN}\nstop_timeout: 5s\n"
HOMES = ("root", "home", "tmp", "var/tmp")


def files(host):
    """Whatever a deploy could leave in homes and temporary folders, as paths."""
    found = []
    for top in HOMES:
        for folder, names, leaves in os.walk(host.machine.root / top):
            for own in (".ssh", ".deployrun"):  # who may log in; deployrun's agent, locks and fences
                if own in names:
                    names.remove(own)
            # An engine that ends without its containerd has that write down what it was doing.
            leaves = [name for name in leaves if not fnmatch(name, "containerd.*.stacks.log")]
            found += [str(Path(folder, name).relative_to(host.machine.root)) for name in [*names, *leaves]]
    return sorted(found)


def untagged(host):
    """Images without a name: the layers of a pull that nobody took back."""
    return sum(1 for image in host.engine.get("/images/json")
               if all(tag == "<none>:<none>" for tag in image["RepoTags"] or []))


def state(host):
    return {**host.snapshot(), "files": files(host), "untagged": untagged(host)}


def states(hosts):
    with ThreadPoolExecutor(max_workers=len(hosts)) as pool:
        return dict(zip((host.name for host in hosts), pool.map(state, hosts)))


def relative(found, newest):
    """States with versions counted back from the newest; image IDs, one per version, are left out."""
    text = json.dumps(found)
    text = re.sub(r'"image_id": "[^"]*"', '"image_id": ""', text)
    text = re.sub(r"/serving/[0-9a-f]{12}:", "/serving/<container>:", text)  # Caddy's target, by ID
    plain = json.loads(VERSION.sub(lambda match: f"<newest-{newest - int(match.group(1))}>", text))
    for host in plain.values():
        host["images"].sort()
    return plain


class Site:
    """`count`: how many versions the registry offers. `steady`: ship until every deploy also lets a release go; else the
    hosts are empty. `repository`: another name for the app's."""

    def __init__(self, lab, *, kind=KAMAL, count=200, steady=True, repository=None, **project):
        self.lab = lab
        self.hosts = lab.hosts
        self.count = count
        layers = {}
        template = next(image for image in app_images() if image.tag == "v1")
        for number in range(1, count + 1):
            env = [f"VERSION=r{number}" if entry.startswith("VERSION=") else entry for entry in template.config["Env"]]
            lab.registry.push(replace(template, tag=f"r{number}", config={**template.config, "Env": env}), layers)
        self.project = Project(lab, kind=kind, more=MORE, **project)
        if repository:
            self.project.replace(self.project.inventory, f"image: {lab.image('app')}\n", f"image: {repository}\n")
        self.newest = 0
        self.seconds = None
        while steady and self.newest < RETAIN + 2:
            self.ship()

    @property
    def next(self):
        assert self.newest < self.count, "the registry has no further version"
        return f"r{self.newest + 1}"

    def ship(self):
        """An undisturbed deploy of the next version."""
        result = self.project.deploy(self.next)
        self.newest += 1
        self.seconds = result.seconds
        return result

    def states(self):
        return states(self.hosts)

    def relative(self):
        return relative(self.states(), self.newest)

    def learn(self):
        """Ships once undisturbed, to know what the end looks like; returns how many journal rows that takes."""
        self.ship()
        self.expected = self.relative()
        return self.rows()

    def clear(self):
        """Empty hosts again, as before the first deploy."""
        for host in self.hosts:
            host.reset()
            for image in host.engine.get("/images/json"):
                host.engine.call("DELETE", f"/images/{image['Id']}?force=1")
        self.newest = 0

    # --- one deploy, disturbed

    def start(self, *args, fault=None):
        return self.project.start("deploy", "--version", self.next, *args, env={"DEPLOYRUN_FAULT": fault} if fault else None)

    def settle(self, mode, timeout=120):
        """Runs --resume or --abort as a fresh process."""
        return self.lab.deployrun(["recipes/prod.lua", f"--{mode}"], cwd=self.project.folder, timeout=timeout)

    # --- the journal, read without the program

    def _journal(self):
        return sqlite3.connect(self.project.folder / ".deployrun/journal.db")

    def last_run(self):
        """(id, state) of the newest run: running, done, aborted …"""
        with closing(self._journal()) as database:
            row = database.execute("SELECT run FROM journal WHERE type = 'run' ORDER BY number DESC LIMIT 1").fetchone()
            if row is None:
                return None, None
            last = database.execute("SELECT json_extract(body, '$.state') FROM journal WHERE run = ? AND "
                                    "type IN ('run', 'takeover', 'finish') ORDER BY number DESC LIMIT 1", row).fetchone()
            return row[0], last[0] or "running"

    def rows(self):
        """How many rows the newest run has."""
        run, _ = self.last_run()
        with closing(self._journal()) as database:
            return database.execute("SELECT count(*) FROM journal WHERE run = ?", (run,)).fetchone()[0]

    def cannot_be_undone(self):
        """Whether the newest run has begun the step that lets go of old releases: from there on it only goes forward."""
        run, _ = self.last_run()
        with closing(self._journal()) as database:
            return database.execute(
                "SELECT count(*) FROM journal AS task JOIN journal AS step ON step.run = task.run AND step.type = 'step' AND "
                "json_extract(step.body, '$.ordinal') = json_extract(task.body, '$.step') WHERE task.run = ? AND "
                "task.type = 'task' AND json_extract(step.body, '$.name') = ?", (run, FINAL)).fetchone()[0] > 0

    # --- what must hold

    def assert_before(self, before, context):
        found = differences(before, self.states())
        assert not found, "not as before:\n" + "\n".join([*found, str(context)])

    def assert_after(self, context):
        """The end of an undisturbed deploy of the next version, which is the newest from now on."""
        self.newest += 1
        found = differences(self.expected, self.relative())
        assert not found, "not as after an undisturbed deploy:\n" + "\n".join([*found, str(context)])

    def _settled_by_the_next(self, context):
        """All is new. What an engine that was ending at that moment did not keep (that a container was stopped, that an
        image was removed) the next deploy sets right; a nameless image stays."""
        assert {serving(host) for host in self.hosts} == {f"{SERVICE}-web-{self.next}"}, context
        self.newest += 1
        clean = not differences(self.expected, self.relative())
        self.ship()
        found = [line for line in differences(self.expected, self.relative()) if "/untagged" not in line]
        assert not found, (found, context)
        self.expected = self.relative()
        return "went on" if clean else "went on, the next deploy did the rest"

    def settled(self, before, mode, code, context, engine=False):
        """After a disturbed deploy that ended with `code`: all is as before or all is as after, with one more command
        where the run says that it needs one. Returns which, in a word. `engine`: it was the engine that was disturbed."""
        if code == 0 and engine:
            return self._settled_by_the_next(context)
        if code == 0:
            self.assert_after(context)
            return "went on"
        if code in (1, 4):
            self.assert_before(before, context)
            return "undone"
        assert code in (5, -signal.SIGKILL), context
        result = self.settle("abort" if code == 5 else mode, timeout=300)
        if result.code == 2 and "already being undone" in result.out:  # it came as far as that before it was killed
            result = self.settle("abort", timeout=300)
        if code == -signal.SIGKILL and result.code == 2:  # it was over before it was killed
            if {serving(host) for host in self.hosts} == {f"{SERVICE}-web-{self.next}"}:
                self.assert_after((context, result))
            else:
                self.assert_before(before, (context, result))
            return "nothing to settle"
        assert result.code == 0, (context, result)
        state = self.last_run()[1]
        if state == "aborted":
            self.assert_before(before, (context, result))
        else:
            self.assert_after((context, result))
        return state

    def failures(self, load, marks):
        """Failed requests, each with the mark (time, text) that was set last before it."""
        found = []
        for record in load.records():
            if record["error"]:
                place = [text for at, text in marks if at * 1000 <= record["start_ms"] + record["duration_ms"]]
                found.append(f"{place[-1] if place else 'at first'}: {record}")
        return found


def mark(marks, text):
    marks.append((time.time(), text))


class Watch:
    """Reads a program's events as they come."""

    def __init__(self, program):
        self.program = program
        self.events = []
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self):
        for line in self.program.process.stdout:
            with self._changed:
                self.events.append((time.monotonic(), json.loads(line)))
                self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()

    def wait_for(self, what, check, seconds):
        """The moment of the first event that `check` accepts."""
        deadline = time.monotonic() + seconds
        seen = 0
        with self._changed:
            while True:
                for at, event in self.events[seen:]:
                    if check(event):
                        return at
                seen = len(self.events)
                left = deadline - time.monotonic()
                if left <= 0 or (not self._thread.is_alive() and seen == len(self.events)):
                    raise AssertionError(f"{what}: not within {seconds} s: {[event for _, event in self.events]}")
                self._changed.wait(min(left, 0.2))

    def kill_at_failure(self, seconds):
        """kill -9 once a task has failed, unless the run ends without that."""
        self.wait_for("a failure or the end", lambda event: event["type"] == "run.finished" or event.get("error"), seconds)
        over = any(event["type"] == "run.finished" for _, event in self.events)
        if not over and self.program.process.poll() is None:
            self.program.signal(signal.SIGKILL)

    def end(self, seconds):
        """The exit code and what was said on standard error."""
        code = self.program.process.wait(timeout=seconds)
        self._thread.join()
        with self.program.process.stderr as errors:
            text = errors.read()
        self.program.process.stdout.close()
        return code, text


def step_of(word):
    """For Watch.wait_for: a step begins whose name has `word`."""
    return lambda event: event["type"] == "step.started" and word in event["step"] and not event.get("undo")
