"""Somebody who intervenes as a script says, and the experience of it."""

from collections.abc import Mapping

import torch
from torch import Tensor

from actor.interventions.contract import Intervention, Mark
from actor.interventions.marked import MarkedEnvironment
from actor.interventions.takeover import Takeover
from actor.interventions.whole_episodes import WholeEpisodes
from actor.policy.images import NO_IMAGES, Images
from actor.rollout import Rollout
from protocol.arrays import Columns
from protocol.experience import ExperienceSpec
from tests.support.fakes import CountingBase, ScriptedEnvironment
from tests.support.helpers import collect, make_config, make_policy
from tests.support.spec import make_spec

EVERY = 4


class ScriptedSource:
    """Acts in the frames (counted over all episodes) that `actions` names, by sub-environment, with the same
    number in all dimensions; marks episodes after the frames that `marks` names."""

    marks_episodes = True

    def __init__(
        self,
        actions: Mapping[int, Mapping[int, list[float]]],
        marks: Mapping[int, Mapping[int, Mark]] | None = None,
        num_envs: int = 1,
    ) -> None:
        self._actions, self._marks, self._num_envs, self._frame = actions, marks or {}, num_envs, 0

    def begin(self, observation: Tensor, fresh: Tensor | None = None, images: Images = NO_IMAGES) -> None:
        pass

    def observe(self, observation: Tensor, images: Images = NO_IMAGES) -> None:
        pass

    def act(self, proposed: Tensor) -> Intervention:
        acting, action = torch.zeros(self._num_envs, dtype=torch.bool), torch.zeros_like(proposed)
        for env, numbers in self._actions.get(self._frame, {}).items():
            acting[env], action[env] = True, torch.tensor(numbers)
        self._frame += 1
        return Intervention(acting, action)

    def marks(self) -> Mapping[int, Mark]:
        return self._marks.get(self._frame - 1, {})

    def close(self) -> None:
        pass


def intervention_spec(**changes: object) -> ExperienceSpec:
    """Of the fakes, with the column `intervention`."""
    sizes = {"observation_dim": 3, "action_dim": 2, "residual_every": EVERY}
    return make_spec(**sizes, optional_columns=("intervention",), **changes)


def taken_over(
    source: ScriptedSource, lengths: list[list[int]], *words: str, ends: str = "truncated"
) -> Rollout | WholeEpisodes:
    """A rollout of the counting base, whose plans are close to 0.1, with `source` beside it."""
    config = make_config(f"algo.residual_every={EVERY}", *words)
    policy = make_policy(CountingBase(), config, len(lengths), EVERY)
    takeover = Takeover(policy, source, config.algo.residual_scale)
    marked = MarkedEnvironment(ScriptedEnvironment(lengths, ends), source)
    return WholeEpisodes(Rollout(marked, takeover, intervention_spec()), marked, intervention_spec())


def intervened_columns(frames: int = 24) -> Columns:
    """Two sub-environments; in the first, somebody acts in frames 2 to 5 of the first episode."""
    actions = {frame: {0: [0.9, -0.5]} for frame in range(2, 6)}
    source = ScriptedSource(actions, num_envs=2)
    return collect(taken_over(source, [[7, 3], [5]]), frames)
