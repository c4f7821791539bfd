"""Finds ports that nobody uses."""

import errno
import socket

from config.process import UsageError

# Runs on one host that each find a port near the one that they were given.
_NEIGHBOURS = 100


def listen_near(host: str, port: int) -> socket.socket:
    """A listening socket at `port`, or at the next one that is free.
    Raises UsageError: the host is not one of this machine, or all of these ports are taken."""
    for candidate in range(port, min(port + _NEIGHBOURS, 65536)):
        try:
            return socket.create_server((host, candidate))
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise UsageError(
                    f"{host}:{candidate} cannot be used: {error.strerror}: give another --host"
                ) from error
    raise UsageError(f"no free port on {host} from {port} on: give another --port")


def free_ports() -> tuple[int, int]:
    """Two loopback ports that nobody listens on now."""
    with socket.socket() as one, socket.socket() as two:
        one.bind(("127.0.0.1", 0))
        two.bind(("127.0.0.1", 0))
        return one.getsockname()[1], two.getsockname()[1]
