"""Any LeRobot policy in training: its own forward pass and loss, its processors, its optimiser."""

from pathlib import Path
from typing import Any

import torch
from lerobot.utils.constants import ACTION
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from actor.policy.checkpoint_file import reason
from actor.policy.contract import CheckpointError
from actor.policy.lerobot.files import load_parts
from actor.policy.lerobot.policy import state_features
from actor.policy.weights import Weights
from config.base import LeRobotBaseConfig
from config.task import TaskConfig
from learner.algorithms.contract import Figures
from learner.algorithms.finite import CheckedSteps, NonFinite
from learner.base_training.denoising import learning_rate_factor
from learner.base_training.episodes import WindowShape
from learner.base_training.tuners.contract import TunerSettings
from learner.ranks.ranks import Batch

PADDED = f"{ACTION}_is_pad"


class LeRobotTuner:
    """See `BaseTuner`. The statistics of the processors stay as they are.
    Raises CheckpointError: a policy without a loss on observations and actions, or as `load_parts`."""

    def __init__(self, base: LeRobotBaseConfig, task: TaskConfig, settings: TunerSettings) -> None:
        self._base, self._settings, self.updates = base, settings, 0
        parts = load_parts(base, task, settings.device)
        self._policy, self._fields = parts.policy, parts.fields
        self._before, self._after = parts.processors
        config = self._policy.config
        if parts.cameras:
            raise self._refusal(f"it looks at {', '.join(parts.cameras)}, and training data gives it states")
        self._has_history = config.observation_delta_indices is not None
        self.shape = WindowShape(
            tuple(config.observation_delta_indices or (0,)),
            tuple(config.action_delta_indices or (0,)),
            getattr(config, "drop_n_last_frames", 0),
            stands_still=False,
        )
        self._has_chunk = config.action_delta_indices is not None
        self._clip, self._optimizer = self._make_optimizer()
        self._rate = torch.optim.lr_scheduler.LambdaLR(
            self._optimizer,
            lambda step: learning_rate_factor(step, settings.warmup, settings.updates),
        )
        self._steps = CheckedSteps()
        self._try_out(parts.observation_dim)

    def update(self, batch: Batch) -> Figures:
        rate = float(self._optimizer.param_groups[0]["lr"])
        self._optimizer.zero_grad(set_to_none=True)
        loss = self._loss(batch)
        loss.backward()
        parameters = [each for group in self._optimizer.param_groups for each in group["params"]]
        norm = clip_grad_norm_(parameters, self._clip or float("inf"))
        if self._steps.step(self._optimizer, loss.detach(), "base", self.updates + 1):
            self._rate.step()
        self.updates += 1
        return {
            "loss/base": loss.detach,
            "base_lr": lambda: torch.tensor(rate),
            "base_grad_norm": norm.detach,
        }

    def first_skipped(self) -> NonFinite | None:
        return self._steps.first_skipped()

    def weights(self) -> Weights:
        return self._policy.state_dict()

    def state(self) -> dict[str, Any]:
        return {
            "updates": self.updates,
            "policy": self._policy.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "rate": self._rate.state_dict(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        try:
            self._policy.load_state_dict(state["policy"])
        except RuntimeError as error:
            raise ValueError(f"another base: {error}") from error
        self._optimizer.load_state_dict(state["optimizer"])
        self._rate.load_state_dict(state["rate"])
        self.updates = state["updates"]

    def save(self, folder: Path, weights: Weights | None = None) -> None:
        self._policy.save_pretrained(folder, state_dict=weights)
        self._before.save_pretrained(folder)
        self._after.save_pretrained(folder)

    def _make_optimizer(self) -> tuple[float, torch.optim.Optimizer]:
        """The largest norm of the gradient (0: no limit) and the optimiser, both of the policy's preset."""
        try:
            preset = self._policy.config.get_optimizer_preset()
            if self._settings.lr is not None:
                preset.lr = self._settings.lr
            optimizer = preset.build(self._policy.get_optim_params())
        except Exception as error:  # of the policy's own code, or of a plugin's: any kind
            raise self._refusal(f"it has no optimiser ({reason(error)})") from error
        if not isinstance(optimizer, torch.optim.Optimizer):
            raise self._refusal("it has several optimisers")
        return preset.grad_clip_norm, optimizer

    def _loss(self, batch: Batch) -> Tensor:
        """With the same weights and the same number of updates, always the same draws."""
        history, actions = batch["history"], batch["actions"]
        observation = history if self._has_history else history[:, -1]
        given: dict[str, Any] = state_features(observation, self._fields)
        given[ACTION] = actions if self._has_chunk else actions[:, 0]
        given[PADDED] = batch["padded"]
        given["task"] = [self._base.instruction] * len(actions)
        device = self._settings.device
        with torch.random.fork_rng([device] if device.startswith("cuda") else []):
            torch.manual_seed(self._settings.seed * 1_000_003 + self.updates)
            self._policy.train()
            loss, _ = self._policy.forward(self._before(given))
        return loss

    def _try_out(self, observation_dim: int) -> None:
        """Compute one loss, to find out now what does not work; raises CheckpointError."""
        device, rows = self._settings.device, 2
        steps = len(self.shape.action)
        batch = {
            "history": torch.zeros(rows, len(self.shape.observation), observation_dim, device=device),
            "actions": torch.zeros(rows, steps, self._action_dim, device=device),
            "padded": torch.zeros(rows, steps, dtype=torch.bool, device=device),
        }
        before = {name: value.clone() for name, value in self._policy.named_buffers()}
        try:
            loss = self._loss(batch)
        except Exception as error:  # of the policy's own code, or of a plugin's: any kind
            raise self._refusal(f"no loss on observations and actions ({reason(error)})") from error
        if not (isinstance(loss, Tensor) and loss.numel() == 1 and loss.requires_grad):
            raise self._refusal("its loss is not one number with a gradient")
        for name, buffer in self._policy.named_buffers():
            buffer.copy_(before[name])

    @property
    def _action_dim(self) -> int:
        return self._policy.config.output_features[ACTION].shape[0]

    def _refusal(self, why: str) -> CheckpointError:
        kind = self._policy.config.type
        return CheckpointError(
            f"base {self._base.path}, a {kind} policy, cannot be trained here: {why}: choose another base, "
            "or an algorithm that leaves the base as it is (algo=residual_td3)"
        )
