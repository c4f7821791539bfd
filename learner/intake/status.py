"""What people see of the actors and evaluators."""

import msgspec

from protocol.session.learner import PeerTable


class PeerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One actor or evaluator."""

    actor_id: str
    role: str
    session: int
    alive: bool
    address: str
    rows: int
    """Accepted from this process since it, or the learner, started."""
    queued_rows: int
    last_seen_s: float
    """Seconds since its last message."""
    figures: dict[str, float]


def peer_statuses(peers: PeerTable, now_s: float) -> list[PeerStatus]:
    """Everybody known, in the order in which they came."""
    return [
        PeerStatus(
            actor_id=peer.actor_id,
            role=peer.role,
            session=peer.session,
            alive=peers.alive(peer, now_s),
            address=peer.address,
            rows=peer.rows,
            queued_rows=peer.queued_rows,
            last_seen_s=now_s - peer.last_seen_s,
            figures=peer.figures,
        )
        for peer in peers
    ]
