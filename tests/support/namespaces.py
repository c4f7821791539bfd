"""Two network namespaces with one link between them: `here` and `there`, where the machine permits it."""

import os
import subprocess
import sys

HERE, THERE = "10.77.5.1", "10.77.5.2"
_INSIDE = "RESIDUAL_RL_TEST_NAMESPACE"


def refusal() -> str | None:
    """Why this machine does not let us make namespaces; None where it does."""
    script = "ip link add a0 type veth peer name a1 && unshare -n true"
    try:
        done = subprocess.run(["unshare", "-Urn", "sh", "-c", script], capture_output=True, text=True)
    except FileNotFoundError as error:
        return f"no {error.filename} here"
    return None if done.returncode == 0 else f"namespaces are not permitted: {done.stderr.strip()}"


def inside() -> bool:
    """Whether this process was started by `enter`."""
    return _INSIDE in os.environ


def enter(module: str, arguments: list[str]) -> subprocess.Popen[str]:
    """`python -m module arguments` in a network namespace of its own, where it may make a `Link`."""
    words = ["unshare", "-Urn", sys.executable, "-m", module, *arguments]
    environment = os.environ | {_INSIDE: "1"}
    return subprocess.Popen(
        words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


class Link:
    """A pair of virtual interfaces from this namespace (HERE) to a new one (THERE); a context manager."""

    def __enter__(self) -> "Link":
        _ip("link", "set", "lo", "up")
        self._holder = subprocess.Popen(["unshare", "-n", "sleep", "infinity"])
        _ip("link", "add", "here", "type", "veth", "peer", "name", "there")
        while os.readlink(f"/proc/{self._holder.pid}/ns/net") == os.readlink("/proc/self/ns/net"):
            assert self._holder.poll() is None
        _ip("link", "set", "there", "netns", str(self._holder.pid))
        _ip("addr", "add", f"{HERE}/24", "dev", "here")
        _ip("link", "set", "here", "up")
        for words in (
            ("addr", "add", f"{THERE}/24", "dev", "there"),
            ("link", "set", "there", "up"),
            ("link", "set", "lo", "up"),
        ):
            subprocess.run([*self.there, "ip", *words], check=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._holder.kill()
        self._holder.wait()

    @property
    def there(self) -> list[str]:
        """Words before a command that shall run in the other namespace."""
        return ["nsenter", "-t", str(self._holder.pid), "-n"]

    def cut(self) -> None:
        """Nothing passes any more."""
        _ip("link", "set", "here", "down")

    def mend(self) -> None:
        """All passes again."""
        _ip("link", "set", "here", "up")


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)
