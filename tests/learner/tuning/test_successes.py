"""Which episodes of its own run a base learns from, before and after a restart."""

from pathlib import Path

import numpy as np
import pytest

from learner.base_training.episodes import EpisodeSet, WindowShape
from learner.replay.dataset.store import LeRobotStore
from learner.tuning.successes import Successes
from protocol.arrays import Columns
from tests.support.identifiable import ACT, OBS, in_messages, make_stream

SHAPE = WindowShape((0,), (0, 1), leave_out=0, stands_still=False)


def successes(min_frames: int = 0) -> tuple[Successes, EpisodeSet]:
    kept = EpisodeSet(SHAPE, OBS, ACT)
    return Successes(kept, min_frames), kept


def open_store(folder: Path) -> LeRobotStore:
    return LeRobotStore(
        folder, repo_id="tests/successes", observation_dim=OBS, action_dim=ACT, fps=20, robot_type="panda",
        task="PickCube-v1", queue_episodes=16, flush_s=3600.0,
    )  # fmt: skip


def messages(succeed: set[int], lengths: list[int], sub_envs: int = 2) -> list[Columns]:
    """Episodes of these lengths, of which some end in success."""
    _, rows = make_stream("peg", 0, lengths, sub_envs)
    for row in rows:
        number = int(row["observation"][0, 0]) // 1000
        row["success"][:] = False
        row["success"][row["frames"] - 1] = row["final"] is not None and number in succeed
    return in_messages(rows, 3)


def seen(kept: EpisodeSet) -> list[float]:
    """What the first observation number of each window says: 1000 * episode + frame."""
    return kept.windows(np.arange(len(kept))).history[:, 0, 0].tolist()


def test_it_keeps_whole_episodes_that_succeeded_and_are_long_enough():
    found, kept = successes(min_frames=5)
    for position, columns in enumerate(messages({0, 1, 3}, [9, 4, 7, 5])):
        found.add("peg", 0, columns, 100 * position)
    # Episode 1 is too short, 2 failed.
    assert found.episodes == 2 and kept.episodes == 2
    assert sorted(seen(kept)) == [*range(9), *range(3000, 3005)]
    assert kept.windows(np.array([0])).actions[0, 0, 0] == seen(kept)[0] + 0.25


def test_an_episode_that_never_ends_is_no_success():
    found, kept = successes()
    *most, last = messages({0}, [30], sub_envs=1)
    for position, columns in enumerate(most):
        found.add("peg", 0, columns, 100 * position)
    found.end_session("peg", 0)
    found.add("peg", 0, last, 1000)
    assert found.episodes == 0 and len(kept) == 0


def test_what_a_person_corrected_is_kept_from_an_episode_that_failed():
    found, kept = successes()
    observations = np.arange(8, dtype=np.float32)[:, None].repeat(OBS, 1)
    actions = observations[:, :ACT] + 0.25
    corrected = np.array([0, 1, 1, 1, 0, 0, 1, 0], bool)
    found._judge(observations, actions, np.zeros(8, bool), corrected)
    # Windows are two actions long: of the single frame there is none.
    assert seen(kept) == [1, 2] and found.corrected_frames == 4 and found.episodes == 0
    found._judge(observations, actions, np.arange(8) == 7, corrected)
    assert found.episodes == 1 and found.corrected_frames == 4


def test_of_an_episode_that_is_too_short_no_correction_is_kept_either():
    found, kept = successes(min_frames=9)
    observations = np.zeros((8, OBS), np.float32)
    found._judge(observations, observations[:, :ACT], np.zeros(8, bool), np.ones(8, bool))
    assert len(kept) == 0 and found.corrected_frames == 0


@pytest.mark.parametrize("committed", [0, 2, 5])
def test_after_a_restart_the_set_is_the_one_that_was_there(committed: int, tmp_path: Path) -> None:
    sent = messages({0, 2, 3, 5}, [9, 13, 5, 7, 1, 30, 4, 8])
    before, kept = successes()
    for position, columns in enumerate(sent):
        before.add("peg", 0, columns, 100 * position)
    with open_store(tmp_path / "replay") as store:
        for position, columns in enumerate(sent[:committed]):
            store.add("peg", 0, columns, 100 * position)
    with open_store(tmp_path / "replay") as store:
        after, again = successes()
        if store.episodes:
            after.restore(tmp_path / "replay")
    for position, columns in enumerate(sent):
        after.add("peg", 0, columns, 100 * position)
    assert seen(again) == seen(kept) and after.figures() == before.figures()
