"""The diffusion base's sampler as native code for CPUs: `unet.cpp`, built here for a given network.

Same function as the U-Net of `unet.py` under diffusers' scheduler, an order of magnitude faster for the
small batches and short horizons of a base policy, where a torch operator costs more than its arithmetic.
"""

from typing import cast, get_args

import numpy as np
import torch
from torch import Tensor, nn

from actor.policy.diffusion.ddim import PredictionType
from actor.policy.diffusion.network import DiffusionAgent
from actor.policy.diffusion.unet import ConvBlock, Downsample, FilmResidualBlock, Upsample, levels_of
from actor.policy.native.build import NativeError
from actor.policy.native.unet import library
from actor.policy.tiles import TILE, in_tiles

MARGIN = 4  # frames; as in unet.cpp
PREDICTIONS = get_args(PredictionType)  # in the order of unet.cpp


class NativeSampler:
    """DDIM over a frozen network, on the calling thread.

    Args:
        agent: on the CPU; later changes of its weights are not seen.
        steps: diffusion steps, first one first.
        weights: (steps, 4), see `ddim.step_weights`.

    Raises:
        NativeError: no compiler, or a network that this code does not cover.
    """

    @torch.no_grad()
    def __init__(self, agent: DiffusionAgent, steps: list[int], weights: list[tuple[float, ...]]) -> None:
        self._library = library()
        self._agent, self._spec = agent, agent.spec
        net = agent.noise_pred_net
        blocks = [module for module in net.modules() if isinstance(module, FilmResidualBlock)]
        self._film_at: dict[nn.Module, int] = {}
        encoders = [block.parts()[2] for block in blocks]
        size = 0
        for block, encoder in zip(blocks, encoders, strict=True):
            self._film_at[block] = size
            size += encoder.out_features
        self._handle = self._library.sampler_new(TILE, size)
        self._shapes: list[tuple[int, int]] = []
        self._prepare_film(encoders, steps)
        self._weights = np.ascontiguousarray(weights, np.float32)
        self._build()

    def __del__(self) -> None:
        if hasattr(self, "_handle"):
            self._library.sampler_free(self._handle)

    @torch.no_grad()
    def __call__(self, history: Tensor, noise: Tensor) -> Tensor:
        """Scaled actions (B, pred_horizon, act_dim).

        Args:
            history: unscaled observations (B, obs_horizon, obs_dim).
            noise: where sampling starts, shaped as the result.
        """
        films = in_tiles(self._films, history).contiguous()
        samples = noise.clone(memory_format=torch.contiguous_format)
        self._library.sampler_run(
            self._handle, self._input, self._output,
            samples.numpy(), len(samples), films.numpy(), self._film_of_step,
            self._weights, len(self._weights), PREDICTIONS.index(self._spec.prediction_type),
        )  # fmt: skip
        return samples

    def _films(self, history: Tensor) -> Tensor:
        observations = self._agent.scale_observation(history).flatten(1)
        odd = len(self._film_of_observations) - observations.shape[1]
        return torch.mm(
            nn.functional.mish(nn.functional.pad(observations, (0, odd))), self._film_of_observations
        )

    def _prepare_film(self, encoders: list[nn.Linear], steps: list[int]) -> None:
        """All FiLM encoders as one. Linear(mish([step, observations])) is a sum: the step's part is
        known now, the observations' part is the same for all steps of a plan."""
        weight = torch.cat([encoder.weight for encoder in encoders])
        bias = torch.cat([encoder.bias for encoder in encoders])
        embedded = nn.functional.mish(self._agent.noise_pred_net.diffusion_step_encoder(torch.tensor(steps)))
        width = embedded.shape[1]
        self._film_of_step = _array(embedded @ weight[:, :width].t() + bias)
        # An even number of columns: torch's mish takes 32 numbers at once and rounds a rest in another way.
        of_observations = nn.functional.pad(weight[:, width:], (0, (weight.shape[1] - width) % 2))
        self._film_of_observations = of_observations.t().contiguous()

    def _build(self) -> None:
        """The program: `ConditionalUnet1D.forward` once over."""
        net = self._agent.noise_pred_net
        value = self._input = self._new(self._spec.pred_horizon, self._spec.act_dim)
        skipped: list[int] = []
        for first, second, down in levels_of(net.down_modules):
            value = self._block(second, self._block(first, value))
            skipped.append(value)
            if isinstance(down, Downsample):
                value = self._conv(down.conv, value)
        for module in net.mid_modules:
            value = self._block(cast(FilmResidualBlock, module), value)
        for first, second, up in levels_of(net.up_modules):
            value = self._concatenate(value, skipped.pop())
            value = self._up(cast(Upsample, up).conv, self._block(second, self._block(first, value)))
        value = self._conv_block(cast(ConvBlock, net.final_conv[0]), value, -1)
        self._output = self._conv(cast(nn.Conv1d, net.final_conv[1]), value)

    def _new(self, frames: int, channels: int) -> int:
        self._shapes.append((frames, channels))
        return self._library.sampler_value(self._handle, frames, channels)

    def _block(self, block: FilmResidualBlock, value: int) -> int:
        first, second, _ = block.parts()
        hidden = self._conv_block(first, value, self._film_at[block])
        out = self._conv_block(second, hidden, -1)
        if isinstance(block.residual_conv, nn.Conv1d):
            self._conv(block.residual_conv, value, add_to=out)
        else:
            self._library.sampler_copy(self._handle, value, out, 0, 1)
        return out

    def _conv_block(self, block: ConvBlock, value: int, film: int) -> int:
        conv, norm = block.parts()
        out = self._conv(conv, value)
        self._library.sampler_norm(
            self._handle, out, norm.num_groups, norm.eps,
            _array(norm.weight), _array(norm.bias), film,
        )  # fmt: skip
        return out

    def _conv(self, conv: nn.Conv1d, value: int, add_to: int | None = None) -> int:
        (taps,), (stride,), padding = conv.kernel_size, conv.stride, int(conv.padding[0])
        count = (self._shapes[value][0] + 2 * padding - taps) // stride + 1
        out = self._new(count, conv.out_channels) if add_to is None else add_to
        weight = conv.weight.permute(2, 1, 0)
        self._product(value, out, count, weight, conv.bias, (-padding, stride), (0, 1), add_to)
        return out

    def _up(self, conv: nn.ConvTranspose1d, value: int) -> int:
        """Kernel 4, stride 2, padding 1: even and odd output frames are convolutions of two taps each."""
        frames = self._shapes[value][0]
        if (conv.kernel_size, conv.stride, conv.padding) != ((4,), (2,), (1,)):
            raise NativeError(f"no native code for an upsampling by {conv}")
        out = self._new(2 * frames, conv.out_channels)
        taps = conv.weight.permute(2, 0, 1)
        self._product(value, out, frames, taps[[3, 1]], conv.bias, (-1, 1), (0, 2), None)
        self._product(value, out, frames, taps[[2, 0]], conv.bias, (0, 1), (1, 2), None)
        return out

    def _concatenate(self, one: int, other: int) -> int:
        (frames, channels), (_, more) = self._shapes[one], self._shapes[other]
        out = self._new(frames, channels + more)
        self._library.sampler_copy(self._handle, one, out, 0, 0)
        self._library.sampler_copy(self._handle, other, out, channels, 0)
        return out

    def _product(
        self,
        value: int,
        out: int,
        count: int,
        weight: Tensor,
        bias: Tensor | None,
        reads: tuple[int, int],
        writes: tuple[int, int],
        add_to: int | None,
    ) -> None:
        """`weight` (taps, inputs, outputs); `reads` and `writes`: first frame, frames to the next."""
        taps, last = len(weight), reads[0] + (count - 1) * reads[1]
        if reads[0] < -MARGIN or last + taps > self._shapes[value][0] + MARGIN:
            raise NativeError(f"no native code for a kernel of {taps} frames")
        shift = _array(torch.zeros(weight.shape[-1]) if bias is None else bias)
        self._library.sampler_conv(
            self._handle, value, out, count, taps, *reads, *writes,
            _array(weight), shift, int(add_to is not None),
        )  # fmt: skip


def _array(tensor: Tensor) -> np.ndarray:
    return np.ascontiguousarray(tensor.detach().numpy(), np.float32)
