"""The value of an observation."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from actor.policy.native.perceptrons import Perceptrons, Seen


class ValueNetwork(nn.Module):
    """Observation (B, O) -> value (B,), in deviations of the returns."""

    observation_mean: Tensor
    observation_scale: Tensor

    def __init__(self, hidden: Sequence[int], observation_dim: int) -> None:
        super().__init__()
        self.register_buffer("observation_mean", torch.zeros(observation_dim))
        self.register_buffer("observation_scale", torch.ones(observation_dim))
        widths = (observation_dim, *hidden, 1)
        layers: list[nn.Module] = []
        for inputs, outputs in zip(widths, widths[1:], strict=False):
            layers += [nn.Linear(inputs, outputs), nn.ReLU()]
        self.layers = nn.Sequential(*layers[:-1])
        self.stack = list(self.layers.parameters())
        self._native = Perceptrons(widths, normed=False, by_output=True)

    def forward(self, observation: Tensor) -> Tensor:
        seen = Seen(observation, self.observation_mean, self.observation_scale, None)
        if self._native.apply_to(seen, self.stack):
            return self._native(seen, self.stack)[0, :, 0]
        return self.layers((observation - self.observation_mean) * self.observation_scale)[:, 0]
