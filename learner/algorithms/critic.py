"""An ensemble of Q networks in one stacked product."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from actor.policy.native.perceptrons import Perceptrons, Seen
from config.algo import AlgoConfig


class StackedLinear(nn.Module):
    """N linear layers: (N, B, inputs) -> (N, B, outputs), initialised like torch's own."""

    def __init__(self, members: int, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = inputs**-0.5
        self.weight = nn.Parameter(torch.empty(members, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(members, 1, outputs).uniform_(-bound, bound))

    def forward(self, x: Tensor, members: Tensor | slice = slice(None)) -> Tensor:
        return torch.baddbmm(self.bias[members], x, self.weight[members])


class StackedLayerNorm(nn.Module):
    """Layer norm with a scale and a bias for every member."""

    def __init__(self, members: int, width: int) -> None:
        super().__init__()
        self.width = (width,)
        self.scale = nn.Parameter(torch.ones(members, 1, width))
        self.bias = nn.Parameter(torch.zeros(members, 1, width))

    def forward(self, x: Tensor, members: Tensor | slice = slice(None)) -> Tensor:
        return torch.addcmul(self.bias[members], nn.functional.layer_norm(x, self.width), self.scale[members])


class CriticEnsemble(nn.Module):
    """Q(s, a) of N members: observation (B, O), action features (B, F) -> (N, B).

    With `critic_input: linear` the features are base plan and residual, half each, and
    Q = V(s, base plan) + w(s, base plan) . residual: the first-order expansion around the base's
    action. A residual is small, so little is lost; and its effect, a hundredth of the variance of
    Q, is then a readout of its own, where a plain network would have to find the product of
    residual and state by itself.
    """

    def __init__(self, algo: AlgoConfig, observation_dim: int, action_features: int) -> None:
        super().__init__()
        self.members = algo.critics
        self.linear_in = action_features // 2 if algo.critic_input == "linear" else 0
        self.register_buffer("observation_mean", torch.zeros(observation_dim))
        self.register_buffer("observation_scale", torch.ones(observation_dim))
        layers: list[nn.Module] = []
        width = observation_dim + action_features - self.linear_in
        for hidden in algo.hidden:
            layers.append(StackedLinear(self.members, width, hidden))
            if algo.critic_layer_norm:
                layers.append(StackedLayerNorm(self.members, hidden))
            layers.append(nn.ReLU())
            width = hidden
        layers.append(StackedLinear(self.members, width, 1 + self.linear_in))
        if self.linear_in:
            # No residual is worth anything until data says so.
            nn.init.zeros_(layers[-1].weight[..., 1:])  # type: ignore[index]
            nn.init.zeros_(layers[-1].bias[..., 1:])  # type: ignore[index]
        self.layers = nn.ModuleList(layers)
        self.stack = list(self.layers.parameters())
        inputs = observation_dim + action_features - self.linear_in
        self._native = Perceptrons(
            (inputs, *algo.hidden, 1 + self.linear_in), normed=algo.critic_layer_norm, by_output=False
        )

    def forward(self, observation: Tensor, action: Tensor, members: Tensor | None = None) -> Tensor:
        """Q of all members, or of those with these numbers (M,): (M, B)."""
        rest = action[:, : action.shape[1] - self.linear_in]
        seen = Seen(observation, self.observation_mean, self.observation_scale, rest)  # type: ignore[arg-type]
        if self._native.apply_to(seen, self.stack):
            out = self._native(seen, self.stack, members)
        else:
            out = self._with_torch(observation, rest, slice(None) if members is None else members)
        if not self.linear_in:
            return out.squeeze(-1)
        return out[..., 0] + (out[..., 1:] * action[:, self.linear_in :]).sum(-1)

    def _with_torch(self, observation: Tensor, rest: Tensor, members: Tensor | slice) -> Tensor:
        x = (observation - self.observation_mean) * self.observation_scale
        out = torch.cat([x, rest], dim=-1).expand(len(self.layers[0].bias[members]), -1, -1)
        for layer in self.layers:
            out = layer(out) if isinstance(layer, nn.ReLU) else layer(out, members)
        return out
