"""The frozen base: a diffusion policy in the published checkpoint layout, sampled with DDIM.

A checkpoint is a folder with `args.json` (the training arguments) and `checkpoints/best.pt`, a dict
`{"agent": state_dict, "ema_agent": state_dict}`. Two keys of `args.json` go beyond the published
layout and default to it: `prediction_type` ("epsilon") and `normalize` (false; true keeps the
demonstrations' ranges as buffers beside the network and scales both ends to [-1, 1]).
"""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from torch import Tensor, nn

from actor.policy.diffusion.graphed import GraphedSampler, Sampler
from actor.policy.native.sampler import NativeSampler
from actor.policy.diffusion.unet import ConditionalUnet1D
from actor.policy.images import NO_IMAGES, Images
from actor.policy.native.build import NativeError

log = logging.getLogger(__name__)

TRAIN_STEPS = 100


class CheckpointError(ValueError):
    """A base checkpoint that cannot be used; the message says which, why and what to do."""


@dataclass(frozen=True)
class DiffusionSpec:
    """What `args.json` says of the network; names as in published checkpoints."""

    env_id: str
    control_mode: str
    obs_dim: int
    act_dim: int
    obs_horizon: int
    pred_horizon: int
    diffusion_step_embed_dim: int
    unet_dims: tuple[int, ...]
    n_groups: int
    prediction_type: str = "epsilon"
    normalize: bool = False


class DiffusionAgent(nn.Module):
    """Network and scaling; the part that is trained and saved."""

    def __init__(self, spec: DiffusionSpec) -> None:
        super().__init__()
        self.spec = spec
        self.noise_pred_net = ConditionalUnet1D(
            action_dim=spec.act_dim,
            condition_dim=spec.obs_horizon * spec.obs_dim,
            step_dim=spec.diffusion_step_embed_dim,
            down_dims=spec.unet_dims,
            n_groups=spec.n_groups,
        )
        if spec.normalize:
            for name, size in (("obs", spec.obs_dim), ("action", spec.act_dim)):
                self.register_buffer(f"{name}_center", torch.zeros(size))
                self.register_buffer(f"{name}_half_range", torch.ones(size))

    def scale_observation(self, observation: Tensor) -> Tensor:
        if not self.spec.normalize:
            return observation
        # Clipped: a state outside the demonstrations must not blow the condition up.
        return ((observation - self.obs_center) / self.obs_half_range).clamp(-1.5, 1.5)

    def scale_action(self, action: Tensor) -> Tensor:
        return (action - self.action_center) / self.action_half_range if self.spec.normalize else action

    def unscale_action(self, action: Tensor) -> Tensor:
        return action * self.action_half_range + self.action_center if self.spec.normalize else action

    def predict(self, noisy: Tensor, step: Tensor | int, history: Tensor) -> Tensor:
        """Prediction (B, pred_horizon, act_dim) for noisy scaled actions.

        Args:
            history: unscaled observations (B, obs_horizon, obs_dim), oldest first.
        """
        condition = self.scale_observation(history).flatten(1)
        return self.noise_pred_net(noisy, step, condition)


