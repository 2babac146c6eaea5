"""A server's engine is restarted, or crashes, in the middle of a deploy: while it pulls, starts and stops. With
live-restore the containers serve on through that, without it they come back with the engine."""

import signal
import urllib.request
from concurrent.futures import ThreadPoolExecutor

from faultkit import FULL, LIGHT, Lab, Site, Watch, step_of
from labkit import wait_until
from prodkit import summary_line

PHASES = {"pull": "pull the image", "start": "start the new", "stop": "retire"}


def _answers(host):
    def check():
        try:
            with urllib.request.urlopen(host.url + "/version", timeout=10) as answer:
                return answer.status == 200
        except OSError:
            return False
    wait_until(check, 60, f"{host.name} serves")


def _one(site, phase, crash, mode):
    victim, before = site.hosts[1], site.states()
    watch = Watch(site.start("--json"))
    watch.wait_for(f"the step {phase}", step_of(PHASES[phase]), 120)
    victim.stop_engine(signal.SIGKILL if crash else signal.SIGTERM)
    victim.start_engine()
    if mode == "resume":
        watch.kill_at_failure(120)
    _answers(victim)
    code, text = watch.end(400)
    context = (phase, crash, mode, code, [event for _, event in watch.events if event.get("error")], text)
    return f"{'crash' if crash else 'restart'} at «{phase}»: exit {code}, {site.settled(before, mode, code, context, True)}"


def _work(live_restore):
    cases = [(phase, crash, mode) for phase in PHASES for crash in (False, True) for mode in ("abort", "resume")]
    if FULL:
        cases = cases * 10
    else:
        cases = [("pull", False, "abort"), ("start", live_restore, "resume"), ("stop", False, "abort")]
    with Lab(hosts=2, engine_options={"live-restore": live_restore}) as lab:
        site = Site(lab, count=12 + 2 * len(cases))
        site.learn()
        # Without live-restore the engine takes its containers with it: then only the other server is asked.
        with lab.load(lab.urls if live_restore else lab.urls[:1], **LIGHT) as load:
            found = [_one(site, *case) for case in cases]
            summary = load.stop()
        assert summary["failed"] == 0, (found, summary["failures"])
        return "\n".join([f"live-restore {'on' if live_restore else 'off'}:", *found, summary_line(summary)])


def test_the_engine_restarts_in_the_middle_of_a_deploy():
    with ThreadPoolExecutor(max_workers=2) as pool:
        return "\n".join(pool.map(_work, (True, False)))


test_the_engine_restarts_in_the_middle_of_a_deploy.timeout = 14400 if FULL else 900
