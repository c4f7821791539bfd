"""A diffusion policy as a base, sampled with DDIM."""

import logging
from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor

from actor.policy.checkpoint_file import reason
from actor.policy.contract import CheckpointError
from actor.policy.diffusion.ddim import DDIM
from actor.policy.diffusion.graphed import GraphedSampler, Sampler
from actor.policy.diffusion.native import NativeSampler
from actor.policy.diffusion.network import DiffusionAgent
from actor.policy.images import NO_IMAGES, Images
from actor.policy.native.build import NativeError
from actor.policy.noise import Keys, normal
from actor.policy.tiles import in_tiles
from actor.policy.weights import fingerprint

log = logging.getLogger(__name__)


class DiffusionBase:
    """A frozen diffusion policy.

    Args:
        native: sample in native code, on a CPU.
        cuda_graph: sample with CUDA graphs, on a GPU.

    Raises:
        CheckpointError: it predicts fewer actions than `act_horizon` asks for.
    """

    cameras: tuple[str, ...] = ()

    def __init__(
        self,
        agent: DiffusionAgent,
        act_horizon: int,
        inference_steps: int,
        device: str = "cpu",
        native: bool = False,
        cuda_graph: bool = False,
    ) -> None:
        self.spec = agent.spec
        last = self.spec.obs_horizon - 1 + act_horizon
        if last > self.spec.pred_horizon:
            raise CheckpointError(
                f"act_horizon={act_horizon} needs {last} predicted actions, this base predicts "
                f"{self.spec.pred_horizon}: set base.act_horizon to at most "
                f"{self.spec.pred_horizon - self.spec.obs_horizon + 1}"
            )
        self.obs_horizon = self.spec.obs_horizon
        self.observation_dim = self.spec.obs_dim
        self.action_dim = self.spec.act_dim
        self.control_mode = self.spec.control_mode
        self.act_horizon = act_horizon
        self._executed = slice(self.obs_horizon - 1, last)
        self.features_dim = self.obs_horizon * self.observation_dim
        self.device = torch.device(device)
        self._agent = agent.to(self.device).eval().requires_grad_(False)
        self._sampled_by = (inference_steps, device, native, cuda_graph)
        self._ddim = DDIM(self.spec.prediction_type, inference_steps)
        self.fingerprint = fingerprint(agent)
        self._sample = self._choose_sampler(native, cuda_graph)

    @torch.no_grad()
    def plan(self, history: Tensor, keys: Keys, images: Images = NO_IMAGES) -> Tensor:
        """Next actions (B, act_horizon, action_dim) for histories (B, obs_horizon, obs_dim)."""
        return self._plan(history, self._drawn(keys))

    def initial_noise(self, keys: Keys) -> Tensor:
        """Where sampling starts in the frames that are executed, (B, act_horizon, action_dim)."""
        return self._drawn(keys)[:, self._executed]

    @torch.no_grad()
    def plan_from(self, history: Tensor, keys: Keys, noise: Tensor) -> Tensor:
        """As `plan`, from other noise (B, act_horizon, action_dim) in the frames that are executed."""
        drawn = self._drawn(keys)
        drawn[:, self._executed] = noise.to(self.device, torch.float32)
        return self._plan(history, drawn)

    @torch.no_grad()
    def features(self, history: Tensor, images: Images = NO_IMAGES) -> Tensor:
        """What the network is conditioned on, (B, obs_horizon * obs_dim), however it is sampled."""
        return self._agent.condition(history.to(self.device, torch.float32))

    def plan_with_features(
        self, history: Tensor, keys: Keys, images: Images = NO_IMAGES
    ) -> tuple[Tensor, Tensor]:
        """As `plan`, and the features of the same histories."""
        return self.plan(history, keys), self.features(history)

    def weights(self) -> Mapping[str, Tensor]:
        """Of network and scaling."""
        return self._agent.state_dict()

    def with_weights(self, weights: Mapping[str, Tensor]) -> "DiffusionBase":
        """The same base with other weights, which are copied.
        Raises CheckpointError: they do not fit."""
        agent = DiffusionAgent(self.spec)
        try:
            agent.load_state_dict(weights)
        except RuntimeError as error:
            raise CheckpointError(f"weights of another network: {reason(error)}") from error
        return DiffusionBase(agent, self.act_horizon, *self._sampled_by)

    def _drawn(self, keys: Keys) -> Tensor:
        """Noise of all predicted frames (B, pred_horizon, action_dim)."""
        frames = self.spec.pred_horizon
        drawn = torch.from_numpy(normal(keys, frames * self.action_dim)).to(self.device)
        return drawn.view(-1, frames, self.action_dim)

    def _plan(self, history: Tensor, noise: Tensor) -> Tensor:
        sample = self._sample(history.to(self.device, torch.float32), noise)
        return self._agent.unscale_action(sample[:, self._executed])

    def _choose_sampler(self, native: bool, cuda_graph: bool) -> Sampler:
        # Torch's mish takes 32 numbers at once and rounds a rest in another way.
        eager = partial(in_tiles, self._sample_with_torch, size=32)
        match self.device.type:
            case "cpu" if native:
                return self._native_sampler() or eager
            case "cuda" if cuda_graph:
                return GraphedSampler(self._sample_with_torch)
            case _:
                return eager

    def _sample_with_torch(self, history: Tensor, noise: Tensor) -> Tensor:
        sample = noise
        for step in self._ddim.steps:
            # Filled in on the device: a captured graph can copy nothing from here.
            on_device = torch.full((), step, device=sample.device)
            prediction = self._agent.predict(sample, on_device, history)
            sample = self._ddim.next_sample(prediction, step, sample)
        return sample

    def _native_sampler(self) -> NativeSampler | None:
        steps = self._ddim.steps
        try:
            return NativeSampler(self._agent, steps, [self._ddim.step_weights(step) for step in steps])
        except NativeError as error:
            log.warning("base plans with torch, several times slower than native code: %s", error)
            return None
