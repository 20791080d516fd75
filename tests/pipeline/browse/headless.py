"""A headless Chromium that a test drives by its own protocol over a pipe: load a page, look into it, click, resize."""

import contextlib
import fcntl
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class Tab:
    """One page. Scripts of `evaluate` come from the test: what the page forbids does not bind them."""

    def __init__(self, requests: Any, answers: Any) -> None:
        self._requests, self._answers, self._number, self._session = requests, answers, 0, ""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.call("Page.enable")
        #: Addresses that the page tried to load.
        self.requested: list[str] = []
        self.call("Network.enable")

    def call(self, method: str, **params: Any) -> Any:
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        message |= {"sessionId": self._session} if self._session else {}
        self._requests.write(json.dumps(message).encode() + b"\0")
        self._requests.flush()
        return self._until(lambda answer: answer.get("id") == self._number)["result"]

    def _until(self, wanted: Any) -> Any:
        while True:
            read = bytearray()
            while (byte := self._answers.read(1)) != b"\0":
                assert byte, "the browser ended"
                read += byte
            answer = json.loads(read)
            assert "error" not in answer, answer
            if answer.get("method") == "Network.requestWillBeSent":
                self.requested.append(answer["params"]["request"]["url"])
            if wanted(answer):
                return answer

    def open(self, url: str) -> None:
        self.requested.clear()
        self.call("Page.navigate", url=url)
        self._loaded()

    def _loaded(self) -> None:
        self._until(lambda answer: answer.get("method") == "Page.loadEventFired")

    def width(self, pixels: int) -> None:
        self.call("Emulation.setDeviceMetricsOverride", width=pixels, height=900, deviceScaleFactor=1, mobile=True)

    def evaluate(self, expression: str) -> Any:
        return self.call("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def click(self, selector: str) -> None:
        """Click what leads to another page, and wait for it."""
        self.evaluate(f"document.querySelector({json.dumps(selector)}).click()")
        self._loaded()


@contextlib.contextmanager
def tab(profile: Path) -> Iterator[Tab]:
    ours_in, theirs_out = os.pipe()
    theirs_in, ours_out = os.pipe()
    # Chromium reads from 3 and writes to 4: what we hand over must not lie there.
    theirs = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (theirs_in, theirs_out)]
    command = f"exec chromium --headless --no-sandbox --disable-gpu --remote-debugging-pipe --user-data-dir='{profile}'"
    process = subprocess.Popen(
        ["bash", "-c", f"{command} 3<&{theirs[0]} 4>&{theirs[1]}"], pass_fds=theirs,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    for end in (*theirs, theirs_in, theirs_out):
        os.close(end)
    try:
        with os.fdopen(ours_out, "wb") as requests, os.fdopen(ours_in, "rb") as answers:
            yield Tab(requests, answers)
    finally:
        process.kill()
        process.wait()
