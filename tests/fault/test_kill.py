"""kill -9 of deployrun around every journal row of a deploy, then --resume or --abort from a fresh process.

All points, each with both. Once the last step has begun to remove the oldest release, --abort says that it is too late and
finishes the run; up to there it brings back what was before. The points are shared out to two labs that work side by
side. A light load asks all hosts all the time: also between the kill and what repairs it, no request may fail.
"""

import signal
import threading
from concurrent.futures import ThreadPoolExecutor, as_completed

from faultkit import FULL, LIGHT, Lab, Site, Watch, mark, step_of
from prodkit import CADDY, HAPROXY, KAMAL, NGINX, TRAEFIK, summary_line

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


def _chosen(rows):
    """(fault, ways to settle it): all with both; in CI every fifth and the last, one way and the other by turns."""
    faults = [f"{side}:{row}" for row in range(1, rows + 1) for side in ("before", "after")]
    if FULL:
        return [(fault, ("abort", "resume")) for fault in faults]
    fewer = faults[:-1:5] + faults[-1:]
    # By twos, as the sides take turns: each side is settled both ways.
    return [(fault, (("abort", "resume")[number // 2 % 2],)) for number, fault in enumerate(fewer)]


def _work(kind, shard, stop):
    """One lab's share of the points; returns (rows of a deploy, points, what the deploys were, what the load found)."""
    with Lab(hosts=3) as lab:
        site = Site(lab, kind=kind)
        rows = site.learn()
        share = _chosen(rows)[shard::LABS]
        marks, seen = [], set()
        with lab.load(**LIGHT) as load:
            for fault, ways in share:
                if stop.is_set():  # another lab has failed
                    break
                seen.update(Point(site, fault, marks).run(way) for way in ways)
            summary = load.stop()
        assert summary["failed"] == 0, "\n".join(site.failures(load, marks))
        return rows, len(share), seen, summary


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
    assert points == len(_chosen(rows.pop())), shares
    assert set().union(*(seen for _, _, seen, _ in shares)) == {None, "running", "final", "done"}, shares
    lines = [f"{points} points, " + ("each resumed and aborted" if FULL else "resumed and aborted in turn")]
    return "\n".join(lines + [summary_line(summary) for _, _, _, summary in shares])


def test_kill_around_every_row_behind_kamal_proxy():
    return _every_point(KAMAL)


test_kill_around_every_row_behind_kamal_proxy.timeout = 3600

if FULL:
    def test_kill_around_every_row_behind_caddy():
        return _every_point(CADDY)

    def test_kill_around_every_row_behind_nginx():
        return _every_point(NGINX)

    def test_kill_around_every_row_behind_haproxy():
        return _every_point(HAPROXY)

    def test_kill_around_every_row_behind_traefik():
        return _every_point(TRAEFIK)

    for _test in (test_kill_around_every_row_behind_caddy, test_kill_around_every_row_behind_nginx,
                  test_kill_around_every_row_behind_haproxy, test_kill_around_every_row_behind_traefik):
        _test.timeout = 3600


# Seconds after a step began.
MOMENTS = [("switch", 0.05), ("switch", 0.2), ("retire", 0.1)]
if FULL:
    MOMENTS += [("switch", number / 50) for number in range(30)]


def _moments(kind):
    """Kills that fall anywhere, inside the proxy's own calls too, while traffic is switched and the old version retired."""
    with Lab(hosts=2) as lab:
        site = Site(lab, kind=kind, count=80)
        site.learn()
        marks, found = [], []
        with lab.load(**LIGHT) as load:
            for step, after in MOMENTS:
                for mode in ("abort", "resume"):
                    before = site.states()
                    mark(marks, f"{step} + {after} {mode}")
                    watch = Watch(site.start("--json"))
                    watch.wait_for(f"the step {step}", step_of(step), 60)
                    threading.Event().wait(after)
                    watch.program.signal(signal.SIGKILL)
                    code, text = watch.end(60)
                    found.append(site.settled(before, mode, code, (step, after, mode, text)))
            summary = load.stop()
        assert summary["failed"] == 0, "\n".join(site.failures(load, marks))
        return f"{kind}: {', '.join(found)}; {summary_line(summary)}"


def test_kill_at_any_moment_of_a_switch():
    kinds = (KAMAL, CADDY, NGINX, HAPROXY, TRAEFIK) if FULL else (NGINX, HAPROXY, TRAEFIK)
    with ThreadPoolExecutor(max_workers=2) as pool:
        return "\n".join(pool.map(_moments, kinds))


test_kill_at_any_moment_of_a_switch.timeout = 7200 if FULL else 900


def _first_deploy(kind):
    """On empty servers, where the proxy, its image, its volume and the network come with the deploy and go with its undo."""
    with Lab(hosts=3) as lab:
        site = Site(lab, kind=kind, count=1, steady=False)
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
    return f"{kind}: {len(found)} kills in a deploy of {rows} rows"


def test_kill_in_the_very_first_deploy():
    return "\n".join(map(_first_deploy, (KAMAL, CADDY, NGINX, HAPROXY, TRAEFIK) if FULL else (KAMAL,)))


test_kill_in_the_very_first_deploy.timeout = 14400 if FULL else 900
