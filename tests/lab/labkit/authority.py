"""Certificates for tests, made by openssl: authorities, and what they sign, good and bad."""

import subprocess


def _openssl(*words, cwd):
    done = subprocess.run(["openssl", *map(str, words)], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (words, done.stderr)


class Authority:
    """What signs with the certificate `name` in `folder`, whether or not that may."""

    def __init__(self, folder, name):
        self.folder, self.name = folder, name

    @staticmethod
    def new(folder, name):
        _openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", 30, "-subj",
                 f"/CN=test {name}", "-keyout", f"{name}.key", "-out", f"{name}.pem", cwd=folder)
        return Authority(folder, name)

    def issue(self, name, alt="DNS:localhost", days=30, extra=""):
        """Key and certificate for `alt`; negative days: it has ended."""
        _openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=localhost",
                 "-keyout", f"{name}.key", "-out", f"{name}.csr", cwd=self.folder)
        (self.folder / f"{name}.ext").write_text(f"subjectAltName={alt}\n{extra}\n")
        _openssl("x509", "-req", "-in", f"{name}.csr", "-CA", f"{self.name}.pem", "-CAkey", f"{self.name}.key",
                 "-CAcreateserial", "-days", days, "-extfile", f"{name}.ext", "-out", f"{name}.pem", cwd=self.folder)
        return self.folder / f"{name}.pem", self.folder / f"{name}.key"
