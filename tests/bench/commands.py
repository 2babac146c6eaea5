"""exec: one command on an open connection, beside ssh through a ControlMaster; and a cold one beside a cold ssh."""

from benchkit import PRODUCT, Connection, figures, ratio, timed
from labkit import Lab

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
            with Connection(lab, rtt, EXEC) as connection:
                def product(n):
                    connection.deployrun("--count", n)

                def masters(n):
                    for _ in range(n):
                        connection.ssh("true")
                ours, theirs, cold = [], [], []
                for _ in range(pairs):
                    one, many = timed(lambda: product(1))[0], timed(lambda: product(count + 1))[0]
                    cold.append(one)
                    ours.append((many - one) / count)
                    theirs.append(timed(lambda: masters(count))[0] / count)
                alone = [timed(lambda: connection.cold_ssh("true"))[0] for _ in range(pairs)]
            print(f"-- round trip time {rtt} ms")
            print(f"{PRODUCT:22}{figures(ours)}\n{'ssh ControlMaster':22}{figures(theirs)}\nratio {ratio(ours, theirs):.2f}")
            print(f"{'deployrun, cold':22}{figures(cold)}\n{'ssh, cold':22}{figures(alone)}\nratio {ratio(cold, alone):.2f}")
