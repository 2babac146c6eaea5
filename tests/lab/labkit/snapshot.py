"""The state of a host as plain data, with everything left out that differs between two equal deploys."""

import io
import json
import re
import tarfile

BY_FILE = "{deployrun.upstream}"  # the upstream of a Caddy that deployrun set up
COLOUR = re.compile(r"\x1b\[[0-9;]*m")  # kamal-proxy writes them into pipes too


def _networks(inspected):
    return sorted(inspected["NetworkSettings"]["Networks"])


def _container(inspected):
    state = inspected["State"]
    return {
        "image": inspected["Config"]["Image"],
        "image_id": inspected["Image"],
        "state": state["Status"],
        "exit_code": state["ExitCode"] if state["Status"] == "exited" else None,
        "labels": inspected["Config"]["Labels"] or {},
        "env": sorted(inspected["Config"]["Env"] or []),
        "networks": _networks(inspected),
        "aliases": sorted({alias for network in inspected["NetworkSettings"]["Networks"].values()
                           for alias in network["Aliases"] or [] if not inspected["Id"].startswith(alias)}),
        "ports": inspected["HostConfig"]["PortBindings"] or {},
        "restart": inspected["HostConfig"]["RestartPolicy"]["Name"],
        "mounts": sorted(f"{m['Type']} {m.get('Name', '') if not _anonymous(m) else '(anonymous)'} {m['Destination']}"
                         for m in inspected["Mounts"]),
    }


def _anonymous(mount):
    return len(mount.get("Name", "")) == 64


def take(engine):
    inspected = engine.containers()
    names = {c["Id"]: c["Name"].lstrip("/") for c in inspected}
    return {
        "containers": {names[c["Id"]]: _container(c) for c in inspected},
        "images": sorted(tag for image in engine.get("/images/json") for tag in image["RepoTags"] or [] if
                         tag != "<none>:<none>"),
        "networks": sorted(n["Name"] for n in engine.get("/networks")),
        "volumes": sorted(v["Name"] for v in engine.get("/volumes")["Volumes"] or [] if len(v["Name"]) != 64),
        "proxy": routes(engine, inspected),
    }


def routes(engine, inspected=None):
    """What the running proxy sends where, by container name: {service: target} for kamal-proxy, a list for the others."""
    inspected = engine.containers() if inspected is None else inspected
    running = {c["Name"].lstrip("/") for c in inspected if c["State"]["Status"] == "running"}
    if "kamal-proxy" in running:
        return _kamal_routes(engine, inspected)
    if "caddy" in running:
        return _caddy_routes(engine, inspected)
    if "nginx" in running:
        return _nginx_routes(engine, inspected)
    if "haproxy" in running:
        return _haproxy_routes(engine, inspected)
    if "traefik" in running:
        return _traefik_routes(engine, inspected)
    return None


def _name_of(address, inspected):
    """The container behind `host:port`, where the host is an id, a name, an alias or an address."""
    host, _, port = address.rpartition(":")
    for container in inspected:
        name = container["Name"].lstrip("/")
        networks = container["NetworkSettings"]["Networks"].values()
        known = {name, container["Id"][:12], container["Id"]} | {n["IPAddress"] for n in networks}
        if host in known:
            return f"{name}:{port}"
    return address


def _kamal_routes(engine, inspected):
    code, out, err = engine.exec("kamal-proxy", ["kamal-proxy", "list"])
    if code != 0:
        raise RuntimeError(f"kamal-proxy list: exit {code}: {err}{out}")
    found = {}
    for line in COLOUR.sub("", out).splitlines()[1:]:
        fields = line.split()
        if fields:
            found[fields[0]] = {"host": fields[1], "path": fields[2], "target": _name_of(fields[3], inspected),
                                "state": fields[4]}
    return found


def _caddy_routes(engine, inspected):
    found = set()

    def walk(node):
        if isinstance(node, dict):
            dials = {u["dial"] for u in node.get("upstreams", []) if "dial" in u}
            if BY_FILE in dials:
                dials = dials - {BY_FILE} | set(_caddy_files(engine))
            found.update(_name_of(dial, inspected) for dial in dials)
        for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
            walk(child)
    walk(caddy_config(engine))
    return sorted(found)


def _files(engine, container, path):
    """The files of a container's folder: (path, text)."""
    status, data = engine.raw("GET", f"/containers/{container}/archive?path={path}")
    if status != 200:
        return []
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return [(member.name, tar.extractfile(member).read().decode()) for member in tar if member.isfile()]


def _caddy_files(engine):
    """What the files say that deployrun switches Caddy with (stdlib/proxy/caddy.lua): more than one while it drains."""
    paths = [path.split("/") for path, _ in _files(engine, "caddy", "/deployrun")]
    return [parts[-1] if parts[-2] == "serving" else "maintenance" for parts in paths
            if parts[-2] in ("serving", "maintenance")]


def _nginx_routes(engine, inspected):
    """The targets of the configuration's files, and `maintenance`."""
    found = set()
    for path, text in _files(engine, "nginx", "/deployrun/services"):
        if path.endswith(".conf"):
            target = re.search(r'set \$deployrun_target "(\w+)";\s+proxy_pass http://\$deployrun_target:(\d+)', text)
            found.add(_name_of(":".join(target.groups()), inspected) if target else "maintenance")
    return sorted(found)


def _haproxy_routes(engine, inspected):
    """The targets of what runs; a name and an address that are not of one container stand beside each other."""
    argv = ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/9180; echo 'show servers state' >&3\n"
            "while read -r line <&3; do echo \"$line\"; done"]
    code, out, err = engine.exec("haproxy", argv)
    if code != 0:
        raise RuntimeError(f"haproxy: exit {code}: {err}{out}")
    found = set()
    for line in out.splitlines():
        cells = line.split()
        if len(cells) > 18 and cells[0] != "#":
            by_name, by_address = (_name_of(f"{host}:{cells[18]}", inspected) for host in (cells[17], cells[4]))
            found.add(by_name if by_name == by_address else f"{by_name} {by_address}")
    return sorted(found)


def _traefik_routes(engine, inspected):
    """The targets of what runs, by Traefik's API; one without a server is down for maintenance."""
    code, out, err = engine.exec("traefik", ["wget", "-qO-", "http://127.0.0.1:8099/api/rawdata"])
    if code != 0:
        raise RuntimeError(f"traefik: exit {code}: {err}{out}")
    found = set()
    for name, service in json.loads(out).get("services", {}).items():
        if name.endswith("@file"):
            servers = service["loadBalancer"].get("servers") or []
            found.update(_name_of(server["url"].removeprefix("http://"), inspected) for server in servers)
            found.update([] if servers else ["maintenance"])
    return sorted(found)


def caddy_config(engine):
    """The running configuration: Caddy writes what it last loaded into its configuration volume."""
    status, data = engine.raw("GET", "/containers/caddy/archive?path=/config/caddy/autosave.json")
    if status != 200:
        return {}
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return json.load(tar.extractfile(tar.getmembers()[0]))
