"""lock: the deploy lock taken and given back over an open connection, beside Kamal's (`mkdir`, a file, `rm -r`) through a
ControlMaster."""

import re

from benchkit import PRODUCT, Connection, figures, ratio, timed
from labkit import Lab

RECIPE = """\
local deploy = require "deploy"
local lock = require "deploy.lock"
local task = require "native.task"
local host = deploy.host {{ name = "h1", address = "{address}", port = {port}, user = "root", keys = {{ "{key}" }},
  known_hosts = "{known_hosts}", config = false }}
deploy.lock("site", host)

deploy.command "locks" {{
  default = true, reads = true, params = {{ count = {{ type = "integer" }} }},
  run = function(run)
    local place = lock.declared()[1]
    lock.keeper(host)
    local began = task.now()
    for _ = 1, run.count do
      local mine = lock.new(place, lock.claim({{}}, "benchmark"))
      mine:acquire(0)
      mine:release()
    end
    print(("took %f ms"):format(task.now() - began))
  end,
}}
"""
# As Kamal does it: a folder that is made or not, and who has it in a file.
TAKE = "mkdir .kamal/lock-shop && echo 'locked by somebody' | base64 >.kamal/lock-shop/details"
GIVE_BACK = "rm .kamal/lock-shop/details && rm -r .kamal/lock-shop"
COUNT = 50


def measure(rtts, pairs):
    print(f"\n== lock: taken and given back on an open connection, mean of {COUNT}")
    with Lab(hosts=1, engine=False) as lab:
        for rtt in rtts:
            with Connection(lab, rtt, RECIPE) as connection:
                connection.ssh("mkdir -p .kamal")

                def product():
                    said = connection.deployrun("--count", COUNT)
                    return float(re.search(r"took ([\d.]+) ms", said)[1]) / 1000

                def kamals():
                    for _ in range(COUNT):
                        connection.ssh(TAKE)
                        connection.ssh(GIVE_BACK)

                ours, theirs = [], []
                for _ in range(pairs):
                    ours.append(product() / COUNT)
                    theirs.append(timed(kamals)[0] / COUNT)
            print(f"-- round trip time {rtt} ms")
            print(f"{PRODUCT:24}{figures(ours)}\n{'mkdir, rm through ssh':24}{figures(theirs)}\n"
                  f"ratio {ratio(ours, theirs):.2f}")
