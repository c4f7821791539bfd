"""Base plus scaled residual, with a plan and a cursor for every sub-environment."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from lerobot.policies.pretrained import PreTrainedPolicy
from torch import Tensor

from .bases import Images, make_base
from .configuration_residual_rl import ResidualRlConfig
from .copied.noise import Use, keys_at
from .episodes import Episodes, told
from .lerobot_base import LeRobotBase
from .residual import Residual


class ResidualRlPolicy(PreTrainedPolicy):
    """a = base + residual_scale * residual, cut to [-1, 1]: what residual-rl evaluates.

    Rows of a batch are sub-environments. Where a batch has `observation.episode`, the episodes begin where
    it says so, with the seeds that it tells, row by row (lerobot_env_maniskill tells them). Else `reset()`
    begins the next episode in every row, with the seeds of `config.first_seed`; `begin` does so in some rows.
    """

    # LeRobot declares both as None and asks for these.
    config_class = ResidualRlConfig  # pyright: ignore[reportAssignmentType]
    name = "residual_rl"  # pyright: ignore[reportAssignmentType]

    def __init__(self, config: ResidualRlConfig, **_: Any) -> None:
        super().__init__(config)
        config.validate_features()
        self.config: ResidualRlConfig = config
        self.base = make_base(config)
        self.residual = Residual(config)
        self._state: _Plans | None = None
        self._all_begin = True
        self._begins: set[int] = set()
        self._seeds: dict[int, int] = {}

    @classmethod
    def from_pretrained(cls, pretrained_name_or_path: str | Path, **kwargs: Any) -> Self:
        """As LeRobot's, with all weights or none."""
        kwargs["strict"] = True
        policy = super().from_pretrained(pretrained_name_or_path, **kwargs)
        if isinstance(policy.base, LeRobotBase):
            policy.base.load_processors(str(pretrained_name_or_path), kwargs.get("revision"))
        return policy

    def _save_pretrained(self, save_directory: Path, state_dict: dict[str, Tensor] | None = None) -> None:
        super()._save_pretrained(save_directory, state_dict)
        if isinstance(self.base, LeRobotBase):
            self.base.save_processors(save_directory)

    def reset(self) -> None:
        """With the next batch new episodes begin in all rows."""
        self._all_begin = True

    def begin(self, rows: Sequence[int], seeds: Sequence[int] | None = None) -> None:
        """Begin new episodes in sub-environments `rows` with the next batch.
        `seeds`: of the episodes; None: those that follow."""
        self._begins.update(rows)
        if seeds is not None:
            self._seeds.update(zip(rows, seeds, strict=True))

    @torch.no_grad()
    def select_action(self, batch: dict[str, Any], **_: Any) -> Tensor:
        """The next actions (B, A)."""
        observation, images = self._observation(batch), self._images(batch)
        state = self._state
        if state is None or state.num_envs != len(observation):
            state = self._state = _Plans(self.config, len(observation), observation.device)
            self._all_begin = True
        self._begin_episodes(state, batch, observation, images)
        used_up = (state.cursor >= self.config.act_horizon).nonzero()[:, 0]
        if len(used_up):
            history, shown = state.history[used_up], {name: i[used_up] for name, i in state.images.items()}
            texts = _texts(batch, len(observation))
            keys = state.episodes.keys(used_up)
            state.plan[used_up] = self.base.plan(history, keys, shown, [texts[row] for row in used_up])
            state.cursor[used_up] = 0
        self._decide(state)
        return state.next_action()

    @torch.no_grad()
    def predict_action_chunk(self, batch: dict[str, Any], **_: Any) -> Tensor:
        """A whole plan (B, act_horizon, A) from the batch's newest observation alone; it leaves no trace.

        With `observation.state` of (B, n_obs_steps, O) it sees that history. Random numbers are those of
        frame 0 of episodes first_seed + row. Where `residual_every` is below `act_horizon`, later residuals
        see the same observation, which `select_action` has anew by then.
        """
        observation, images, every = self._observation(batch), self._images(batch), self.config.residual_every
        steps = self.config.n_obs_steps
        history = observation if observation.dim() == 3 else observation[:, None].repeat(1, steps, 1)
        shown = {n: i if i.dim() == 5 else i[:, None].repeat(1, steps, 1, 1, 1) for n, i in images.items()}
        keys = keys_at([self.config.first_seed + row for row in range(len(history))], 0, Use.BASE)
        plan = self.base.plan(history, keys, shown, _texts(batch, len(history)))
        decided = [self.residual(history[:, -1], part) for part in plan.split(every, dim=1)]
        scale = torch.tensor(self.config.residual_scale).to(plan)
        return (plan + scale * torch.cat(decided, dim=1)).clamp(-1, 1)

    def forward(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
        """The base's own loss on recorded actions: `lerobot-train` trains the base, never the residual."""
        history = self._observation(batch)
        loss = self.base.loss(batch, history, batch["action"])
        return loss, {"base_loss": loss.item()}

    def get_optim_params(self) -> list[torch.nn.Parameter]:
        """The base's."""
        self.residual.requires_grad_(False)
        return [value for name, value in self.named_parameters() if name.startswith("base.")]

    def _observation(self, batch: dict[str, Any]) -> Tensor:
        return torch.cat([batch[name].float() for name in self.config.state_features], dim=-1)

    def _images(self, batch: dict[str, Any]) -> Images:
        return {name: batch[name] for name in self.config.image_features}

    def _begin_episodes(
        self, state: "_Plans", batch: dict[str, Any], observation: Tensor, images: Images
    ) -> None:
        """Append the observation to the histories, and begin episodes where they begin."""
        state.observe(observation, images)
        if (episodes := told(batch)) is not None:
            seeds, first = episodes
            begins = first.nonzero()[:, 0].tolist()
            self.begin(begins, [int(seeds[row]) for row in begins])
        rows = range(state.num_envs) if self._all_begin else sorted(self._begins)
        state.begin([*rows], self._seeds, observation, images)
        self._all_begin, self._begins, self._seeds = False, set(), {}

    def _decide(self, state: "_Plans") -> None:
        every = self.config.residual_every
        rows = (state.cursor % every == 0).nonzero()[:, 0]
        if len(rows):
            frames = state.cursor[rows, None] + torch.arange(every, device=rows.device)
            plan = state.plan[rows[:, None], frames]
            residual = self.residual(state.history[rows, -1], plan)
            state.decided[rows] = plan + torch.tensor(self.config.residual_scale).to(plan) * residual


class _Plans:
    """What is known of N sub-environments between two batches."""

    def __init__(self, config: ResidualRlConfig, num_envs: int, device: torch.device) -> None:
        def zeros(*shape: int) -> Tensor:
            return torch.zeros(num_envs, *shape, device=device)

        self.num_envs, self._horizon, self._every = num_envs, config.act_horizon, config.residual_every
        self._rows = torch.arange(num_envs, device=device)
        self.history = zeros(config.n_obs_steps, config.observation_dim)
        self.images: Images = {
            name: zeros(config.n_obs_steps, *feature.shape) for name, feature in config.image_features.items()
        }
        self.plan = zeros(config.act_horizon, config.action_dim)
        self.decided = zeros(config.residual_every, config.action_dim)
        self.cursor = zeros().long()
        self.episodes = Episodes(config.first_seed, num_envs)
        self._first = True

    def observe(self, observation: Tensor, images: Images) -> None:
        self.history = torch.cat([self.history[:, 1:], observation[:, None]], dim=1)
        for name, image in images.items():
            self.images[name] = torch.cat([self.images[name][:, 1:], image[:, None]], dim=1)

    def begin(self, begins: list[int], seeds: Mapping[int, int], observation: Tensor, images: Images) -> None:
        """Begin episodes in rows `begins`, with `seeds` where given: nothing of the last ones is left."""
        rows = torch.tensor(begins, dtype=torch.int64, device=self._rows.device)
        if not self._first:
            self.episodes.next_ones(rows)
        given = [row for row in begins if row in seeds]
        self.episodes.begin(torch.tensor(given, dtype=torch.int64), [seeds[row] for row in given])
        self.history[rows] = observation[rows][:, None]
        for name, image in images.items():
            self.images[name][rows] = image[rows][:, None]
        self.cursor[rows] = self._horizon
        self._first = False

    def next_action(self) -> Tensor:
        """Actions (N, A) at the cursors, which go on."""
        action = self.decided[self._rows, self.cursor % self._every].clamp(-1, 1)
        self.cursor = self.cursor + 1
        self.episodes.step()
        return action


def _texts(batch: dict[str, Any], rows: int) -> list[str]:
    return list(batch.get("task") or [""] * rows)
