"""Simulators of which a person sees pictures."""

import logging
import os
import time
from pathlib import Path

import cv2
import numpy as np
from torch import Tensor

from actor.simulators.around import EnvironmentAround
from actor.simulators.contract import Step, VectorEnvironment

log = logging.getLogger(__name__)


class PicturedEnvironment(EnvironmentAround):
    """As `envs`. After each step the file has the newest picture of sub-environment 0, as JPEG, for whoever
    serves it; it goes when these simulators close. Making one resets them and draws the first picture,
    which is slow."""

    def __init__(self, envs: VectorEnvironment, file: Path) -> None:
        super().__init__(envs)
        self._file = file
        self._fresh = file.with_suffix(".new")
        file.parent.mkdir(parents=True, exist_ok=True)
        self._said = self._failed = False
        started_s = time.monotonic()
        self.reset()  # some draw nothing before
        log.info("the first picture took %.1f s", time.monotonic() - started_s)

    def reset(self, seed: int | None = None) -> Tensor:
        observation = super().reset(seed)
        self._show()
        return observation

    def step(self, action: Tensor) -> Step:
        step = super().step(action)
        started_s = time.monotonic()
        self._show()
        if not self._said:
            self._said = True
            log.info("a picture takes %.0f ms", 1000 * (time.monotonic() - started_s))
        return step

    def close(self) -> None:
        self._file.unlink(missing_ok=True)
        super().close()

    def _show(self) -> None:
        picture = self._envs.picture()
        if picture is not None:
            _, encoded = cv2.imencode(".jpg", np.ascontiguousarray(picture[..., ::-1]))
            try:
                self._fresh.write_bytes(encoded.tobytes())
                os.replace(self._fresh, self._file)
            except OSError as error:  # experience does not need it
                if not self._failed:
                    log.warning("no pictures for the page: %s", error)
                self._failed = True
