"""Sub-environments whose actions are known afterwards."""

from torch import Tensor

from actor.simulators.contract import Step, VectorEnvironment


class Recorded:
    """Sub-environments that remember the actions of each episode, by the episode's seed."""

    def __init__(self, envs: VectorEnvironment) -> None:
        self._envs = envs
        self.num_envs, self.observation_dim, self.action_dim = (
            envs.num_envs, envs.observation_dim, envs.action_dim,
        )  # fmt: skip
        self.images = envs.images
        self.actions: dict[int, list[Tensor]] = {}

    def reset(self, seed: int | None = None) -> Tensor:
        assert seed is not None
        self._seeds = list(range(seed, seed + self.num_envs))
        return self._envs.reset(seed)

    def step(self, action: Tensor) -> Step:
        for seed, one in zip(self._seeds, action, strict=True):
            self.actions.setdefault(seed, []).append(one.clone())
        step = self._envs.step(action)
        for i in step.ended.nonzero()[:, 0].tolist():
            self._seeds[i] += self.num_envs
        return step

    def close(self) -> None:
        self._envs.close()
