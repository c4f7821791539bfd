"""Residual SAC, and its deterministic relative, chosen by config/algo: networks and one update."""

import copy
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from actor.policy.residual import ResidualActor
from actor.policy.sight import Sizes
from config.algo import AlgoConfig
from config.process import UsageError
from learner.algorithms import losses
from learner.algorithms.contract import BaseWeights, Figures
from learner.algorithms.critic import CriticEnsemble
from learner.algorithms.eyes import Eyes
from learner.algorithms.finite import NonFinite, finite_steps
from learner.algorithms.sights import Sights
from learner.ranks.ranks import Batch, Ranks

# Share of the way that the target critics go towards the critics in an update.
TAU = 0.01
# Critics in the target, of which the minimum counts: a random subset (Chen et al. 2021, arXiv 2101.05982).
TARGET_CRITICS = 2


class ResidualSAC:
    """Parameters and optimisers; `update` is the table of contents.

    Args:
        seed: of the networks' initial weights and of all sampling during updates. All `ranks` have the same.
        features_dim: of the base's features, which batches have behind the observations.
    """

    def __init__(
        self,
        algo: AlgoConfig,
        observation_dim: int,
        action_dim: int,
        features_dim: int = 0,
        *,
        seed: int,
        device: str,
        ranks: Ranks | None = None,
    ) -> None:
        self.algo, self._ranks = algo, ranks or Ranks()
        self.device = torch.device(device)
        torch.manual_seed(seed)
        self._rng = torch.Generator(self.device).manual_seed(seed)
        self.actor = ResidualActor(algo, observation_dim, action_dim, features_dim).to(self.device)
        sizes = Sizes(observation_dim, features_dim, 0 if algo.looks_at is None else algo.looks_at.width)
        encoder = self.actor.encoder
        self._eyes = None if encoder is None else Eyes(encoder, algo.pictures.shift, self._rng)
        self._sights = Sights(algo, self.actor, sizes, self._ranks, self._randn)
        plan_dim = algo.residual_every * action_dim
        self._residual_scale = losses.of_frames(algo.residual_scale, algo.residual_every, self.device)
        action_features = 2 * plan_dim if algo.critic_input == "concat" else plan_dim
        self.critic = CriticEnsemble(algo, self._sights.critics.dim, action_features).to(self.device)
        self.target_critic = copy.deepcopy(self.critic).requires_grad_(False)
        self._actor_optimizer = self._adam(self.actor.stack, algo.actor_lr)
        trained_by_critics = [] if self._eyes is None else self._eyes.parameters()
        self._critic_optimizer = self._adam([*self.critic.parameters(), *trained_by_critics], algo.critic_lr)
        start = algo.initial_temperature
        self.log_temperature = torch.tensor(
            math.log(start) if start > 0 else -math.inf,
            device=self.device,
            requires_grad=algo.learn_temperature,
        )
        self.target_entropy = -float(self.actor.outputs)
        self._temperature_optimizer = (
            self._adam([self.log_temperature], algo.critic_lr) if algo.learn_temperature else None
        )
        self._steps = finite_steps(self.device)
        self._scaled = algo.scale_observations == "off"
        self.updates = 0

    @property
    def temperature(self) -> Tensor:
        """Weight of the entropy, without gradient."""
        return self.log_temperature.detach().exp()

    def state(self) -> dict[str, Any]:
        """All that the next update depends on but its batch."""
        return {
            "updates": self.updates,
            "scaled": self._scaled,
            **self.networks(),
            "optimizers": [optimizer.state_dict() for optimizer in self._optimizers()],
            "rng": self._rng.get_state(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue from what `state` returned, with the learning rates of this configuration.
        Raises ValueError: the state of other networks."""
        try:
            for name in ("actor", "critic", "target_critic"):
                getattr(self, name).load_state_dict(state[name])
            if self._eyes is not None:
                self._eyes.target.load_state_dict(state["target_encoder"])
        except RuntimeError as error:
            raise ValueError(f"other networks: {error}") from error
        if len(state["optimizers"]) != len(self._optimizers()):
            raise ValueError("algo.learn_temperature was another")
        for optimizer, saved in zip(self._optimizers(), state["optimizers"], strict=True):
            optimizer.load_state_dict(saved | {"param_groups": optimizer.state_dict()["param_groups"]})
        with torch.no_grad():
            self.log_temperature.copy_(state["log_temperature"])
        self._rng.set_state(state["rng"])
        self.updates = state["updates"]
        # Checkpoints of earlier releases do not say: what they began goes on as it is.
        self._scaled |= state.get("scaled", True)

    def published(self) -> Mapping[str, Tensor]:
        """The residual's weights: all that actors need, never the frozen base."""
        return self.actor.state_dict()

    def base(self) -> BaseWeights | None:
        """None: the base is frozen."""
        return None

    def networks(self) -> dict[str, Any]:
        """All of them, for other tools."""
        encoder = {} if self._eyes is None else {"target_encoder": self._eyes.target.state_dict()}
        return encoder | {
            "actor": self.actor.state_dict(),
            "critic": self.critic.state_dict(),
            "target_critic": self.target_critic.state_dict(),
            "log_temperature": self.log_temperature.detach(),
        }

    def _adam(self, parameters: Iterable[Tensor], rate: float) -> torch.optim.Adam:
        return torch.optim.Adam(parameters, lr=rate, fused=self.device.type in ("cpu", "cuda"))

    def _optimizers(self) -> list[torch.optim.Optimizer]:
        optimizers = (self._actor_optimizer, self._critic_optimizer, self._temperature_optimizer)
        return [optimizer for optimizer in optimizers if optimizer is not None]

    def scale_observations(self, observation: Tensor) -> None:
        """Scale what the networks see to zero mean and unit deviation of rows (M, O + E)."""
        critics = (self.critic, self.target_critic)
        self._sights.scale(observation.to(self.device), self.actor, critics)
        self._scaled = True

    def update(self, batch: Batch) -> Figures:
        """One update from a batch with the fields of `TransitionBatch`; returns its figures.

        It and all later ones change no weight if a loss or a gradient is not finite: see `first_skipped`.
        Where nothing has scaled observations yet, the first batch does (algo.scale_observations)."""
        if not self._scaled:
            self.scale_observations(self._ranks.joint(batch["observation"]))
        batch = self._seen(batch)
        self.updates += 1
        figures = self._step_critic(batch)
        if self._actor_is_due():
            if self._eyes is not None:  # which the critics alone train
                batch = {name: column.detach() for name, column in batch.items()}
            figures |= self._step_actor(batch)
        self._track_targets()
        return figures

    def first_skipped(self) -> NonFinite | None:
        """The first step that was skipped because it was not finite, if any was; on a GPU this waits."""
        return self._steps.first_skipped()

    def _seen(self, batch: Batch) -> Batch:
        looks = None if self._eyes is None else self._eyes.look(batch)
        if looks is not None and len(self._ranks.pieces(batch)) > 1:
            raise UsageError(
                "algo.sees=[pictures] makes each update at once: set Accelerate's "
                "gradient_accumulation_steps=1"
            )
        return self._sights.seen(batch, self.actor, self.critic, looks)

    def _actor_is_due(self) -> bool:
        past_warmup = self.updates > self.algo.critic_warmup_updates
        return past_warmup and self.updates % self.algo.actor_delay == 0

    def _step_critic(self, batch: Batch) -> Figures:
        target = self.bootstrap_target(batch)
        made = self._step(
            self._critic_optimizer,
            batch | {"target": target},
            self._critic_loss,
            self._clip_critics,
            "critic",
        )
        q = made.seen[0].mT
        return {
            "loss/critic": lambda: made.loss,
            "q_mean": q.mean,
            "q_spread": lambda: losses.disagreement(q).mean(),
            "target_mean": target.mean,
        }

    def _critic_loss(self, batch: Batch) -> tuple[Tensor, ...]:
        """The loss, and Q (B, N)."""
        q = self.critic(batch["observation"], self._action_features(batch["base_plan"], batch["residual"]))
        return losses.critic_loss(q, batch["target"]), q.mT

    @torch.no_grad()
    def bootstrap_target(self, batch: Batch) -> Tensor:
        """The critics' target (B,): the next residual is unmasked, the discount settles endings."""
        observation, base_plan = batch["next_observation"], batch["next_base_plan"]
        noise = self._sampling_noise(len(observation))
        with self._ranks.mixed_precision():
            seen = self._sights.of_actor(batch, "next_observation")
            sample = self.actor.sample(seen, base_plan, noise=noise)
            residual = self._smooth(sample.residual)
            members = torch.randperm(self.algo.critics, generator=self._rng, device=self.device)
            members = members[:TARGET_CRITICS]
            next_q = self.target_critic(observation, self._action_features(base_plan, residual), members)
        return losses.soft_target(
            batch["reward"],
            batch["discount"],
            next_q,
            sample.log_prob,
            self.temperature * float(self.algo.entropy_in_target),
            self.algo.target_range,
        )

    def _smooth(self, residual: Tensor) -> Tensor:
        """Target-policy noise (Fujimoto et al. 2018, eq. 14)."""
        if self.algo.target_noise_std == 0:
            return residual
        limit = self.algo.target_noise_clip
        noise = self._noise(len(residual))
        noise = self.actor.spread((noise * self.algo.target_noise_std).clamp(-limit, limit))
        return self.actor.limit(residual + noise)

    def _step_actor(self, batch: Batch) -> Figures:
        noise = self._sampling_noise(len(batch["reward"]))
        if noise is not None:
            batch = batch | {"noise": noise}
        self.critic.requires_grad_(False)
        made = self._step(self._actor_optimizer, batch, self._actor_loss, self._clip_actor, "actor")
        self.critic.requires_grad_(True)
        residual, log_prob = made.seen
        return _actor_figures(made.loss, residual) | self._step_temperature(log_prob)

    def _actor_loss(self, batch: Batch) -> tuple[Tensor, ...]:
        """The loss, the residual (B, k * A) and its log-probability (B,)."""
        observation, base_plan = batch["observation"], batch["base_plan"]
        seen = self._sights.of_actor(batch, "observation")
        sample = self.actor.sample(seen, base_plan, noise=batch.get("noise"))
        q = self.critic(observation, self._action_features(base_plan, sample.residual))
        q = losses.pessimistic(q, self.algo.actor_pessimism)
        loss = losses.actor_loss(
            q, sample.log_prob, self.temperature, sample.residual, self.algo.residual_penalty
        )
        return loss, sample.residual, sample.log_prob

    def _step_temperature(self, log_prob: Tensor) -> Figures:
        if self._temperature_optimizer is None:
            return {}
        loss = losses.temperature_loss(self.log_temperature, log_prob, self.target_entropy)
        self._temperature_optimizer.zero_grad()
        loss.backward()
        loss = self._ranks.average(self._temperature_optimizer, [loss])
        self._steps.step(self._temperature_optimizer, loss, "temperature", self.updates)
        return {"loss/temperature": lambda: loss, "temperature": lambda: self.temperature}

    def _track_targets(self) -> None:
        with torch.no_grad():
            for target, source in zip(self.target_critic.stack, self.critic.stack, strict=True):
                target.lerp_(source, TAU)
        if self._eyes is not None:
            self._eyes.track(TAU)

    def _action_features(self, base_plan: Tensor, residual: Tensor) -> Tensor:
        algo = self.algo
        executed = losses.executed_residual(base_plan, residual, self._residual_scale, algo.clip_action)
        return losses.critic_features(base_plan, executed, self._residual_scale, algo.critic_input)

    def _step(
        self,
        optimizer: torch.optim.Adam,
        batch: Batch,
        loss_of: Callable[[Batch], tuple[Tensor, ...]],
        clip: Callable[[float], object],
        network: str,
    ) -> "_Step":
        """A step along the gradient of the mean loss of a joint batch, of which `batch` is this rank's part.
        `loss_of` gives the loss, and what is to be seen of each row."""
        optimizer.zero_grad()
        pieces = []
        for piece in self._ranks.pieces(batch):
            with self._ranks.mixed_precision():
                loss, *seen = loss_of(piece)
            self._ranks.backward(loss)
            pieces.append((loss, *(column.detach() for column in seen)))
        piece_losses, *columns = zip(*pieces, strict=True)
        loss = self._ranks.average(optimizer, piece_losses)
        if self.algo.grad_clip is not None:
            clip(self.algo.grad_clip)
        self._steps.step(optimizer, loss, network, self.updates)
        return _Step(loss, [column[0] if len(column) == 1 else torch.cat(column) for column in columns])

    def _sampling_noise(self, rows: int) -> Tensor | None:
        """Of the actor's samples; None if it is deterministic."""
        return self._noise(rows) if self.actor.gaussian else None

    def _noise(self, rows: int) -> Tensor:
        """Of this rank's rows, an output of the actor each."""
        return self._ranks.own(self._randn(rows * self._ranks.size, self.actor.outputs))

    def _randn(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self._rng, device=self.device)

    def _clip_actor(self, limit: float) -> None:
        nn.utils.clip_grad_norm_(self.actor.stack, limit)

    def _clip_critics(self, limit: float) -> None:
        self.critic.clip_gradients(limit)
        if self._eyes is not None:
            self._eyes.clip_gradients(limit)


class _Step(NamedTuple):
    """What is to be seen of a step, without gradient."""

    loss: Tensor
    seen: list[Tensor]


def _actor_figures(loss: Tensor, residual: Tensor) -> Figures:
    return {
        "loss/actor": lambda: loss,
        "residual_size": lambda: residual.abs().mean(),
        "residual_at_bound": lambda: (residual.abs() > 0.95).float().mean(),
    }
