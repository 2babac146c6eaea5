"""A real S3 server (versitygw on a folder), which checks signatures; and a way to it that breaks in the middle."""

import os
import socket
import subprocess
import threading
from pathlib import Path

from .binaries import versitygw
from .wait import START, wait_until

ACCESS, SECRET = "lab-access-key", "lab-secret-key-0123456789"


class S3:
    """`endpoint`, and the bucket `backups`. Listens on `address`: an address of this machine; `certificate`: the files of
    a certificate and its key, for TLS."""

    def __init__(self, folder, address="127.0.0.1", certificate=None):
        self.folder = Path(folder)
        (self.folder / "objects" / "backups").mkdir(parents=True)
        (self.folder / "meta").mkdir()
        with socket.socket() as probe:
            probe.bind((address, 0))
            self.place = (address, probe.getsockname()[1])
        self.endpoint = "{}://{}:{}".format("https" if certificate else "http", *self.place)
        secure = ["--cert", str(certificate[0]), "--key", str(certificate[1])] if certificate else []
        self._log = open(self.folder / "log", "wb")
        self._process = subprocess.Popen(
            [str(versitygw()), "--quiet", "--port", "{}:{}".format(*self.place), *secure, "posix", "--sidecar",
             str(self.folder / "meta"), str(self.folder / "objects")],
            env={**os.environ, "ROOT_ACCESS_KEY": ACCESS, "ROOT_SECRET_KEY": SECRET},
            stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log)

    def _answers(self):
        try:
            socket.create_connection(self.place, timeout=1).close()
            return True
        except OSError:
            return False

    def __enter__(self):
        wait_until(self._answers, START, "the S3 server")
        return self

    def __exit__(self, *_):
        self._process.kill()  # in good order it waits for its connections
        self._process.wait(60)
        self._log.close()

    def objects(self):
        """Keys of what is there whole."""
        root = self.folder / "objects" / "backups"
        return sorted(str(path.relative_to(root)) for path in root.rglob("*")
                      if path.is_file() and not path.relative_to(root).parts[0].startswith("."))

    def uploads(self):
        """Parts of what is not."""
        root = self.folder / "objects" / "backups" / ".sgwtmp" / "multipart"
        return sorted(path.name for path in root.rglob("*") if path.is_file())


class Way:
    """Passes connections on to `place`. The first one that has carried `stop_after` bytes there stands still (`reached`
    is set), or breaks with `breaks`."""

    def __init__(self, place, stop_after, breaks=False):
        self._to, self._left, self._breaks = place, stop_after, breaks
        self._armed = True
        self.reached = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = "http://127.0.0.1:{}".format(self._listener.getsockname()[1])
        self._sockets = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                near, _ = self._listener.accept()
                far = socket.create_connection(self._to)
            except OSError:
                return
            self._sockets += [near, far]
            threading.Thread(target=self._pass, args=(near, far, True), daemon=True).start()
            threading.Thread(target=self._pass, args=(far, near, False), daemon=True).start()

    def _pass(self, source, sink, counted):
        try:
            while data := source.recv(65536):
                if counted and self._armed:
                    self._left -= len(data)
                    if self._left <= 0:
                        self._armed = False
                        self.reached.set()
                        if not self._breaks:
                            return  # as a line that is dead: nobody hears anything any more
                        break
                sink.sendall(data)
        except OSError:
            pass
        for one in (source, sink):
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._listener.close()
        for one in self._sockets:
            one.close()
