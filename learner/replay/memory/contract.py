"""What keeps received rows in memory for the batches of an algorithm."""

from pathlib import Path
from typing import Protocol

from protocol.arrays import Columns


class Memory(Protocol):
    """Filled from the dataset of an earlier process, then with each message in the order of arrival."""

    def restore(self, folder: Path) -> None:
        """Read what the dataset in `folder` has; once, before the first `add`."""
        ...

    def add(self, actor_id: str, session: int, columns: Columns, position: int) -> None:
        """Keep the rows of one message; `position` is that of its first row in the stream of rows. After a
        restart, rows that `restore` has read may come once more: they are kept once."""
        ...

    def end_session(self, actor_id: str, session: int) -> None:
        """The session will never send again."""
        ...


class NoMemory:
    """Of algorithms that read no rows."""

    def restore(self, folder: Path) -> None: ...

    def add(self, actor_id: str, session: int, columns: Columns, position: int) -> None: ...

    def end_session(self, actor_id: str, session: int) -> None: ...
