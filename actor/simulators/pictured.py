"""Simulators of which a person sees pictures."""

import logging
import os
import time
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from actor.policy.images import Images
from actor.simulators.contract import Step, VectorEnvironment

log = logging.getLogger(__name__)


class PicturedEnvironment:
    """As `envs`. After each step the file has the newest picture of sub-environment 0, as JPEG, for whoever
    serves it; it goes when these simulators close. Making one draws the first picture, which is slow."""

    def __init__(self, envs: VectorEnvironment, file: Path) -> None:
        self._envs, self._file = envs, file
        self._fresh = file.with_suffix(".new")
        file.parent.mkdir(parents=True, exist_ok=True)
        self.num_envs = envs.num_envs
        self.observation_dim, self.action_dim = envs.observation_dim, envs.action_dim
        self.images: Images = envs.images
        self._said = False
        started_s = time.monotonic()
        self._show()
        log.info("the first picture took %.1f s", time.monotonic() - started_s)

    def reset(self, seed: int | None = None) -> Tensor:
        observation = self._envs.reset(seed)
        self.images = self._envs.images
        self._show()
        return observation

    def step(self, action: Tensor) -> Step:
        step = self._envs.step(action)
        self.images = step.images
        started_s = time.monotonic()
        self._show()
        if not self._said:
            self._said = True
            log.info("a picture takes %.0f ms", 1000 * (time.monotonic() - started_s))
        return step

    def restart(self, rows: Tensor) -> tuple[Tensor, Images]:
        return self._envs.restart(rows)

    def picture(self) -> NDArray[np.uint8] | None:
        return self._envs.picture()

    def close(self) -> None:
        self._file.unlink(missing_ok=True)
        self._envs.close()

    def _show(self) -> None:
        picture = self._envs.picture()
        if picture is not None:
            _, encoded = cv2.imencode(".jpg", np.ascontiguousarray(picture[..., ::-1]))
            self._fresh.write_bytes(encoded.tobytes())
            os.replace(self._fresh, self._file)
