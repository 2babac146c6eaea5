"""recipes/kamal.lua on servers without Docker: it is installed, by who may do that; else it is said why not.

What get.docker.com gives is stood in for: nothing here looks outside. It uncovers the machine's own docker and makes a
mark, and the test starts the engine then, as the server's systemd would."""

import threading
from contextlib import contextmanager

from kamalkit import Project, running
from labkit import Lab, wait_until

MISSING = "#!/bin/sh\nexit 127\n"
SCRIPT = 'as=; [ "$(id -u)" = 0 ] || as=sudo\n$as rm /usr/local/bin/docker\n$as touch /run/installed\n'
FETCHES = f"""#!/bin/sh
[ "$#:$1:$2:$4" = "4:-fsSL:-o:https://get.docker.com" ] || exit 2
cat > "$3" <<'END'
{SCRIPT}END
"""
FAILS = "#!/bin/sh\necho 'Could not resolve host: get.docker.com' >&2\nexit 6\n"


def place(host, name, text):
    path = host.machine.root / "usr/local/bin" / name
    path.write_text(text)
    path.chmod(0o755)


def bare(host, curl=FETCHES):
    """Takes Docker away."""
    host.stop_engine()
    place(host, "docker", MISSING)
    place(host, "curl", curl)
    place(host, "wget", FAILS)


@contextmanager
def installed_meanwhile(hosts):
    """Starts each server's engine once the script has run there."""
    def start(host):
        wait_until(lambda: host.exists("/run/installed"), 60, "Docker's script")
        host.start_engine()
    threads = [threading.Thread(target=start, args=(host,)) for host in hosts]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for thread in threads:
            thread.join()


def test_docker_is_installed_where_it_is_missing():
    with Lab(hosts=2) as lab:
        first, second = lab.hosts
        project = Project(lab)
        hook = project.folder / ".kamal/hooks/docker-setup"
        hook.write_text('#!/bin/sh\necho "docker-setup $KAMAL_HOSTS" >> hooks.log\n')
        hook.chmod(0o755)
        bare(second)
        with installed_meanwhile([second]):  # a setup that fails later says what it does not take back
            failed = project.run("setup", "-P", "--version", "unhealthy")
        assert failed.code == 1 and f"{second.address}: what was installed stays (installed)" in failed.out, failed
        assert f"{first.address}: what" not in failed.out, failed
        bare(second)
        (second.machine.root / "run/installed").unlink()
        with installed_meanwhile([second]):
            result = project.good("setup", "-P", "--version", "v1")
        assert second.exists("/run/installed") and not first.exists("/run/installed"), result
        assert [running(host) for host in lab.hosts] == [["shop-web-v1"], ["shop-web-v1"]], result
        assert (project.folder / "hooks.log").read_text().startswith(f"docker-setup {first.address},{second.address}\n")

        # By sudo: who is no member of the engine's group becomes one, and logs in anew for that.
        bare(first)
        (first.machine.root / "run/installed").unlink(missing_ok=True)
        project.configure("user: root", "user: ops")
        with installed_meanwhile([first]):
            result = project.good("server", "bootstrap", "--version", "v1")
        assert "docker:x:998:deploy,ops" in first.read("/etc/group"), first.read("/etc/group")
        again = project.good("server", "bootstrap", "--version", "v1")
        assert not first.exists("/usr/local/bin/docker") and "installed" not in again.out, again
        project.good("app", "version")

        # Docker was there before, and who logs in is kept from it alone.
        group = first.machine.root / "etc/group"
        group.write_text(group.read_text().replace("deploy,ops", "deploy"))
        joined = project.good("server", "bootstrap", "--version", "v1")
        assert "ops joins the group docker" in joined.out and "deploy,ops" in first.read("/etc/group"), joined


def test_where_docker_cannot_be_installed_nothing_is_done():
    with Lab(hosts=1) as lab:
        host, project = lab.hosts[0], Project(lab)
        bare(host, curl=FAILS)
        failed = project.run("setup", "-P", "--version", "v1")
        said = failed.out + failed.err
        assert failed.code == 1 and "Docker could not be installed: Could not resolve host" in said, failed
        assert not host.exists("/root/.kamal"), failed
        project.configure("user: root", "user: deploy")
        refused = project.run("server", "bootstrap", "--version", "v1")
        said = refused.out + refused.err
        assert refused.code == 1 and "Docker is not installed, and deploy may not change that" in said and "NOPASSWD" in said, refused
        assert host.exists("/usr/local/bin/docker") and not host.exists("/run/installed"), refused
