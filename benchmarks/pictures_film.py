"""Pictures for benchmarks, and messages that have them."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.replay import EPISODE, K, messages
from protocol.arrays import Columns
from protocol.experience import FINAL_IMAGE_PREFIX, IMAGE_PREFIX

CAMERAS = ("front", "wrist")
SUB_ENVS = 16
# Of a camera before they repeat, and how much later each episode begins than the one before.
_PICTURES, _STRIDE = 64, 7


class Film:
    """What each camera sees: discs that move over a lit table with a little grain, as a simulator draws them.

    `size`: width and height of a picture."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.cameras: dict[str, tuple[int, int]] = dict.fromkeys(CAMERAS, (size, size))
        self._shots = {camera: _shots(size, seed) for seed, camera in enumerate(CAMERAS)}

    def at(self, episode: Any, step: Any) -> dict[str, NDArray[np.uint8]]:
        """Camera -> u1 (..., H, W, 3) of these steps of these episodes, which are integers or arrays of
        them."""
        number = (_STRIDE * episode + step) % _PICTURES
        return {camera: shots[number] for camera, shots in self._shots.items()}


def _shots(size: int, seed: int) -> NDArray[np.uint8]:
    """u1 (_PICTURES, size, size, 3)"""
    rng = np.random.default_rng(seed)
    down, across = np.mgrid[:size, :size] / size
    table = np.stack([150 - 60 * down, 120 - 50 * across, 90 + 40 * down * across], axis=-1)
    table += rng.integers(-2, 3, (size, size, 1))
    shots = np.tile(table, (_PICTURES, 1, 1, 1))
    turn = 2 * np.pi * np.arange(_PICTURES)[:, None, None] / _PICTURES
    for speed in (1, 1, 2, 3):
        phase, radius, colour = rng.uniform(0, 6.3), rng.uniform(0.05, 0.15), rng.uniform(60, 255, 3)
        x, y = 0.5 + 0.35 * np.sin(turn + phase), 0.5 + 0.35 * np.cos(speed * turn)
        distance = np.hypot(across - x, down - y)[..., None] / radius
        shots = np.where(distance < 1, colour * (1 - 0.5 * distance), shots)
    return shots.clip(0, 255).astype(np.uint8)


def seen_messages(frames: int, film: Film) -> Iterator[Columns]:
    """Whole episodes of EPISODE frames with pictures, about `frames` frames, a message for each decision of
    all sub-environments."""
    sub_envs = min(SUB_ENVS, max(1, frames // EPISODE))
    episodes, decisions = max(1, frames // (EPISODE * sub_envs)), -(-EPISODE // K)
    for columns in messages(episodes * decisions * K * sub_envs, K, rows=sub_envs, sub_envs=sub_envs):
        number = columns["episode"] * sub_envs + columns["sub_env"]
        step = columns["decision"][:, None] * K + np.arange(K)
        for camera, pictures in film.at(number[:, None], step).items():
            columns[IMAGE_PREFIX + camera] = pictures
        for camera, pictures in film.at(number[columns["final_row"]], EPISODE).items():
            columns[FINAL_IMAGE_PREFIX + camera] = pictures
        yield columns
