"""An ensemble of Q networks in one stacked product."""

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
    """Q(s, a) of N members: observation (B, O), action features (B, F) -> (N, B)."""

    observation_mean: Tensor
    observation_scale: Tensor

    def __init__(self, algo: AlgoConfig, observation_dim: int, action_features: int) -> None:
        super().__init__()
        self.members = algo.critics
        self.register_buffer("observation_mean", torch.zeros(observation_dim))
        self.register_buffer("observation_scale", torch.ones(observation_dim))
        layers: list[nn.Module] = []
        width = observation_dim + action_features
        for hidden in algo.hidden:
            layers.append(StackedLinear(self.members, width, hidden))
            if algo.critic_layer_norm:
                layers.append(StackedLayerNorm(self.members, hidden))
            layers.append(nn.ReLU())
            width = hidden
        layers.append(StackedLinear(self.members, width, 1))
        self.layers = nn.ModuleList(layers)
        self.stack = list(self.layers.parameters())
        widths = (observation_dim + action_features, *algo.hidden, 1)
        self._native = Perceptrons(widths, normed=algo.critic_layer_norm, by_output=False)

    def forward(self, observation: Tensor, action: Tensor, members: Tensor | None = None) -> Tensor:
        """Q of all members, or of those with these numbers (M,): (M, B)."""
        seen = Seen(observation, self.observation_mean, self.observation_scale, action)
        if self._native.apply_to(seen, self.stack):
            out = self._native(seen, self.stack, members)
        else:
            out = self._with_torch(observation, action, slice(None) if members is None else members)
        return out.squeeze(-1)

    def clip_gradients(self, limit: float) -> None:
        """Scale the gradient of each member to a norm of at most `limit`.

        As `torch.nn.utils.clip_grad_norm_` on each member alone.
        """
        gradients = [parameter.grad for parameter in self.stack if parameter.grad is not None]
        norm = torch.stack([gradient.square().sum((1, 2)) for gradient in gradients]).sum(0).sqrt()
        share = (limit / (norm + 1e-6)).clamp(max=1)[:, None, None]
        for gradient in gradients:
            gradient.mul_(share)

    def _with_torch(self, observation: Tensor, action: Tensor, members: Tensor | slice) -> Tensor:
        x = (observation - self.observation_mean) * self.observation_scale
        out = torch.cat([x, action], dim=-1).expand(len(self.stack[1][members]), -1, -1)
        for layer in self.layers:
            out = layer(out) if isinstance(layer, nn.ReLU) else layer(out, members)
        return out.float()
