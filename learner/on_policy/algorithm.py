"""What PPO and GRPO have in common: a Gaussian policy that learns from a batch of its own decisions."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from actor.policy.gaussian import Drawn, GaussianResidual
from config.on_policy import OnPolicyConfig
from learner.algorithms.contract import BaseWeights, Figures
from learner.algorithms.finite import NonFinite, finite_steps
from learner.on_policy.losses import PolicyLoss, policy_loss
from learner.on_policy.rows import Rows
from learner.on_policy.scale import RunningScale
from learner.on_policy.value import ValueNetwork

# Torch's own, 1e-8, makes large steps of gradients that are almost zero.
ADAM_EPSILON = 1e-5


class Prepared(NamedTuple):
    """A batch that is ready to be learned from."""

    content: dict[str, Tensor]
    """(B, ...) each: observation (with relations, not scaled), base_plan, residual, log_prob, advantage,
    and what else the algorithm reads."""
    left: Rows
    """What cannot be used yet."""


class Rest(NamedTuple):
    """A part of a loss, with its gradients."""

    loss: Tensor
    by_log_prob: Tensor | float
    """(B,), by the new policy's log-probabilities; 0.0: it does not depend on them."""
    gradients: dict[Tensor, Tensor]
    """By what other networks gave."""
    figures: Figures


class OnPolicy:
    """Parameters and one optimiser; a subclass says what decisions are worth and adds to the loss.
    `seed`: of the networks' initial weights."""

    def __init__(
        self, algo: OnPolicyConfig, observation_dim: int, action_dim: int, *, seed: int, device: str
    ) -> None:
        self.algo, self.device = algo, torch.device(device)
        torch.manual_seed(seed)
        self.actor = GaussianResidual(algo, observation_dim, action_dim).to(self.device)
        self.scale = RunningScale(self.actor.sight.dim)
        self.is_enough = False
        """The policy has moved so far that the rest of the batch is not to be learned from."""
        self.updates = 0
        self._steps = finite_steps(self.device)
        self.figures: dict[str, float] = {}
        """Of the newest batch."""

    def start_optimizer(self, *networks: ValueNetwork) -> None:
        """Of the policy, and of `networks` that learn beside it."""
        self._learning = (self.actor, *networks)
        self._parameters = [each for network in self._learning for each in network.parameters()]
        fused = self.device.type in ("cpu", "cuda")
        self._optimizer = torch.optim.Adam(self._parameters, lr=self.algo.lr, eps=ADAM_EPSILON, fused=fused)

    def prepare(self, rows: Rows) -> Prepared:
        """Make a batch of decisions ready."""
        raise NotImplementedError

    def update(self, batch: dict[str, Tensor]) -> Figures:
        """A step from some rows of a batch, unless the policy is too far from the one that acted."""
        self.updates += 1
        mean, log_std = self.actor(batch["observation"], batch["base_plan"])
        with torch.no_grad():
            drawn = Drawn(self.actor.gathered(batch["residual"]), mean, log_std)
        policy = policy_loss(drawn.log_prob, batch["log_prob"], batch["advantage"], self.algo.clip)
        limit = self.algo.stop_at_kl
        if limit is not None and policy.kl.item() > limit:
            self.is_enough = True
            return {"kl": lambda: policy.kl}
        rest = self.other_losses(batch, drawn.log_prob)
        by_mean, by_log_std = drawn.gradients(policy.by_log_prob + rest.by_log_prob)
        weight = self.algo.entropy_weight  # of the entropy, which grows as fast as each log_std
        self._step(
            policy.loss + rest.loss - weight * self.actor.entropy().detach(),
            {mean: by_mean, log_std: by_log_std - weight} | rest.gradients,
        )
        return rest.figures | self._figures(policy)

    def other_losses(self, batch: dict[str, Tensor], log_prob: Tensor) -> Rest:
        """What is added to the policy's loss."""
        raise NotImplementedError

    def finish(self, content: Mapping[str, Tensor]) -> None:
        """No more updates of this batch are made. What was observed in it scales what networks see from now
        on: not before, since the probabilities of its decisions are those of the old scale."""
        self.scale.add(content["observation"])
        for network in self._learning:
            network.observation_mean.copy_(self.scale.mean)
            network.observation_scale.copy_(1 / self.scale.deviation)

    def first_skipped(self) -> NonFinite | None:
        """The first step that was skipped because it was not finite, if any was; on a GPU this waits."""
        return self._steps.first_skipped()

    def published(self) -> Mapping[str, Tensor]:
        """The policy's weights, with the scale of observations."""
        return self.actor.state_dict()

    def base(self) -> BaseWeights | None:
        """None: the base is frozen."""
        return None

    def networks(self) -> dict[str, Any]:
        """For other tools."""
        return {"actor": self.actor.state_dict()}

    def state(self) -> dict[str, Any]:
        """All that the next update depends on but its batch."""
        return {
            "updates": self.updates,
            "is_enough": self.is_enough,
            "networks": [network.state_dict() for network in self._learning],
            "optimizer": self._optimizer.state_dict(),
            "scale": self.scale.state(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue from what `state` returned. Raises ValueError: the state of other networks."""
        try:
            for network, saved in zip(self._learning, state["networks"], strict=True):
                network.load_state_dict(saved)
        except RuntimeError as error:
            raise ValueError(f"other networks: {error}") from error
        own = self._optimizer.state_dict()["param_groups"]  # with the learning rate of the configuration
        self._optimizer.load_state_dict(state["optimizer"] | {"param_groups": own})
        self.scale.load_state(state["scale"])
        self.updates, self.is_enough = state["updates"], state["is_enough"]

    def _seen(self, rows: Rows) -> dict[str, Tensor]:
        """What every algorithm reads of a batch."""
        content = {name: rows[name].to(self.device) for name in ("base_plan", "residual", "log_prob")}
        return content | {"observation": self.actor.sight(rows["observation"].to(self.device))}

    def _step(self, loss: Tensor, gradients: Mapping[Tensor, Tensor]) -> None:
        """`gradients`: of the loss by what networks gave."""
        for parameter in self._parameters:
            parameter.grad = None
        torch.autograd.backward([*gradients], [*gradients.values()])
        self._steps.step(self._optimizer, loss, "policy", self.updates, largest_norm=self.algo.grad_clip)

    def _figures(self, policy: PolicyLoss) -> Figures:
        deviation = self.actor.log_std.detach().exp().mean()
        return {
            "loss/actor": lambda: policy.loss,
            "clipped": lambda: policy.clipped(self.algo.clip),
            "kl": lambda: policy.kl,
            "policy_std": lambda: deviation,
        }
