"""kill -9 of deployrun around every journal row of a deploy, then --resume or --abort from a fresh process.

All points, each with both. Once the last step has begun to remove the oldest release, --abort says that it is too late and
finishes the run; up to there it brings back what was before. The points are shared out to two labs that work side by
side. A light load asks all hosts all the time: also between the kill and what repairs it, no request may fail.
"""

import signal
import threading
from concurrent.futures import ThreadPoolExecutor, as_completed

from faultkit import FULL, LIGHT, Lab, Site, mark
from prodkit import CADDY, KAMAL, summary_line

LABS = 2


class Point:
    """One kill: `before:7`, `after:12`."""

    def __init__(self, site, fault, marks):
        self.site = site
        self.fault = fault
        self.marks = marks
        self.log = []

    def note(self, text, result=None):
        mark(self.marks, f"{self.fault} {text}")
        self.log.append(f"--- {self.fault} {text}\n{result if result is not None else ''}")

    @property
    def story(self):
        return "\n".join(self.log)

    def kill(self):
        """A deploy that is killed; returns what the journal says of it: None (not begun), running, done."""
        last, _ = self.site.last_run()
        self.note(f"deploy {self.site.next}")
        result = self.site.start(fault=self.fault).wait()
        self.note("killed", result)
        assert result.code == -signal.SIGKILL, self.story
        run, state = self.site.last_run()
        return None if run == last else state

    def refuse(self):
        """A plain deploy says what to do instead and touches nothing."""
        result = self.site.start().wait()
        self.note("plain deploy", result)
        assert result.code == 5, self.story
        assert "--resume" in result.out + result.err and "--abort" in result.out + result.err, self.story

    def settle(self, mode):
        result = self.site.settle(mode)
        self.note(mode, result)
        return result

    def run(self, mode):
        """Returns what the killed deploy was: None (not begun), running, final (not to be undone any more), done."""
        before = self.site.states()
        found = self.kill()
        if found != "running":
            assert found in (None, "done"), self.story
            assert self.settle(mode).code == 2, self.story  # nothing to settle
        else:
            self.refuse()
            if self.site.cannot_be_undone():
                found = "final"
            result = self.settle(mode)
            assert result.code == 0, self.story
            aborted = mode == "abort" and found == "running"
            assert self.site.last_run()[1] == ("aborted" if aborted else "done"), self.story
            assert mode == "resume" or aborted or "too late to undo" in result.out + result.err, self.story
        if found in ("done", "final") or (found == "running" and mode == "resume"):
            self.site.assert_after(self.story)
        else:
            self.site.assert_before(before, self.story)
        self.note("settled")
        return found


def _work(kind, shard, stop):
    """One lab's share of the points; returns (rows of a deploy, points, what the deploys were, what the load found)."""
    with Lab(hosts=3) as lab:
        site = Site(lab, kind=kind)
        rows = site.learn()
        faults = [f"{side}:{row}" for row in range(1, rows + 1) for side in ("before", "after")]
        marks, seen = [], set()
        with lab.load(**LIGHT) as load:
            for fault in faults[shard::LABS]:
                if stop.is_set():  # another lab has failed
                    break
                seen.add(Point(site, fault, marks).run("abort"))
                seen.add(Point(site, fault, marks).run("resume"))
            summary = load.stop()
        assert summary["failed"] == 0, "\n".join(site.failures(load, marks))
        return rows, len(faults[shard::LABS]), seen, summary


def _every_point(kind):
    stop = threading.Event()
    shares = []
    with ThreadPoolExecutor(max_workers=LABS) as pool:
        for share in as_completed([pool.submit(_work, kind, shard, stop) for shard in range(LABS)]):
            if share.exception():
                stop.set()
                raise share.exception()
            shares.append(share.result())
    rows = {rows for rows, _, _, _ in shares}
    assert len(rows) == 1, f"a deploy writes a different number of rows each time: {rows}"
    points = sum(count for _, count, _, _ in shares)
    assert points == 2 * rows.pop(), shares
    assert set().union(*(seen for _, _, seen, _ in shares)) == {None, "running", "final", "done"}, shares
    lines = [f"{points} points, each resumed and aborted"]
    return "\n".join(lines + [summary_line(summary) for _, _, _, summary in shares])


def test_kill_around_every_row_behind_kamal_proxy():
    return _every_point(KAMAL)


test_kill_around_every_row_behind_kamal_proxy.timeout = 3600

if FULL:
    def test_kill_around_every_row_behind_caddy():
        return _every_point(CADDY)

    test_kill_around_every_row_behind_caddy.timeout = 3600


def test_kill_in_the_very_first_deploy():
    """On empty servers, where the proxy, its image, its volume and the network come with the deploy and go with its undo."""
    with Lab(hosts=3) as lab:
        site = Site(lab, count=1, steady=False)
        rows = site.learn()
        site.clear()
        chosen = range(1, rows + 1) if FULL else range(4, rows, 9)
        found = []
        for row in chosen:
            for side in ("before", "after") if FULL else ("after",):
                for mode in ("abort", "resume") if FULL else ("abort",):
                    found.append(Point(site, f"{side}:{row}", []).run(mode))
                    if site.newest:
                        site.clear()
    return f"{len(found)} kills in a deploy of {rows} rows"


test_kill_in_the_very_first_deploy.timeout = 3600
