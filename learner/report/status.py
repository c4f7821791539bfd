"""status.json: who is connected and what the learner waits for, as of the newest point."""

import contextlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from learner.intake.status import PeerStatus
from learner.report.metrics import json_value


def write_status(
    run_dir: Path, now_unix: float, waiting_for: str, version: int, peers: Iterable[PeerStatus]
) -> None:
    """Replace `run_dir/status.json`. It is for people to look at: a disk that is full costs no training.

    Args:
        version: the newest published weights.
    """
    actors = sorted((peer for peer in peers if peer.role == "actor"), key=lambda peer: peer.actor_id)
    content = {
        "t_unix": now_unix,
        "waiting_for": waiting_for,
        "actors": [_actor(peer, version) for peer in actors],
    }
    fresh = run_dir / "status.json.new"
    with contextlib.suppress(OSError):
        # Not `replace_text`, which waits for the disk: nobody needs this file after a power failure.
        fresh.write_text(json.dumps(content, allow_nan=False) + "\n")
        fresh.rename(run_dir / "status.json")


def _actor(peer: PeerStatus, version: int) -> dict[str, Any]:
    """None is what the actor did not say, or has not been heard since this learner started. Its figures come
    from another host, so they may be anything."""
    said = {name: json_value(value) for name, value in peer.figures.items()}
    adopted = said.get("version")
    return {
        "name": peer.actor_id,
        "host": peer.address,
        "sub_envs": said.get("sub_envs"),
        "frames": said.get("frames"),
        "frames_per_s": said.get("frames_per_s"),
        "lag_versions": version - adopted if isinstance(adopted, int | float) else None,
        "last_heard_s": json_value(peer.last_seen_s),
        "alive": peer.alive,
    }
