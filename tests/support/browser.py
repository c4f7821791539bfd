"""A headless Chromium, driven by the DevTools protocol over a pipe."""

import base64
import itertools
import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

TIMEOUT_S = 60.0
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
    "--no-first-run", "--disable-background-networking", "--remote-debugging-pipe",
)  # fmt: skip


class Browser:
    """One browser with one tab. A context manager; skips the test where there is no Chromium."""

    def __init__(self) -> None:
        program = shutil.which("chromium")
        if program is None:
            pytest.skip("no Chromium here: apt-get install chromium")
        self._numbers = itertools.count(1)
        self._unread = b""
        self.events: list[dict[str, Any]] = []
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        # Chromium reads commands from descriptor 3 and answers on 4.
        script = f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}'
        self._process = subprocess.Popen(
            ["bash", "-c", script, "-", program, *FLAGS, f"--user-data-dir={self._profile.name}"],
            pass_fds=(theirs_in, theirs_out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(theirs_in)
        os.close(theirs_out)
        self._session: str | None = None
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Runtime", "Log", "Page", "Network"):
            self._call(f"{domain}.enable")
        self._call("Page.setLifecycleEventsEnabled", enabled=True)
        self.resize(1280, 900)

    def __enter__(self) -> "Browser":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._in)
        os.close(self._out)
        self._profile.cleanup()

    def open(self, url: str) -> None:
        """Load a page and run its scripts."""
        self.events.clear()
        answer = self._call("Page.navigate", url=url)
        assert "errorText" not in answer, answer
        loaded = {"name": "load", "loaderId": answer["loaderId"]}
        while not any(loaded.items() <= event["params"].items() for event in self.events):
            self._read()

    def ask(self, expression: str) -> Any:
        """The value of a JavaScript expression."""
        said = self._call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in said, said["exceptionDetails"]
        return said["result"].get("value")

    def wait_until(self, expression: str, timeout_s: float = TIMEOUT_S) -> float:
        """Wait until an expression is true; returns how many seconds that took."""
        begin_s = time.monotonic()
        while not self.ask(expression):
            assert time.monotonic() - begin_s < timeout_s, f"never true: {expression}"
            time.sleep(0.05)
        return time.monotonic() - begin_s

    def complaints(self) -> list[str]:
        """Errors and warnings on the console, and exceptions, since the page was opened."""
        self.ask("1")  # what happened before this is read
        found = []
        for event in self.events:
            match event["method"], event["params"]:
                case "Runtime.exceptionThrown", {"exceptionDetails": details}:
                    found.append(str(details))
                case "Runtime.consoleAPICalled", {"type": "error" | "warning", "args": args}:
                    found.append(str(args))
                case "Log.entryAdded", {"entry": {"level": "error" | "warning"} as entry}:
                    found.append(f"{entry['text']} {entry.get('url', '')}")
        return found

    def resize(self, width: int, height: int) -> None:
        self._call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def processor_s(self) -> float:
        """Processor time of all its processes so far."""
        browser = psutil.Process(self._process.pid)
        used = [process.cpu_times() for process in (browser, *browser.children(recursive=True))]
        return sum(times.user + times.system for times in used)

    def picture(self, path: Path) -> None:
        """What is seen, as PNG."""
        path.write_bytes(base64.b64decode(self._call("Page.captureScreenshot")["data"]))

    def _call(self, method: str, **params: Any) -> Any:
        number = next(self._numbers)
        message: dict[str, Any] = {"id": number, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while (answer := self._read()).get("id") != number:
            pass
        assert "error" not in answer, answer["error"]
        return answer["result"]

    def _read(self) -> dict[str, Any]:
        """The next message; events are kept."""
        while b"\0" not in self._unread:
            chunk = os.read(self._in, 1 << 16)
            assert chunk, "Chromium has ended"
            self._unread += chunk
        line, _, self._unread = self._unread.partition(b"\0")
        message = json.loads(line)
        if "method" in message:
            self.events.append(message)
        return message
