"""Any LeRobot policy as a frozen base.

LeRobot's policies keep one queue for the whole batch and do not know sub-environments. So nothing is kept
in them here: histories and cursors are the caller's, and the queues of those policies that read them
(diffusion, vqbet, tdmpc) are filled anew from the histories before each plan.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import torch
from lerobot.configs.policies import PreTrainedConfig
from lerobot.configs.types import FeatureType
from lerobot.policies.utils import populate_queues
from lerobot.utils.constants import ACTION, OBS_IMAGE, OBS_IMAGES
from torch import Tensor

from actor.policy.contract import CheckpointError
from actor.policy.images import NO_IMAGES, Images
from config.base import LeRobotBaseConfig


def image_features(config: PreTrainedConfig) -> dict[str, Any]:
    """What the policy wants to see. Not config.image_features: gaussian_actor's are a list of names."""
    features = config.input_features or {}
    return {name: feature for name, feature in features.items() if feature.type is FeatureType.VISUAL}


class LeRobotBase:
    """A LeRobot policy with its processors, under the contract of `BasePolicy`."""

    def __init__(
        self,
        policy: Any,
        processors: tuple[Any, Any],
        fields: dict[str, tuple[int, int]],
        settings: LeRobotBaseConfig,
        *,
        observation_dim: int,
        feature_cameras: dict[str, str],
        device: str,
        seed: int,
    ) -> None:
        self._policy = policy.to(device).eval().requires_grad_(False)
        self._before, self._after = processors
        self._fields, self._settings, self._feature_cameras = fields, settings, feature_cameras
        self.cameras = tuple(sorted(set(feature_cameras.values())))
        self._device = torch.device(device)
        self.obs_horizon = policy.config.n_obs_steps
        self.act_horizon = settings.act_horizon
        self.action_dim = policy.config.output_features[ACTION].shape[0]
        self.observation_dim = observation_dim
        self.fingerprint = _fingerprint(policy, processors)
        self._call: Callable[[dict[str, Any]], Tensor] = policy.predict_action_chunk
        if policy.config.type == "tdmpc":
            self._call = lambda batch: _tdmpc_chunk(policy, batch)
        self.reseed(seed)
        self._check_chunk()
        self.reseed(seed)

    def reseed(self, seed: int) -> None:
        """Restart the sampling noise, for evaluations that must compare."""
        with self._own_randomness():
            torch.manual_seed(seed)
            self._random_state = self._random_states()

    @torch.no_grad()
    def plan(self, history: Tensor, images: Images = NO_IMAGES) -> Tensor:
        """Next actions (B, act_horizon, action_dim) for histories (B, obs_horizon, observation_dim), and
        images u1 (B, obs_horizon, height, width, 3) of its cameras."""
        # LeRobot's queues are the batch's, ours are the sub-environments': none of them may survive.
        self._policy.reset()
        batch: dict[str, Any] = {}
        for frame in range(history.shape[1]):
            shown = {camera: images[camera][:, frame] for camera in self.cameras}
            batch = self._processed(history[:, frame].to(self._device, torch.float32), shown)
            if isinstance(getattr(self._policy, "_queues", None), dict):
                self._policy._queues = populate_queues(self._policy._queues, batch)
        with self._own_randomness():
            self._set_random_states(self._random_state)
            actions = self._call(batch)
            self._random_state = self._random_states()
        self._policy.reset()
        # The chunk as a whole: actions relative to the state are relative to that of their row.
        return self._after(actions[:, : self.act_horizon]).to(self._device, torch.float32)

    def _processed(self, observation: Tensor, images: Images) -> dict[str, Any]:
        batch: dict[str, Any] = {
            name: observation[:, first:end] for name, (first, end) in self._fields.items()
        }
        for name, camera in self._feature_cameras.items():
            # As LeRobot reads them from a dataset: channels first, in [0, 1].
            batch[name] = images[camera].to(self._device).movedim(-1, -3).contiguous() / 255
        processed = self._before(batch | {"task": [self._settings.instruction] * len(observation)})
        # The pipeline adds an empty action, which policies with queues would take for one.
        processed = {name: value for name, value in processed.items() if name != ACTION}
        return processed | self._image_queues(processed)

    def _image_queues(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Images once more, as those policies want them that keep them in queues."""
        queues = getattr(self._policy, "_queues", None)
        if not self._feature_cameras or not isinstance(queues, dict):
            return {}
        features = [batch[name] for name in self._feature_cameras]
        stacked = {OBS_IMAGES: torch.stack(features, dim=-4), OBS_IMAGE: features[0]}
        return {name: value for name, value in stacked.items() if name in queues}

    def _check_chunk(self) -> None:
        """One plan, so that what does not fit is said now; raises CheckpointError."""
        probe = torch.zeros(1, self.obs_horizon, self.observation_dim)
        shapes = {self._feature_cameras[n]: f.shape for n, f in image_features(self._policy.config).items()}
        pictures = {
            camera: torch.zeros(1, self.obs_horizon, height, width, 3, dtype=torch.uint8)
            for camera, (_, height, width) in shapes.items()
        }
        path, kind = self._settings.path, self._policy.config.type
        try:
            planned = self.plan(probe, pictures).shape
        except NotImplementedError:
            # One action at a time (gaussian_actor): a plan of one.
            self._call = lambda batch: self._policy.select_action(batch)[:, None]
            planned = self.plan(probe, pictures).shape
        if planned[1] < self.act_horizon:
            raise CheckpointError(
                f"base {path}, a {kind} policy, plans {planned[1]} actions, base.act_horizon asks for "
                f"{self.act_horizon}: set base.act_horizon to at most {planned[1]}"
            )
        if planned[2] != self.action_dim:
            raise CheckpointError(
                f"base {path}, a {kind} policy, gives {planned[2]} action numbers, its config.json says "
                f"{self.action_dim}"
            )

    def _own_randomness(self):
        """LeRobot samples from torch's global generators: leave them as they were."""
        devices = [self._device] if self._device.type == "cuda" else []
        return torch.random.fork_rng(devices)

    def _random_states(self) -> list[Tensor]:
        states = [torch.get_rng_state()]
        return [*states, torch.cuda.get_rng_state(self._device)] if self._device.type == "cuda" else states

    def _set_random_states(self, states: list[Tensor]) -> None:
        torch.set_rng_state(states[0])
        if len(states) > 1:
            torch.cuda.set_rng_state(states[1], self._device)


def _tdmpc_chunk(policy: Any, batch: dict[str, Any]) -> Tensor:
    """Plans (B, T, A): this one policy returns (T, B, A), and its select_action may repeat the first one."""
    actions = policy.predict_action_chunk(batch)
    repeats = policy.config.n_action_repeats
    return (actions if repeats == 1 else actions[:1].repeat(repeats, 1, 1)).transpose(0, 1)


def _fingerprint(policy: Any, processors: tuple[Any, Any]) -> str:
    """Hash of the policy's weights and the processors' statistics."""
    digest = hashlib.sha256(policy.config.type.encode())
    parts = [policy.state_dict(), *(step.state_dict() for pipeline in processors for step in pipeline.steps)]
    for part in parts:
        for name, value in sorted(part.items()):
            digest.update(name.encode())
            digest.update(value.detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
