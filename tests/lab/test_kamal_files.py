"""What lies beside the containers on a Kamal server: assets of two versions, error pages, certificates of one's own."""

import subprocess

from kamalkit import Project, containers, push, running
from labkit import Lab

APPS = "/root/.kamal/apps/shop/assets"
CONFIG = "/root/.kamal/proxy/apps-config/shop"


def _files(host, folder):
    return sorted(path.name for path in (host.machine.root / folder.lstrip("/")).iterdir())


def _assets(host, version):
    code, out, err = host.engine.exec(f"shop-web-{version}", ["/bin/busybox", "ls", "/public/assets"])
    assert code == 0, err
    return out.split()


def test_assets_of_both_versions_are_served():
    with Lab(hosts=1) as lab:
        host, project = lab.hosts[0], Project(lab)
        push(lab, "t1", "t2", "t3", tools=True, assets="public/assets")
        project.configure("service: shop\n", "service: shop\nasset_path: /public/assets\n")
        project.good("setup", "-P", "--version", "t1")
        assert _files(host, f"{APPS}/volumes") == ["web-t1"] and _assets(host, "t1") == ["t1.css"]
        project.good("deploy", "-P", "--version", "t2")
        # The newest has the older one's; what is nobody's any more is gone.
        assert _assets(host, "t2") == ["t1.css", "t2.css"]
        assert _files(host, f"{APPS}/volumes") == ["web-t2"] and _files(host, f"{APPS}/extracted") == ["web-t2"]
        assert host.read(f"{APPS}/extracted/web-t2/t2.css") == "/* t2 */"
        # A kept container is started again with what belongs to it.
        project.good("rollback", "t1")
        assert _assets(host, "t1") == ["t1.css", "t2.css"] and _files(host, f"{APPS}/volumes") == ["web-t1"]
        # One that does not become healthy leaves nothing, and takes nothing away.
        push(lab, "sick", assets="public/assets")
        project.configure("path: /up", "path: /nowhere")
        bad = project.run("deploy", "-P", "--version", "t3")
        assert bad.code == 1 and running(host) == ["shop-web-t1"], bad
        assert _files(host, f"{APPS}/volumes") == ["web-t1"] and _files(host, f"{APPS}/extracted") == ["web-t1"], bad
        assert "shop-web-assets" not in containers(host)


def _certificate(folder):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                    "-keyout", folder / "key.pem", "-out", folder / "cert.pem", "-days", "2", "-subj", "/CN=shop.test",
                    "-addext", "subjectAltName=DNS:shop.test"], check=True, capture_output=True)


def test_error_pages_and_certificates_reach_the_proxy():
    with Lab(hosts=1) as lab:
        host, project = lab.hosts[0], Project(lab)
        _certificate(project.folder)
        with (project.folder / ".kamal/secrets").open("a") as secrets:
            secrets.write('CERT="$(cat cert.pem)"\nKEY="$(cat key.pem)"\n')
        (project.folder / "public").mkdir()
        for name in ("503.html", "404.html", "index.html"):
            (project.folder / "public" / name).write_text(f"our own {name}")
        project.configure("service: shop\n", "service: shop\nerror_pages_path: public\n")
        project.configure("proxy:\n  healthcheck:", "proxy:\n  host: shop.test\n  ssl: { certificate_pem: CERT, "
                          "private_key_pem: KEY }\n  healthcheck:")
        project.good("setup", "-P", "--version", "v1")
        assert _files(host, f"{CONFIG}/error_pages/v1") == ["404.html", "503.html"]
        assert (host.read(f"{CONFIG}/tls/web/cert.pem").strip() == (project.folder / "cert.pem").read_text().strip())
        # The proxy's user reads them, and nobody else who is on the server.
        assert (host.machine.root / "root/.kamal/proxy").stat().st_mode & 0o077 == 0
        (host.machine.root / "tmp/cert.pem").write_text((project.folder / "cert.pem").read_text())
        get = ["curl", "-sS", "--cacert", "/tmp/cert.pem", "--resolve", f"shop.test:443:{host.address}",
               "https://shop.test/version"]
        assert host.machine.run(get).stdout == "v1\n"
        project.good("deploy", "-P", "--version", "v2")
        assert _files(host, f"{CONFIG}/error_pages") == ["v2"] and host.machine.run(get).stdout == "v2\n"
        project.good("app", "maintenance")
        assert host.machine.run(get).stdout == "our own 503.html"
        project.good("app", "live")
        project.good("rollback", "v1")
        assert host.machine.run(get).stdout == "v1\n" and _files(host, f"{CONFIG}/error_pages") == ["v1"]
        said = project.good("deploy", "-P", "--version", "v2", "-v")
        assert "PRIVATE KEY" not in said.out + said.err