class DiffusionBase:
    """A frozen diffusion policy as a base: observation histories in, plans out."""

    cameras = ()

    def __init__(
        self,
        agent: DiffusionAgent,
        act_horizon: int,
        inference_steps: int,
        device: str = "cpu",
        seed: int = 0,
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
        self.device = torch.device(device)
        self._agent = agent.to(self.device).eval().requires_grad_(False)
        self._scheduler = make_scheduler(self.spec.prediction_type)
        self._scheduler.set_timesteps(inference_steps)
        self._generator = torch.Generator(self.device).manual_seed(seed)
        self.fingerprint = fingerprint(agent)
        self._sample = self._choose_sampler(native, cuda_graph)

    def reseed(self, seed: int) -> None:
        """Restart the sampling noise, for evaluations that must compare."""
        self._generator.manual_seed(seed)

    @torch.no_grad()
    def plan(self, history: Tensor, images: Images = NO_IMAGES) -> Tensor:
        """Next actions (B, act_horizon, action_dim) for histories (B, obs_horizon, obs_dim)."""
        history = history.to(self.device, torch.float32)
        sample = torch.randn(
            (history.shape[0], self.spec.pred_horizon, self.action_dim),
            generator=self._generator,
            device=self.device,
        )
        first = self.obs_horizon - 1
        return self._agent.unscale_action(self._sample(history, sample)[:, first : first + self.act_horizon])

    def _choose_sampler(self, native: bool, cuda_graph: bool) -> Sampler:
        match self.device.type:
            case "cpu" if native:
                return self._native_sampler() or self._sample_with_torch
            case "cuda" if cuda_graph:
                return GraphedSampler(self._sample_with_torch)
            case _:
                return self._sample_with_torch

    def _sample_with_torch(self, history: Tensor, noise: Tensor) -> Tensor:
        sample = noise
        for step in self._scheduler.timesteps.tolist():
            # Filled in where it is: a graph that is captured can copy nothing from here.
            on_device = torch.full((), step, device=sample.device)
            prediction = self._agent.predict(sample, on_device, history)
            sample = self._scheduler.step(prediction, step, sample).prev_sample
        return sample

    def _native_sampler(self) -> NativeSampler | None:
        steps = self._scheduler.timesteps.tolist()
        try:
            return NativeSampler(self._agent, steps, [step_weights(self._scheduler, step) for step in steps])
        except NativeError as error:
            log.warning("base plans with torch, several times slower than native code: %s", error)
            return None


def make_scheduler(prediction_type: str) -> DDIMScheduler:
    """The sampler of Policy Decorator: DDIM over the 100 cosine betas of training."""
    return DDIMScheduler(
        num_train_timesteps=TRAIN_STEPS,
        beta_schedule="squaredcos_cap_v2",
        clip_sample=True,
        prediction_type=prediction_type,
    )


def step_weights(scheduler: DDIMScheduler, step: int) -> tuple[float, float, float, float]:
    """Square roots of alpha and 1 - alpha of a sampler's step, then of the step after it.

    DDIM without noise (Song et al. 2021, eq. 12): sample = a * clean + b * noise, next sample =
    c * clean + d * noise.
    """
    following = step - scheduler.config["num_train_timesteps"] // scheduler.num_inference_steps
    now = scheduler.alphas_cumprod[step].item()
    then = (scheduler.final_alpha_cumprod if following < 0 else scheduler.alphas_cumprod[following]).item()
    return now**0.5, (1 - now) ** 0.5, then**0.5, (1 - then) ** 0.5


def fingerprint(agent: nn.Module) -> str:
    """Hash of all weights: 16 hex digits that both sides of the wire compare."""
    digest = hashlib.sha256()
    for name, value in sorted(agent.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def load_agent(folder: Path) -> DiffusionAgent:
    """The agent of a checkpoint folder; EMA weights where there are any; strict.

    Raises:
        CheckpointError: no such folder, unreadable file, or weights that do not fit `args.json`.
    """
    arguments = _read_arguments(folder / "args.json")
    weights = _read_weights(folder / "checkpoints" / "best.pt")
    agent = DiffusionAgent(_spec(arguments, weights, folder))
    try:
        agent.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        raise CheckpointError(
            f"base checkpoint {folder}: weights do not fit its args.json: {error}"
        ) from error
    return agent


def save_agent(
    folder: Path, agent: nn.Module, ema_agent: DiffusionAgent, arguments: dict[str, Any], name: str = "best"
) -> None:
    """Write args.json and checkpoints/<name>.pt, each file beside its place and renamed over it."""
    spec = asdict(ema_agent.spec) | {"unet_dims": list(ema_agent.spec.unet_dims)}
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    fresh = folder / "args.json.new"
    fresh.write_text(json.dumps(arguments | spec, indent=2, sort_keys=True) + "\n")
    fresh.rename(folder / "args.json")
    fresh = folder / "checkpoints" / f"{name}.pt.new"
    torch.save({"agent": agent.state_dict(), "ema_agent": ema_agent.state_dict()}, fresh)
    fresh.rename(folder / "checkpoints" / f"{name}.pt")


def _read_arguments(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise CheckpointError(
            f"no base checkpoint at {path.parent}: {path.name} is missing. "
            "base.path must be a folder with args.json and checkpoints/best.pt"
        )
    try:
        return json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path} is not JSON: {error}") from error


def _read_weights(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise CheckpointError(f"base checkpoint without weights: {path} is missing")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises a dozen kinds for what is not a checkpoint
        raise CheckpointError(f"{path} is not a readable checkpoint: {error}") from error
    for key in ("ema_agent", "agent"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            return content[key]
    raise CheckpointError(f"{path} holds neither 'ema_agent' nor 'agent': not a base checkpoint")


def _spec(arguments: dict[str, Any], weights: dict[str, Tensor], folder: Path) -> DiffusionSpec:
    """The network's sizes; observation and action dims are read off the weights themselves."""
    try:
        obs_horizon = int(arguments["obs_horizon"])
        step_dim = int(arguments["diffusion_step_embed_dim"])
        unet_dims = tuple(int(n) for n in arguments["unet_dims"])
        condition = weights["noise_pred_net.mid_modules.0.cond_encoder.1.weight"].shape[1]
        return DiffusionSpec(
            env_id=str(arguments.get("env_id", "")),
            control_mode=str(arguments["control_mode"]),
            obs_dim=(condition - step_dim) // obs_horizon,
            act_dim=weights["noise_pred_net.final_conv.1.weight"].shape[0],
            obs_horizon=obs_horizon,
            pred_horizon=int(arguments["pred_horizon"]),
            diffusion_step_embed_dim=step_dim,
            unet_dims=unet_dims,
            n_groups=int(arguments["n_groups"]),
            prediction_type=str(arguments.get("prediction_type", "epsilon")),
            normalize=bool(arguments.get("normalize", False)),
        )
    except KeyError as error:
        raise CheckpointError(f"base checkpoint {folder}: {error} is missing") from error
