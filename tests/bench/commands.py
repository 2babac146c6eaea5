"""exec: one command on an open connection, beside ssh through a ControlMaster; and a cold one beside a cold ssh."""

import os

from benchkit import PRODUCT, Route, figures, ratio, run, timed
from labkit import Lab
from labkit.paths import deployrun

EXEC = """\
local deploy = require "deploy"
local host = deploy.host {{ name = "h1", address = "{address}", port = {port}, user = "root", keys = {{ "{key}" }},
  known_hosts = "{known_hosts}", config = false }}

deploy.command "commands" {{
  default = true, reads = true, params = {{ count = {{ type = "integer", default = 1 }} }},
  run = function(run)
    run:step("true", {{
      on = host, reads = true,
      run = function(on) for _ = 1, run.count do on:exec {{ "true" }} end end,
    }})
  end,
}}
"""


def measure_exec(rtts, pairs):
    print("\n== exec: `true` on an open connection, per command of 50")
    count = 50
    with Lab(hosts=1, engine=False) as lab:
        for rtt in rtts:
            route = Route(lab, rtt)
            address, port = route.address(0)
            folder = lab.scratch()
            (folder / "commands.lua").write_text(EXEC.format(address=address, port=port, key=lab.keys.client["ed25519"],
                                                             known_hosts=route.known_hosts))
            environment = {"PATH": os.environ["PATH"], "HOME": str(lab.folder)}
            share = ["ssh", "-F", route.config, "-o", f"ControlPath={folder}/control"]
            run([*share, "-o", "ControlMaster=yes", "-fN", "h1"], env=environment)

            def product(n):
                run([deployrun(), "commands.lua", "--count", n], cwd=folder, env=environment)

            def masters(n):
                for _ in range(n):
                    run([*share, "h1", "true"], env=environment)
            ours, theirs, cold = [], [], []
            for _ in range(pairs):
                one, many = timed(lambda: product(1))[0], timed(lambda: product(count + 1))[0]
                cold.append(one)
                ours.append((many - one) / count)
                theirs.append(timed(lambda: masters(count))[0] / count)
            run([*share, "-O", "exit", "h1"], env=environment)
            alone = [timed(lambda: run(["ssh", "-F", route.config, "h1", "true"], env=environment))[0] for _ in range(pairs)]
            route.close()
            print(f"-- round trip time {rtt} ms")
            print(f"{PRODUCT:22}{figures(ours)}\n{'ssh ControlMaster':22}{figures(theirs)}\nratio {ratio(ours, theirs):.2f}")
            print(f"{'deployrun, cold':22}{figures(cold)}\n{'ssh, cold':22}{figures(alone)}\nratio {ratio(cold, alone):.2f}")
