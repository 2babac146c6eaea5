"""The registry fails one server of two while an image is pulled: nothing is switched anywhere, everything is as before, and
the same version ships once the registry is well."""

import re

from faultkit import FULL, LIGHT, Lab, Site
from labkit.forwarder import FaultyRegistry
from prodkit import summary_line

# What the error tells.
FAULTS = {"500": "500", "429": "toomanyrequests|429|slow down", "hang": "not finished within|timeout|deadline",
          "trickle": "not finished within|timeout|deadline", "wrong digest": "digest|verif|unknown|not found",
          "expired token": "unauthorized|401|denied|login"}


def test_the_registry_fails_one_server():
    found = []
    with Lab(hosts=2) as lab, FaultyRegistry(lab) as registry:
        rounds = 30 if FULL else 1
        site = Site(lab, count=12 + rounds * len(FAULTS), repository=f"{registry.address}/app")
        site.project.replace(site.project.recipe, 'parallel = 20, retries = 2, timeout = "10m"',
                             'parallel = 20, retries = 1, timeout = "4s"')
        site.learn()
        with lab.load(**LIGHT) as load:
            for _ in range(rounds):
                for fault, words in FAULTS.items():
                    before = site.states()
                    registry.strike(fault, lab.hosts[1].address)
                    result = site.start().wait(200)
                    hits = registry.hits
                    registry.heal()
                    assert hits > 0, (fault, result)
                    assert result.code == 1, (fault, result)
                    text = result.out + result.err
                    assert re.search(words, text, re.I) and "h2" in text, (fault, result)
                    assert "switch traffic" not in text, (fault, result)
                    site.assert_before(before, (fault, result))
                    found.append(f"{fault}: exit 1 after {result.seconds:.1f} s, {hits} requests")
            result = site.start().wait(200)
            assert result.code == 0, result
            site.assert_after(result)
            summary = load.stop()
        assert summary["failed"] == 0, summary["failures"]
    return "\n".join([*found, summary_line(summary)])


test_the_registry_fails_one_server.timeout = 14400 if FULL else 600
