"""A learner process for tests: the real intake, ring, batches, update and broadcast, watched.

Waits for the row whose first observation number is argv[1], follows it to the gradient, publishes the
updated residual, and writes what it saw as JSON to argv[2]. The rest of argv are Hydra overrides.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np

from actor.policy.spec import experience_spec
from learner.algorithms import losses
from learner.algorithms.residual_sac import ResidualSAC
from learner.broadcast import Broadcast
from learner.intake.intake import Intake
from learner.replay.memory.batches import Batches
from learner.replay.memory.ring import Ring
from learner.schedule.pace import Pace
from protocol.messages import Progress
from tests.support.fakes import CountingBase
from tests.support.helpers import make_config


def main(wanted: float, report: Path, overrides: list[str]) -> None:
    config, base = make_config(*overrides), CountingBase()
    algorithm = ResidualSAC(config.algo, base.observation_dim, base.action_dim, seed=0, device="cpu")
    ring = Ring(1000, base.observation_dim, config.algo.residual_every * base.action_dim)
    pace = Pace(config.algo, max_behind=10, total_frames=1000)
    intake = Intake(config.wire, experience_spec(config, base), queue_rows=1000)
    intake.start()
    broadcast = Broadcast(intake)
    broadcast.publish(algorithm.published(), pace.behaviour(), now_s=0.0)
    deadline = time.monotonic() + 60
    slots = np.array([], np.int64)
    while not (len(slots) and ring.rows.following[slots[0]] != ring.rows.unknown):
        assert time.monotonic() < deadline, "the row never arrived"
        for received in intake.drain(timeout_s=0.1):
            ring.add(received.actor_id, received.columns)
            pace.decisions += len(received.columns["frames"])
        slots = np.flatnonzero(ring.observation[:, 0].numpy() == wanted)
    seen = follow(int(slots[0]), ring, algorithm, Batches(config.algo, ring, None, seed=0, device="cpu"))
    broadcast.publish(algorithm.published(), pace.behaviour(), now_s=1.0)
    seen["head_weight"] = algorithm.actor.head.weight.detach().flatten().tolist()
    report.write_text(json.dumps(seen))
    # Stay until the actor has what it came for and leaves.
    while any(peer.alive for peer in intake.peers()) and time.monotonic() < deadline:
        intake.announce(Progress(decisions=0, updates=1, version=2, evaluate=False, finished=False))
        intake.drain(timeout_s=0.1)
    intake.close()


def follow(slot: int, ring: Ring, algorithm: ResidualSAC, batches: Batches) -> dict:
    """The row in the ring, in a batch, and what it does to the gradient."""
    wanted = ring.observation[slot, 0].item()
    for _ in range(200):
        batch = batches.next()
        rows = (batch["observation"][:, 0] == float(wanted)).nonzero()[:, 0]
        if len(rows):
            break
    row = int(rows[0])
    watched = batch["observation"].clone().requires_grad_()
    q = algorithm.critic(watched, algorithm._action_features(batch["base_plan"], batch["residual"]))
    losses.critic_loss(q, algorithm.bootstrap_target(batch)).backward()
    for _ in range(4):
        algorithm.update(batch)
    return {
        "observation": batch["observation"][row].tolist(),
        "next_observation": batch["next_observation"][row].tolist(),
        "residual": batch["residual"][row].tolist(),
        "base_plan": batch["base_plan"][row].tolist(),
        "reward": float(batch["reward"][row]),
        "gradient": float(watched.grad[row].abs().sum()),
    }


if __name__ == "__main__":
    main(float(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
