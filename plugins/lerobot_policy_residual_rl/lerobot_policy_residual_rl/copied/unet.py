"""The conditional 1-D U-Net of diffusion policy, with the parameter names of published checkpoints.

Architecture: Chi et al., "Diffusion Policy" (arXiv 2303.04137), in the form that Policy Decorator
(arXiv 2412.13630) trains: FiLM with scale and bias, two halvings and two doublings of time.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import cast

import torch
from torch import Tensor, nn


class SinusoidalStep(nn.Module):
    """Diffusion step (B,) -> (B, width), half sines and half cosines."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, step: Tensor) -> Tensor:
        half = self.width // 2
        exponent = torch.arange(half, device=step.device) * (-math.log(10000.0) / (half - 1))
        angle = step.float()[:, None] * torch.exp(exponent)[None]
        return torch.cat([angle.sin(), angle.cos()], dim=-1)


class ConvBlock(nn.Module):
    """Convolution over time, GroupNorm, Mish: (B, C, T) -> (B, C', T)."""

    def __init__(self, inputs: int, outputs: int, kernel: int, groups: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.Conv1d(inputs, outputs, kernel, padding=kernel // 2), nn.GroupNorm(groups, outputs), nn.Mish()
        )

    def parts(self) -> tuple[nn.Conv1d, nn.GroupNorm]:
        """Convolution and norm."""
        return cast(nn.Conv1d, self.block[0]), cast(nn.GroupNorm, self.block[1])

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x)


class FilmResidualBlock(nn.Module):
    """Two convolutions; the condition scales and shifts the values between them."""

    def __init__(self, inputs: int, outputs: int, condition: int, kernel: int, groups: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            [ConvBlock(inputs, outputs, kernel, groups), ConvBlock(outputs, outputs, kernel, groups)]
        )
        self.cond_encoder = nn.Sequential(
            nn.Mish(), nn.Linear(condition, 2 * outputs), nn.Unflatten(-1, (-1, 1))
        )
        self.residual_conv = nn.Conv1d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def parts(self) -> tuple[ConvBlock, ConvBlock, nn.Linear]:
        """Both convolutions and the condition's linear layer."""
        first, second = (cast(ConvBlock, block) for block in self.blocks)
        return first, second, cast(nn.Linear, self.cond_encoder[1])

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        scale, bias = self.cond_encoder(condition).chunk(2, dim=1)
        hidden = scale * self.blocks[0](x) + bias
        return self.blocks[1](hidden) + self.residual_conv(x)


class Downsample(nn.Module):
    """Halves time."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(channels, channels, 3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class Upsample(nn.Module):
    """Doubles time."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose1d(channels, channels, 4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


Level = tuple[FilmResidualBlock, FilmResidualBlock, nn.Module]
"""Two blocks and a change of the number of frames."""


def levels_of(modules: nn.ModuleList) -> Iterator[Level]:
    """The levels of `down_modules` or `up_modules`."""
    return (cast(Level, tuple(cast(nn.ModuleList, level))) for level in modules)


class ConditionalUnet1D(nn.Module):
    """Noisy action chunk (B, pred_horizon, action_dim) -> prediction of the same shape.

    Args:
        condition_dim: numbers of the flattened observation history.
        down_dims: channels of each level; time halves between levels.
        step_dim: width of the diffusion step's embedding.
    """

    def __init__(
        self,
        action_dim: int,
        condition_dim: int,
        step_dim: int = 64,
        down_dims: Sequence[int] = (64, 128, 256),
        kernel_size: int = 5,
        n_groups: int = 8,
    ) -> None:
        super().__init__()
        self.diffusion_step_encoder = nn.Sequential(
            SinusoidalStep(step_dim),
            nn.Linear(step_dim, 4 * step_dim),
            nn.Mish(),
            nn.Linear(4 * step_dim, step_dim),
        )
        condition = step_dim + condition_dim
        levels = list(itertools.pairwise([action_dim, *down_dims]))

        def block(inputs: int, outputs: int) -> FilmResidualBlock:
            return FilmResidualBlock(inputs, outputs, condition, kernel_size, n_groups)

        self.mid_modules = nn.ModuleList([block(down_dims[-1], down_dims[-1]) for _ in range(2)])
        self.down_modules = nn.ModuleList(
            nn.ModuleList(
                [
                    block(inputs, outputs),
                    block(outputs, outputs),
                    Downsample(outputs) if depth < len(levels) - 1 else nn.Identity(),
                ]
            )
            for depth, (inputs, outputs) in enumerate(levels)
        )
        self.up_modules = nn.ModuleList(
            nn.ModuleList([block(2 * outputs, inputs), block(inputs, inputs), Upsample(inputs)])
            for inputs, outputs in reversed(levels[1:])
        )
        self.final_conv = nn.Sequential(
            ConvBlock(down_dims[0], down_dims[0], kernel_size, n_groups),
            nn.Conv1d(down_dims[0], action_dim, 1),
        )

    def forward(self, sample: Tensor, timestep: Tensor | int, global_cond: Tensor) -> Tensor:
        step = torch.as_tensor(timestep, device=sample.device).expand(sample.shape[0])
        condition = torch.cat([self.diffusion_step_encoder(step), global_cond], dim=-1)
        x = sample.transpose(1, 2)
        skipped: list[Tensor] = []
        for first, second, down in levels_of(self.down_modules):
            x = second(first(x, condition), condition)
            skipped.append(x)
            x = down(x)
        for module in self.mid_modules:
            x = module(x, condition)
        for first, second, up in levels_of(self.up_modules):
            x = torch.cat([x, skipped.pop()], dim=1)
            x = up(second(first(x, condition), condition))
        return self.final_conv(x).transpose(1, 2)
