"""Batches with pictures from the ring, and updates of a residual that sees them."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from actor.policy.pictures import PictureEncoder, channels_of
from benchmarks.pictures_film import CAMERAS, Film, seen_messages
from benchmarks.replay import A, K, O
from benchmarks.turns import beside, in_turns, repeated
from config.algo import AlgoConfig
from config.compose import compose_recipe
from config.pictures import PicturesConfig
from learner.algorithms.products import use_fast_products
from learner.algorithms.residual_sac import ResidualSAC
from learner.replay.memory.batches import Batches
from learner.replay.memory.draw import draw_linked
from learner.replay.memory.ring import Ring

# Batches of a side in its turn, and turns in a round: short ones, so that all sides meet the same neighbours.
BATCHES, BATCH_TURNS = 8, 3
# As many updates that see no pictures stand for one that does.
PLAIN_UPDATES = 10


def words_of(size: int) -> list[str]:
    """Of a run with these cameras and no prior data, which has no pictures."""
    return [
        f"task.cameras=[{','.join(CAMERAS)}]", f"task.camera_size=[{size},{size}]", "learner.demos=null",
        "algo.prior_fraction=0",
    ]  # fmt: skip


def measure(rounds: int, rows: int, batch: int, updates: int, size: int) -> dict[str, dict[str, float]]:
    """Figures of "ring" and of "updates".

    Args:
        rows: of the ring, and of LeRobot's buffer.
        updates: that see pictures, in a turn.
    """
    film = Film(size)
    ring = full_ring(rows, film)
    words = [*words_of(size), f"algo.batch_size={batch}"]
    seeing = compose_recipe([*words, "algo.sees=[proprioception,pictures]"])
    assert seeing.looks_at is not None
    return {
        "ring": measure_ring(ring, film, seeing.looks_at, rounds, batch),
        "updates": measure_updates(ring, seeing, compose_recipe(words), rounds, updates),
    }


def full_ring(rows: int, film: Film) -> Ring:
    """A ring of `rows` rows that has wrapped around."""
    ring = Ring(rows, O, K * A, cameras=film.cameras)
    for columns in seen_messages(2 * rows * K, film):
        ring.add("actor", columns)
        if ring.rows.position > 1.05 * rows:
            break
    return ring


def measure_ring(
    ring: Ring, film: Film, looks_at: PicturesConfig, rounds: int, batch: int
) -> dict[str, float]:
    """Batches of transitions with pictures of both ends."""
    rng = np.random.default_rng(0)

    def draw() -> Any:
        return ring.sample_with_places(batch, rng, n_step=1, gamma=0.97, reward_offset=0.0, looks_at=looks_at)

    def draw_floats() -> Any:
        drawn = draw()
        assert drawn.pictures is not None and drawn.next_pictures is not None
        return drawn.pictures.float(), drawn.next_pictures.float()

    def select() -> Any:
        start = draw_linked(ring.rows, batch, rng)
        return ring.images.at(start), ring.images.at(ring.rows.following[start])

    buffer = lerobot_buffer(ring.capacity, film)
    works: dict[str, Callable[[], Any]] = {
        "ours": draw, "ours_as_float32": draw_floats, "peer": lambda: buffer.sample(batch), "ceiling": select,
    }  # fmt: skip
    sides = {name: lambda work=work: repeated(BATCHES, work) for name, work in works.items()}
    return beside(in_turns(sides, BATCH_TURNS * rounds), "batch", "batches") | {
        "ours_mb": round(ring.nbytes / 1e6),
        "peer_mb": round(sum(each.nbytes for each in buffer.states.values()) / 1e6),
    }


def lerobot_buffer(rows: int, film: Film) -> Any:
    """lerobot.rl's ReplayBuffer as its learner makes it, but without shifts, which ours leaves to updates."""
    from lerobot.rl.buffer import ReplayBuffer

    keys = {camera: f"observation.images.{camera}" for camera in film.cameras}
    buffer = ReplayBuffer(
        rows, "cpu", ["observation.state", *keys.values()], use_drq=False, storage_device="cpu",
        optimize_memory=True,
    )  # fmt: skip
    action = torch.ones(1, 2 * K * A)
    for number in range(rows):
        state = {"observation.state": torch.ones(1, O)}
        for camera, picture in film.at(0, number).items():
            state[keys[camera]] = torch.from_numpy(picture).movedim(-1, 0)[None] / 255
        buffer.add(state, action, 0.0, state, False, False)
    return buffer


def measure_updates(
    ring: Ring, seeing: AlgoConfig, plain: AlgoConfig, rounds: int, updates: int
) -> dict[str, float]:
    """Updates that see pictures, beside those of the same recipe that see the state alone."""
    use_fast_products()
    works = {
        "ours": (updates, make_update(seeing, ring)),
        "state": (PLAIN_UPDATES * updates, make_update(plain, ring)),
        "ceiling": (updates, bare_passes(seeing)),
    }
    sides = {
        name: lambda count=count, work=work: repeated(count, work) for name, (count, work) in works.items()
    }
    costs = in_turns(sides, rounds)
    return beside(costs, "update", "updates") | {
        "ratio_to_state": round(costs["ours"].per_s / costs["state"].per_s, 5),
        "ratio_to_state_cpu": round(costs["state"].cpu_ms / costs["ours"].cpu_ms, 5),
    }


def make_update(algo: AlgoConfig, ring: Ring) -> Callable[[], Any]:
    """A draw and an update, as the learner calls them."""
    algorithm = ResidualSAC(algo, O, A, seed=0, device="cpu")
    algorithm.updates = algo.critic_warmup_updates
    batches = Batches(algo, ring, None, seed=0, device="cpu")
    return lambda: algorithm.update(batches.next())


def bare_passes(algo: AlgoConfig) -> Callable[[], None]:
    """The passes of one update through the encoder: forward at both ends, and back at one of them. Channels
    last, as a shift leaves the pictures: oneDNN convolves them faster so."""
    settings = algo.pictures
    encoder = PictureEncoder(settings)
    width, height = settings.size
    shape = (algo.batch_size, height, width, channels_of(settings))
    pictures = torch.randint(0, 256, shape, dtype=torch.uint8).movedim(-1, 1)

    def run() -> None:
        with torch.no_grad():
            encoder(pictures)
        encoder.zero_grad()
        encoder(pictures).sum().backward()

    return run
