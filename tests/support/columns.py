"""Columns of experience for tests: hand-made, and as a rollout over scripted episodes sends them."""

import numpy as np

from protocol.arrays import Columns
from tests.support.fakes import CountingBase, ScriptedEnvironment
from tests.support.helpers import collect, make_config, make_policy, make_rollout

CAMERAS = ("top", "wrist")
SIZES = dict.fromkeys(CAMERAS, (16, 32))


def episode_of(rewards: list[list[float]], frames: list[int]) -> Columns:
    """One terminated episode of decisions of four frames each."""
    rows = len(frames)
    last = np.arange(rows) == rows - 1
    return {
        "observation": np.zeros((rows, 4, 3), np.float32),
        "base_plan": np.zeros((rows, 4, 2), np.float32),
        "residual": np.zeros((rows, 4, 2), np.float32),
        "reward": np.array(rewards, np.float32),
        "frames": np.array(frames, np.int32),
        "terminated": last,
        "truncated": np.zeros(rows, bool),
        "sub_env": np.zeros(rows, np.int32),
        "episode": np.zeros(rows, np.int64),
        "decision": np.arange(rows, dtype=np.int32),
        "final_row": np.array([rows - 1], np.int32),
        "final_observation": np.zeros((1, 3), np.float32),
        "final_base_plan": np.zeros((1, 4, 2), np.float32),
    }


def decisions_with(
    residual: list[float], success: bool = False, ended: bool = True, first: int = 0
) -> Columns:
    """Decisions of one sub-environment with these residuals, the last of which may end the episode."""
    rows = len(residual)
    last = np.arange(rows) == rows - 1
    flags = np.zeros((rows, 2), bool)
    flags[-1, 0] = success
    return {
        "residual": np.array(residual, np.float32)[:, None, None] * np.ones((1, 2, 3), np.float32),
        "frames": np.full(rows, 1, np.int32),
        "success": flags,
        "terminated": last & success & ended,
        "truncated": last & (not success) & ended,
        "sub_env": np.zeros(rows, np.int32),
        "decision": np.arange(first, first + rows, dtype=np.int32),
    }


def rollout_messages(
    lengths: list[list[int]], frames: int, every: int = 1, ends: str = "truncated", rows_per_message: int = 5
) -> list[Columns]:
    """What a rollout sends in `frames` frames of episodes of these lengths, by sub-environment."""
    policy = make_policy(CountingBase(), make_config(f"algo.residual_every={every}"), len(lengths), every)
    rollout = make_rollout(ScriptedEnvironment(lengths, ends), policy, every)
    sent = []
    for _ in range(frames):
        rollout.step()
        if rollout.rows >= rows_per_message:
            sent.append(rollout.take())
    if rollout.rows:
        sent.append(rollout.take())
    return sent


def camera_experience(
    frames: int = 24, every: int = 4, ends: str = "truncated", cameras: tuple[str, ...] = CAMERAS
) -> Columns:
    """Decisions with the images of `cameras`."""
    policy = make_policy(CountingBase(), make_config(f"algo.residual_every={every}"), 2, every)
    envs = ScriptedEnvironment([[7, 3], [5]], ends, cameras=cameras)
    sizes = dict.fromkeys(cameras, SIZES[CAMERAS[0]])
    return collect(make_rollout(envs, policy, every, cameras=sizes), frames)
