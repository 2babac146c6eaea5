"""large, small: one large file and many small ones to a server, beside scp, sftp, rsync and tar through ssh."""

import random
import shutil

from benchkit import PRODUCT, Route, environment, host_table, recipe, report, run, take_turns
from labkit import Lab
from labkit.paths import deployrun

SMALL_FILES = 2000


def _noise(path, size):
    with path.open("wb") as file:
        for seed in range(0, size, 1 << 20):
            file.write(random.Random(seed).randbytes(min(1 << 20, size - seed)))


def _product(lab, route, folder, call):
    address, port = route.address(0)
    head = f'local hosts = {{ {host_table("h1", address, port, lab.keys.client["ed25519"], route.known_hosts)} }}'
    path = recipe(folder, head, call)
    return lambda: run([deployrun(), path], cwd=folder, env=environment(lab))


def _run(lab, rtts, pairs, product_call, peers):
    lab.hosts[0].machine.run(["mkdir", "/srv"])
    for rtt in rtts:
        route = Route(lab, rtt)
        folder = lab.scratch()
        contestants = {PRODUCT: _product(lab, route, folder, product_call)}
        for name, argv in peers(route.config, folder, rtt).items():
            if shutil.which(name.split()[0]):
                contestants[name] = lambda a=argv: run(a, env=environment(lab))
        print(f"-- round trip time {rtt} ms")
        report(take_turns(contestants, pairs))
        route.close()


def measure_large(megabytes, rtts, pairs):
    print(f"\n== large: {megabytes} MiB up, compared by SHA-256 at the other end by {PRODUCT} alone")
    with Lab(hosts=1, engine=False) as lab:
        source = lab.scratch() / "large"
        _noise(source, megabytes << 20)

        def peers(config, folder, _):
            batch = folder / "batch"
            batch.write_text(f"put {source} /srv/sftp\n")
            return {"scp": ["scp", "-q", "-F", config, source, "h1:/srv/scp"],
                    "sftp": ["sftp", "-q", "-F", config, "-b", batch, "h1"],
                    "rsync -W": ["rsync", "-W", "--ignore-times", "-e", f"ssh -F {config}", source, "h1:/srv/rsync"],
                    "ssh cat": ["sh", "-c", f"ssh -F {config} h1 'cat >/srv/cat' <{source}"]}
        _run(lab, rtts, pairs, f'on:upload("{source}", "/srv/deployrun")', peers)


def measure_small(rtts, pairs):
    print(f"\n== small: {SMALL_FILES} files of 4 KiB in 40 folders up, into an empty place")
    with Lab(hosts=1, engine=False) as lab:
        source = lab.scratch() / "tree"
        for number in range(SMALL_FILES):
            path = source / f"d{number % 40}" / f"file{number}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(random.Random(number).randbytes(4096))

        def peers(config, _, rtt):
            fresh = "/srv/$(cat /proc/sys/kernel/random/uuid)"
            # File by file it takes minutes over any distance.
            slow = {} if rtt else {"scp -r": ["sh", "-c", f"scp -q -r -F {config} {source} h1:{fresh}"]}
            return {"rsync -a": ["sh", "-c", f"rsync -a -e 'ssh -F {config}' {source}/ h1:{fresh}"],
                    "tar | ssh tar": ["sh", "-c", f"d={fresh}; tar -cf - -C {source} . | "
                                                  f"ssh -F {config} h1 \"mkdir $d && tar -xf - -C $d\""], **slow}
        # A table's address is another one in each run.
        _run(lab, rtts, pairs, f'on:upload_folder("{source}", "/srv/" .. tostring({{}}):match("0x%x+"))', peers)
