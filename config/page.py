"""Settings of a run's page: config/page.yaml, typed and checked."""

from config.section import Section


class PageConfig(Section, frozen=True):
    """config/page.yaml"""

    port: int | None

    def __post_init__(self) -> None:
        self.require(self.port is None or 1 <= self.port <= 65535, "port", "in 1 .. 65535, or null")
