"""A behaviour transformer as a base: it plans one action at a time from the last observations."""

import hashlib

import torch
from torch import Tensor

from actor.policy.behaviour_transformer.dropout import DropoutOfRows, kept_numbers, none_dropped
from actor.policy.behaviour_transformer.network import TransformerAgent
from actor.policy.images import NO_IMAGES, Images
from actor.policy.noise import Keys
from actor.policy.tiles import in_tiles
from actor.policy.weights import fingerprint

# Rows at once on a CPU: of several, torch rounds the last in another way. The frames of one fill a product.
_TILE = 1


class BehaviourTransformerBase:
    """A frozen behaviour transformer.

    Args:
        dropout: share of the network's numbers that is dropped while it acts. The published code plays with
            the dropout of its training.
    """

    act_horizon = 1
    cameras: tuple[str, ...] = ()

    def __init__(self, agent: TransformerAgent, dropout: float, device: str) -> None:
        spec = agent.spec
        self.obs_horizon = spec.context_window
        self.observation_dim, self.action_dim = spec.obs_dim, spec.act_dim
        self.features_dim = spec.token_dim
        self.device = torch.device(device)
        self._agent = agent.to(self.device).eval().requires_grad_(False)
        self._dropout = dropout
        # The number of heads is not seen in the weights.
        decides = f"{fingerprint(agent)} {spec.n_heads} {dropout}"
        self.fingerprint = hashlib.sha256(decides.encode()).hexdigest()[:16]

    def plan(self, history: Tensor, keys: Keys, images: Images = NO_IMAGES) -> Tensor:
        """Next actions (B, 1, action_dim) for histories (B, context_window, obs_dim), not clipped."""
        if self._dropout == 0:
            return self._plan_of(self._without_dropout(history))
        kept = kept_numbers(keys, self._agent.spec.dropout_numbers, self._dropout)
        return self._plan_of(in_tiles(self._pass, self._here(history), kept.to(self.device), size=_TILE))

    def features(self, history: Tensor, images: Images = NO_IMAGES) -> Tensor:
        """The token that the heads read, (B, token_dim), without dropout: of the histories alone."""
        return self._without_dropout(history)[:, self.action_dim :]

    def plan_with_features(
        self, history: Tensor, keys: Keys, images: Images = NO_IMAGES
    ) -> tuple[Tensor, Tensor]:
        """As `plan`, and the features of the same histories."""
        plain = self._without_dropout(history)
        plan = self._plan_of(plain) if self._dropout == 0 else self.plan(history, keys)
        return plan, plain[:, self.action_dim :]

    def _without_dropout(self, history: Tensor) -> Tensor:
        return in_tiles(self._pass, self._here(history), size=_TILE)

    @torch.no_grad()
    def _pass(self, history: Tensor, kept: Tensor | None = None) -> Tensor:
        """Actions and tokens side by side, (B, action_dim + token_dim)."""
        dropout = none_dropped if kept is None else DropoutOfRows(kept, self._dropout)
        token = self._agent.token(history, dropout)
        return torch.cat([self._agent.action(token), token], dim=1)

    def _plan_of(self, passed: Tensor) -> Tensor:
        return passed[:, None, : self.action_dim]

    def _here(self, history: Tensor) -> Tensor:
        return history.to(self.device, torch.float32)
