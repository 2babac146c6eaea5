"""A running load generator and what it found."""

import json
import signal
import subprocess

from . import binaries


class Load:
    """Starts on construction and returns after the first good answer. `options` are those of lab_load, with
    underscores: `rate=200, uploads_every="5s"`."""

    def __init__(self, urls, record, **options):
        self.record = record
        argv = [str(binaries.load()), "--record", str(record)]
        for url in urls:
            argv += ["--url", url]
        for name, value in options.items():
            argv += ["--" + name.replace("_", "-"), str(value)]
        self._process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        first = self._process.stderr.readline()
        if first != "started\n":
            out, err = self._process.communicate()
            raise RuntimeError(f"no request succeeded: {first}{err}{out}")

    def wait(self, timeout=300):
        """Waits for the end of its duration; returns the summary."""
        out, err = self._process.communicate(timeout=timeout)
        if not out:
            raise RuntimeError(f"lab_load: exit {self._process.returncode}: {err}")
        return json.loads(out)

    def stop(self):
        """No more requests; waits for those in flight; returns the summary."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        return self.wait()

    def records(self):
        """Every request, as it ended; complete after stop() or wait()."""
        with open(self.record, encoding="utf-8") as file:
            return [json.loads(line) for line in file]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._process.stdout.close()
        self._process.stderr.close()
