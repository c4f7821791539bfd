"""Stands between the learner and a store that knows no sessions; goes when the store knows them."""

from __future__ import annotations

from learner.replay.ledger import Committed
from learner.replay.lerobot_store import LeRobotStore
from protocol.messages import Columns


class SessionStore(LeRobotStore):
    """Takes sessions and does not use them: so it says of no episode that it is committed."""

    def add(self, actor_id: str, session: int, columns: Columns) -> None:  # type: ignore[override]
        """See `LeRobotStore.add`."""
        super().add(actor_id, columns)

    def committed(self) -> Committed:
        """(actor id, session, sub-environment) -> how many episodes from 0 are on disk."""
        return {}

    def end_session(self, actor_id: str, session: int) -> None:
        """The session will never send again."""
