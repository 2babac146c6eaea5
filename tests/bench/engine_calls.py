"""engine: one call of the Engine API (list of containers) over SSH, beside the local socket and the docker command."""

import shutil

from benchkit import Route, environment, figures, host_table, recipe, run, timed
from labkit import Lab
from labkit.paths import deployrun

CALLS = 300
FEW = 5


def measure(rtts, pairs):
    print(f"\n== engine: the list of containers, per call of {CALLS} (of {FEW} for commands)")
    with Lab(hosts=1) as lab:
        here = environment(lab)
        host = lab.hosts[0]
        body = "for _ = 1, run.count do on.docker:list() end"
        socket = f"unix:///proc/{host.machine.pid}/root/var/run/docker.sock"
        for rtt in rtts:
            route = Route(lab, rtt)
            address, port = route.address(0)
            folder, local_folder = lab.scratch(), lab.scratch()
            table = host_table("h1", address, port, lab.keys.client["ed25519"], route.known_hosts)
            over = recipe(folder, f"local hosts = {{ {table} }}", body)
            local = recipe(local_folder, "local hosts = { deploy.localhost }", body)
            control = ["ssh", "-F", route.config, "-o", f"ControlPath={folder}/control"]
            run([*control, "-o", "ControlMaster=yes", "-fN", "h1"], env=here)

            def per_call(path, cwd, env):
                one = timed(lambda: run([deployrun(), path, "--count", 1], cwd=cwd, env=env))[0]
                many = timed(lambda: run([deployrun(), path, "--count", CALLS + 1], cwd=cwd, env=env))[0]
                return (many - one) / CALLS

            def few(argv, env):
                return timed(lambda: [run(argv, env=env) for _ in range(FEW)])[0] / FEW

            contestants = {
                "deployrun over SSH": lambda: per_call(over, folder, here),
                "deployrun, local socket": lambda: per_call(local, local_folder, {**here, "DOCKER_HOST": socket}),
                "ssh docker ps (master)": lambda: few([*control, "h1", "docker", "ps", "-q"], here)}
            if shutil.which("docker"):
                # The docker command takes ssh's options from the user's own configuration alone.
                home = lab.scratch()
                (home / "bin").mkdir()
                wrapper = home / "bin/ssh"
                wrapper.write_text(f'#!/bin/sh\nexec /usr/bin/ssh -F {route.config} "$@"\n')
                wrapper.chmod(0o755)
                env = {**here, "PATH": f"{home}/bin:{here['PATH']}"}
                contestants["docker -H ssh://"] = lambda: few(["docker", "-H", "ssh://h1", "ps", "-q"], env)
            found = {name: [] for name in contestants}
            for _ in range(pairs):
                for name, fn in contestants.items():
                    found[name].append(fn())
            run([*control, "-O", "exit", "h1"], env=here)
            route.close()
            print(f"-- round trip time {rtt} ms")
            for name, seconds in found.items():
                print(f"{name:26}{figures(seconds)}")
            over_ssh, at_home = (sorted(found[name])[pairs // 2] for name in list(found)[:2])
            print(f"over SSH a call takes {1000 * (over_ssh - at_home):.2f} ms more")
