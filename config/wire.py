"""Settings of the wire: config/wire.yaml, typed and checked."""

import ipaddress
import re

from config.section import Section

_NAME = re.compile(r"[A-Za-z0-9._-]+|\*")


class WireConfig(Section, frozen=True):
    """config/wire.yaml"""

    host: str
    experience_port: int
    weights_port: int
    insecure: bool
    keys_dir: str | None
    credit_rows: int
    heartbeat_s: float
    lease_s: float
    connect_timeout_s: float
    max_header_bytes: int
    max_arrays: int
    max_rank: int
    max_message_bytes: int

    @property
    def address(self) -> str:
        """HOST:PORT of experience, as people write it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.experience_port}"

    def __post_init__(self) -> None:
        self.require(_is_host(self.host), "host", "a name, or an address without tcp://, brackets and port")
        self.filled("host", "keys_dir")
        for key in ("experience_port", "weights_port"):
            self.require(1 <= getattr(self, key) <= 65535, key, "in 1 .. 65535")
        self.require(self.experience_port != self.weights_port, "weights_port", "another port")
        self.at_least(1, "credit_rows", "max_header_bytes", "max_arrays", "max_rank", "max_message_bytes")
        self.positive("heartbeat_s", "lease_s", "connect_timeout_s")
        self.require(self.lease_s > 2 * self.heartbeat_s, "lease_s", "over twice heartbeat_s")


def _is_host(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return _NAME.fullmatch(text) is not None
    return True
