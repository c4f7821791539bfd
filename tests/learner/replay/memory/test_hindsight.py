"""Hindsight: transitions with goals that were reached later, against hand-computed numbers."""

import numpy as np
import pytest
import torch

from config.section import ConfigError
from config.task import GoalConfig
from learner.replay.memory.batches import Batches
from learner.replay.memory.hindsight import Hindsight, future_of
from learner.replay.memory.ring import Ring
from learner.replay.memory.rows import Rows
from learner.replay.memory.transitions import TransitionBatch, find_ends
from tests.support.columns import episode_of
from tests.support.helpers import make_config

GOAL = GoalConfig(achieved=(0, 1), desired=(1, 2), threshold=0.5)
ASKED = 100.0


def make_rows() -> Rows:
    """Two episodes in slots 0 .. 3 and 4 .. 6, each with its final observation last. A row has the place
    reached, the place asked for, and a plan and a residual of one dimension: 3, 4. The first episode is
    truncated after three decisions, the second succeeds in its second one."""
    rows = Rows(8, 4, torch.device("cpu"))
    places = [0, 1, 2, 3, 10, 11, 12]
    block = np.array([[place, ASKED, 3, 4] for place in places], np.float32)
    reward = np.array([0, 0, 0, 0, 0, 1, 0], np.float32)
    terminated = np.array([0, 0, 0, 0, 0, 1, 0], bool)
    rows.write(0, block, reward, terminated)
    rows.link(np.array([0, 1, 2, 4, 5]), np.array([1, 2, 3, 5, 6]))
    return rows


def test_a_future_goal_is_of_the_same_episode_and_each_is_as_likely() -> None:
    start = np.repeat([0, 1, 2, 4, 5], 3000)
    found = future_of(make_rows(), start, np.random.default_rng(0))
    counts = {slot: np.bincount(found[start == slot], minlength=9) for slot in (0, 1, 2, 4, 5)}
    assert [np.flatnonzero(counts[slot]).tolist() for slot in counts] == [[1, 2, 3], [2, 3], [3], [5, 6], [6]]
    assert np.allclose(counts[0][[1, 2, 3]] / 3000, 1 / 3, atol=0.03)
    assert np.allclose(counts[1][[2, 3]] / 3000, 1 / 2, atol=0.03)


def relabelled(start: int, goal: float, n_step: int, offset: float = 0.0) -> tuple[int, float, float]:
    """Where the transition from `start` ends with this goal, its reward and discount, for gamma 0.5."""

    class Given(Hindsight):
        def _reached(self, rows: Rows, slots: np.ndarray) -> np.ndarray:
            self.asked = getattr(self, "asked", 0) + 1
            return np.full((1, 1), goal) if self.asked == 1 else super()._reached(rows, slots)

    rng, settings = np.random.default_rng(0), dict(n_step=n_step, gamma=0.5, reward_offset=offset)
    ends = Given(GOAL, 4).of(make_rows(), np.array([start]), rng, **settings).ends
    return int(ends.slots[0]), float(ends.reward[0]), float(ends.discount[0])


@pytest.mark.parametrize(
    ("start", "goal", "n_step", "offset", "expected"),
    [
        (0, 1, 1, 0, (1, 1, 0)),  # reached by the first decision: reward 1, and nothing is to come
        (0, 2, 1, 0, (1, 0, 0.5)),  # not within one decision
        (0, 2, 3, 0, (2, 0.5, 0)),  # by the second of three: 0 + 0.5 * 1, and there the chain ends
        (0, 3, 3, 0, (3, 0.25, 0)),
        (0, 2, 3, -1, (2, -1, 0)),  # sparse minus one: -1 + 0.5 * (1 - 1)
        (0, 9, 3, 0, (3, 0, 0.125)),  # truncated: bootstraps from the final observation
        (0, 9, 5, 0, (3, 0, 0.125)),  # and no further
        (4, 11, 1, 0, (5, 1, 0)),
        (4, 9, 2, 0, (6, 0, 0.25)),  # the success was of the goal that was asked for: not with another
    ],
)
def test_reward_and_discount_are_those_of_the_other_goal(
    start: int, goal: float, n_step: int, offset: float, expected: tuple[int, float, float]
) -> None:
    assert relabelled(start, goal, n_step, offset) == expected


def test_a_batch_has_the_other_goal_on_both_sides_and_the_rest_is_as_it_was() -> None:
    rows, start = make_rows(), np.array([0, 1, 2, 4, 5] * 40)
    ends = find_ends(rows.facts, start, n_step=1, gamma=0.5, reward_offset=0.0)
    before, after = rows.block[start], rows.block[ends.slots]
    batch = TransitionBatch(
        before[:, :2].clone(), before[:, 2:3].clone(), before[:, 3:], torch.tensor(ends.reward),
        torch.tensor(ends.discount), after[:, :2].clone(), after[:, 2:3].clone(),
    )  # fmt: skip
    old = TransitionBatch(*(column.clone() for column in batch))
    new, end = Hindsight(GOAL, 4).relabel(
        rows, batch, ends.slots, start, np.random.default_rng(1), n_step=1, gamma=0.5, reward_offset=0.0
    )
    changed = new.observation[:, 1] != ASKED
    assert 0.7 < changed.float().mean() < 0.9  # four of five
    assert torch.equal(new.observation[:, 1], new.next_observation[:, 1])
    assert torch.equal(new.observation[:, 0], old.observation[:, 0])
    assert torch.equal(new.next_observation[:, 0], old.next_observation[:, 0])
    reached = (new.next_observation[:, 0] - new.observation[:, 1]).abs() < 0.5
    assert torch.equal(new.reward[changed], reached[changed].float())
    assert torch.equal(new.discount[changed], 0.5 * ~reached[changed])
    for kept, was in zip(new, old, strict=True):
        assert torch.equal(kept[~changed], was[~changed])
    assert np.array_equal(end, ends.slots)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["task=fetch_push"], "hindsight_goals must be 0 for a base with plans"),
        (["task=pendulum", "base=zero"], "hindsight_goals must be 0 for a task without task.goal"),
    ],
)
def test_hindsight_where_it_cannot_be_right_is_refused(words: list[str], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        make_config(*words, "learner.hindsight_goals=4")


def test_batches_have_four_of_five_goals_replaced() -> None:
    algo = make_config("algo.prior_fraction=0", "algo.batch_size=1000", "algo.n_step=1").algo
    ring = Ring(10, 3, 8)
    columns = episode_of([[0, 0, 0, 0]] * 3, frames=[4, 4, 4])
    columns["observation"][:, :, 0] = np.arange(3)[:, None]  # reached
    columns["observation"][:, :, 1] = ASKED
    ring.add("a", columns | {"final_observation": np.array([[3, ASKED, 0]], np.float32)})
    batch = Batches(algo, ring, None, seed=0, device="cpu", hindsight=Hindsight(GOAL, 4)).next()
    goal = batch["observation"][:, 1]
    assert 0.75 < (goal != ASKED).float().mean() < 0.85 and set(goal.tolist()) == {1, 2, 3, ASKED}
    reached = (batch["next_observation"][:, 0] == goal) & (goal != ASKED)
    assert torch.equal(batch["reward"], reached.float())
