"""A real browser without a window: Chromium over the pipe of its DevTools protocol, for what a person would see."""

import base64
import json
import os
import shutil
import subprocess
from pathlib import Path

from labkit.needs import Skip

PROGRAMS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")


class Browser:
    """One page. Use as a context manager; `folder` holds what the browser writes."""

    def __init__(self, folder):
        program = next(filter(None, map(shutil.which, PROGRAMS)), None)
        if not program:
            raise Skip("no Chromium: .ci/setup --lab installs it where the distribution has a package")
        self._number = 0
        self._buffer = b""
        to_read, self._to = os.pipe()
        self._from, to_write = os.pipe()

        def hand_over():  # the protocol's descriptors are 3 and 4
            spare = (os.dup(to_read), os.dup(to_write))
            os.dup2(spare[0], 3)
            os.dup2(spare[1], 4)

        argv = [program, "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", "--hide-scrollbars",
                "--disable-dev-shm-usage", "--no-first-run", f"--user-data-dir={folder}", "about:blank"]
        self._process = subprocess.Popen(argv, preexec_fn=hand_over, close_fds=False, stdin=subprocess.DEVNULL,
                                         stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, "HOME": str(folder)})
        os.close(to_read)
        os.close(to_write)

    def __enter__(self):
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.call("Page.enable")
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.wait(60)
        os.close(self._to)
        os.close(self._from)

    def _message(self):
        while b"\0" not in self._buffer:
            piece = os.read(self._from, 1 << 20)
            if not piece:
                raise RuntimeError("the browser ended")
            self._buffer += piece
        text, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(text)

    def call(self, method, **params):
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if hasattr(self, "_session") and not method.startswith("Target."):
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._message()
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer)
                return answer["result"]

    def open(self, path):
        self.call("Page.navigate", url=Path(path).resolve().as_uri())
        while self.run("document.readyState") != "complete" or self.run("location.protocol") != "file:":
            pass

    def look(self, width, height=900, dark=False):
        """The window's size and the system's colours from here on."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 700)
        self.call("Emulation.setEmulatedMedia", media="screen",
                  features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])

    def run(self, script):
        """The value of a JavaScript expression."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def text(self):
        """What can be read: hidden parts are not in it."""
        return self.run("document.body.innerText")

    def picture(self, path):
        """A PNG of the whole page."""
        data = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)["data"]
        Path(path).write_bytes(base64.b64decode(data))
