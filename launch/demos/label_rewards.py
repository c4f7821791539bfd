"""Adds ManiSkill's normalised dense reward to demonstrations, by playing them again:
python -m launch.demos.label_rewards FILE [key=value ...]

Each episode starts from its own seed, searched upwards from 0, and must pass through the states that were
recorded; one that does not stays without. FILE is written anew, cut at first successes.
"""

from __future__ import annotations

import dataclasses
import logging
import sys
from pathlib import Path

import msgspec
import numpy as np

from actor.simulators.contract import TaskError
from actor.simulators.maniskill import single_environment
from config.process import USAGE_ERROR, compose_config, wants_help
from config.section import ConfigError
from config.task import TaskConfig
from learner.replay.prior.maniskill import Demonstration, DemonstrationError, read_maniskill, write_maniskill

log = logging.getLogger("rewards")

# Recorded and replayed observations differ by rounding alone.
TOLERANCE = 0.01
# Seeds that a planner may have failed on between two episodes.
SEEDS_AHEAD = 50


def differs(observation: np.ndarray, recorded: np.ndarray) -> bool:
    """Whether two states are not the same. Flags are not looked at: right after a reset the simulator
    still says what the gripper held in the episode before."""
    flags = np.isin(observation, (0, 1)) & np.isin(recorded, (0, 1))
    return bool((np.abs(observation - recorded)[~flags] > TOLERANCE).any())


class Player:
    """Finds the seeds of recorded episodes, ascending, and plays their actions again."""

    def __init__(self, task: TaskConfig, longest: int) -> None:
        task = msgspec.structs.replace(
            task, reward_mode="normalized_dense", max_episode_steps=max(longest, task.max_episode_steps)
        )
        self._env = single_environment(task, first_seed=0, stride=1)
        self._next_seed = 0
        # Some tasks draw sizes of things, but only when the scene is built: slow, so tried second.
        self._ways = [{"reconfigure": False}, {"reconfigure": True}]

    def rewards(self, episode: Demonstration) -> np.ndarray | None:
        """(T,) of the episode; None if no seed begins like it, or if it goes another way."""
        if not self._find_start(episode.observations[0]):
            return None
        rewards = np.zeros(len(episode.actions), np.float32)
        for frame, action in enumerate(episode.taken):
            observation, rewards[frame], _, _, _ = self._env.step(action)
            if differs(observation, episode.observations[frame + 1]):
                return None
        return rewards

    def _find_start(self, wanted: np.ndarray) -> bool:
        for options in self._ways:
            for seed in range(self._next_seed, self._next_seed + SEEDS_AHEAD):
                observation, _ = self._env.reset(seed=seed, options=options)
                if not differs(observation, wanted):
                    self._next_seed, self._ways = seed + 1, [options]
                    return True
        return False

    def close(self) -> None:
        self._env.close()


def label(task: TaskConfig, episodes: list[Demonstration]) -> list[Demonstration]:
    """The episodes with their rewards, or without where they could not be played again."""
    player = Player(task, max(len(episode.actions) for episode in episodes))
    labelled = [dataclasses.replace(episode, dense=player.rewards(episode)) for episode in episodes]
    player.close()
    return labelled


def main(words: list[str]) -> int:
    """Returns 0 when something was labelled or explained, 1 where nothing could be, 2 for wrong words."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    files = [Path(word) for word in words if "=" not in word]
    if wants_help(words):
        sys.stdout.write(f"{__doc__}\n")
        return 0
    if len(files) != 1:
        log.error("error: one FILE is wanted, got %s", " ".join(map(str, files)) or "none")
        return USAGE_ERROR
    try:
        task = compose_config([word for word in words if "=" in word]).task
        episodes = [episode.cut_at_success() for episode in read_maniskill(files[0])]
        labelled = label(task, episodes)
    except (ConfigError, DemonstrationError, TaskError) as error:
        log.error("error: %s", error)
        return 1
    count = sum(episode.dense is not None for episode in labelled)
    log.info("%d of %d episodes have the rewards of %s", count, len(episodes), task.env_id)
    if not count:
        return 1
    write_maniskill(files[0], labelled)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
