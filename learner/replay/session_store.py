"""Stands between the learner and a store that knows no sessions; goes when the store knows them."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

from learner.replay.ledger import Committed
from learner.replay.lerobot_store import LeRobotStore
from protocol.messages import Columns

log = logging.getLogger(__name__)


class SessionStore(LeRobotStore):
    """Takes sessions and does not use them: so it says of no episode that it is committed, the journal
    keeps every row, and a run that is taken up writes its replay anew from there."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        if folder.exists() and (folder.parent / "journal").exists():
            log.info("%s is written anew from the journal", folder)
            shutil.rmtree(folder)
        super().__init__(folder, **settings)

    def add(self, actor_id: str, session: int, columns: Columns) -> None:  # type: ignore[override]
        """See `LeRobotStore.add`."""
        super().add(actor_id, columns)

    def committed(self) -> Committed:
        """(actor id, session, sub-environment) -> how many episodes from 0 are on disk."""
        return {}

    def end_session(self, actor_id: str, session: int) -> None:
        """The session will never send again."""
