"""The frozen bases: what plans the actions that the residual changes."""

from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from .configuration_residual_rl import ResidualRlConfig
from .copied.ddim import DDIM, TRAIN_STEPS
from .copied.noise import Keys, normal
from .copied.tiles import in_tiles
from .copied.unet import ConditionalUnet1D

Images = dict[str, Tensor]
"""Image feature -> (B, obs_horizon, 3, height, width), in [0, 1]."""


class Base(Protocol):
    """A module that plans; `images` and `instructions` are for those that look and read."""

    def plan(self, history: Tensor, keys: Keys, images: Images, instructions: list[str]) -> Tensor:
        """Actions (B, act_horizon, A) for histories (B, obs_horizon, O).
        `keys`: of the random numbers of each row, see `copied/noise.py`."""
        ...

    def loss(self, batch: dict[str, Tensor], history: Tensor, actions: Tensor) -> Tensor:
        """What training on recorded actions (B, frames, A) makes small."""
        ...


def make_base(config: ResidualRlConfig) -> Base:
    """The base of `config`, with random weights."""
    match config.base_type:
        case "diffusion":
            return DiffusionBase(config)
        case "lerobot":
            from .lerobot_base import LeRobotBase

            return cast(Base, LeRobotBase(config))
        case "zero":
            return ZeroBase(config)
        case other:
            raise ValueError(f"config.json: base_type={other!r} is not known: install a newer {__package__}")


class ZeroBase(nn.Module):
    """Plans of zeros."""

    def __init__(self, config: ResidualRlConfig) -> None:
        super().__init__()
        self._shape = (config.act_horizon, config.action_dim)

    def plan(self, history: Tensor, keys: Keys, images: Images, instructions: list[str]) -> Tensor:
        return torch.zeros(len(history), *self._shape, device=history.device)

    def loss(self, batch: dict[str, Tensor], history: Tensor, actions: Tensor) -> Tensor:
        raise NotImplementedError("this policy has no base, so there is nothing that LeRobot could train")


class DiffusionBase(nn.Module):
    """A diffusion policy, sampled with DDIM. `config.base`: `unet` (sizes), `pred_horizon`,
    `prediction_type`, `normalize`, `inference_steps`, and `constants` (place and values of what the network
    sees and the observation lacks)."""

    obs_center: Tensor
    obs_half_range: Tensor
    action_center: Tensor
    action_half_range: Tensor

    def __init__(self, config: ResidualRlConfig) -> None:
        super().__init__()
        settings = config.base
        self._constants: dict[str, Any] | None = settings["constants"]
        observation_dim = config.observation_dim + len((self._constants or {}).get("values", ()))
        self._frames, self._actions = settings["pred_horizon"], config.action_dim
        self._first, self._horizon = config.n_obs_steps - 1, config.act_horizon
        self._normalize, self._predicts = settings["normalize"], settings["prediction_type"]
        self.noise_pred_net = ConditionalUnet1D(
            action_dim=self._actions, condition_dim=config.n_obs_steps * observation_dim, **settings["unet"]
        )
        self._ddim = DDIM(self._predicts, settings["inference_steps"])
        if self._normalize:
            for name, size in (("obs", observation_dim), ("action", self._actions)):
                self.register_buffer(f"{name}_center", torch.zeros(size))
                self.register_buffer(f"{name}_half_range", torch.ones(size))

    def plan(self, history: Tensor, keys: Keys, images: Images, instructions: list[str]) -> Tensor:
        drawn = torch.from_numpy(normal(keys, self._frames * self._actions)).to(history.device)
        sample = in_tiles(self._sample, history, drawn.view(-1, self._frames, self._actions), size=32)
        planned = sample[:, self._first : self._first + self._horizon]
        return planned * self.action_half_range + self.action_center if self._normalize else planned

    def loss(self, batch: dict[str, Tensor], history: Tensor, actions: Tensor) -> Tensor:
        """The error of the prediction at a random step of the diffusion, as it is trained from scratch."""
        clean = (actions - self.action_center) / self.action_half_range if self._normalize else actions
        step = torch.randint(TRAIN_STEPS, (len(clean),), device=clean.device)
        noise = torch.randn_like(clean)
        weights = [self._ddim.step_weights(int(each))[:2] for each in step]
        kept, added = torch.tensor(weights, device=clean.device).t()[:, :, None, None]
        target = {"epsilon": noise, "sample": clean, "v_prediction": kept * noise - added * clean}
        predicted = self.noise_pred_net(kept * clean + added * noise, step, self._condition(history))
        error = (predicted - target[self._predicts]).square().mean(-1)
        padded = batch.get("action_is_pad")
        return error.mean() if padded is None else error[~padded].mean()

    def _sample(self, history: Tensor, noise: Tensor) -> Tensor:
        sample, condition = noise, self._condition(history)
        for step in self._ddim.steps:
            on_device = torch.full((), step, device=sample.device)
            sample = self._ddim.next_sample(self.noise_pred_net(sample, on_device, condition), step, sample)
        return sample

    def _condition(self, history: Tensor) -> Tensor:
        if self._constants is not None:
            at, values = self._constants["at"], self._constants["values"]
            missing = torch.tensor(values, device=history.device).expand(*history.shape[:-1], -1)
            history = torch.cat([history[..., :at], missing, history[..., at:]], dim=-1)
        if self._normalize:
            history = ((history - self.obs_center) / self.obs_half_range).clamp(-1.5, 1.5)
        return history.flatten(1)
