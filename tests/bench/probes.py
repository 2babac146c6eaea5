"""probes: 1,000 health checks at once, beside curl -Z. Both whole processes, against one caddy on this machine."""

import socket
import subprocess

from benchkit import PRODUCT, environment, peak_memory, report, run, take_turns
from labkit import Lab, Skip
from labkit.needs import find
from labkit.paths import deployrun
from labkit.wait import wait_until

COUNT = 1000
RECIPE = """\
local deploy = require "deploy"
local http = require "native.http"
local task = require "native.task"

deploy.command "probes" {{
  default = true, reads = true,
  run = function()
    local tasks = {{}}
    for n = 1, {count} do
      tasks[n] = task.spawn(function() return http.probe("http://127.0.0.1:{port}/" .. n, 200) end)
    end
    for _, one in ipairs(tasks) do task.join(one) end
  end,
}}
"""


def _answers(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def measure(pairs):
    print(f"\n== probes: {COUNT} at once")
    caddy = find("caddy")
    if caddy is None:
        raise Skip("no caddy to answer")
    with Lab(hosts=1, engine=False) as lab, socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        port = chosen.getsockname()[1]
        chosen.close()
        folder = lab.scratch()
        (folder / "probes.lua").write_text(RECIPE.format(count=COUNT, port=port))
        server = subprocess.Popen([caddy, "respond", "--listen", f"127.0.0.1:{port}", "--body", "ok"], env=environment(lab),
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_until(lambda: _answers(port), 10, "caddy")
            argv = [deployrun(), "probes.lua"]
            report(take_turns({
                PRODUCT: lambda: run(argv, cwd=folder, env=environment(lab)),
                "curl -Z, 300 at once": lambda: run(["curl", "-s", "-o", "/dev/null", "-Z", "--parallel-max", 300,
                                                     f"http://127.0.0.1:{port}/[1-{COUNT}]"])}, pairs))
            print(f"peak memory of {PRODUCT}: {peak_memory(argv, cwd=folder, env=environment(lab)):.0f} MiB")
        finally:
            server.terminate()
            server.wait()
