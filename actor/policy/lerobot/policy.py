"""Any LeRobot policy as a frozen base.

LeRobot's policies keep one queue for the whole batch and do not know sub-environments. So they keep nothing
between two plans here: the caller has the histories, and the queues of policies that read them (diffusion,
vqbet, tdmpc) are filled from the histories before each plan.
"""

import contextlib
import copy
import hashlib
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from typing import Any

import torch
from lerobot.configs.policies import PreTrainedConfig
from lerobot.configs.types import FeatureType
from lerobot.policies.utils import populate_queues
from lerobot.utils.constants import ACTION, OBS_IMAGE, OBS_IMAGES
from torch import Tensor

from actor.policy.checkpoint_file import reason
from actor.policy.contract import CheckpointError
from actor.policy.images import NO_IMAGES, Images
from actor.policy.lerobot.features.hooks import HOOKS
from actor.policy.noise import Keys, Use, keys_at, normal
from actor.policy.weights import Weights, require_finite
from config.base import LeRobotBaseConfig, Ranges

# Kinds whose `predict_action_chunk` takes the noise that sampling starts from, and its shape.
NOISE_SHAPES: dict[str, Callable[[Any], tuple[int, int]]] = {
    "diffusion": lambda config: (config.horizon, config.action_feature.shape[0]),
    "pi0": lambda config: (config.chunk_size, config.max_action_dim),
    "pi05": lambda config: (config.chunk_size, config.max_action_dim),
    "smolvla": lambda config: (config.chunk_size, config.max_action_dim),
}


def image_features(config: PreTrainedConfig) -> dict[str, Any]:
    """The policy's image inputs. Not config.image_features, which is a list of names for gaussian_actor."""
    features = config.input_features or {}
    return {name: feature for name, feature in features.items() if feature.type is FeatureType.VISUAL}


def state_features(observation: Tensor, fields: dict[str, Ranges]) -> dict[str, Tensor]:
    """A policy's features (..., dim) of a task's observations (..., O)."""
    return {
        name: torch.cat([observation[..., first:end] for first, end in ranges], dim=-1)
        for name, ranges in fields.items()
    }


class _Found(BaseException):
    """Ends a plan of which the features were wanted alone. No policy's own code catches it."""


class LeRobotBase:
    """A LeRobot policy with its processors, under the contract of `BasePolicy`.

    Kinds in NOISE_SHAPES and deterministic ones (act) plan the same for the same keys, up to rounding,
    whatever else is in the batch. Others (vqbet, tdmpc, groot, diffusion with a DDPM scheduler) draw inside
    LeRobot for the whole batch: their plans repeat for the same batch of keys alone.
    """

    def __init__(
        self,
        policy: Any,
        processors: tuple[Any, Any],
        fields: dict[str, Ranges],
        settings: LeRobotBaseConfig,
        *,
        observation_dim: int,
        feature_cameras: dict[str, str],
        device: str,
    ) -> None:
        self._policy = policy.to(device).eval().requires_grad_(False)
        self._before, self._after = processors
        self._fields, self._settings, self._feature_cameras = fields, settings, feature_cameras
        self.cameras = tuple(sorted(set(feature_cameras.values())))
        self._device_name = device
        self._device = torch.device(device)
        self.obs_horizon = policy.config.n_obs_steps
        self.act_horizon = settings.act_horizon
        self.action_dim = policy.config.output_features[ACTION].shape[0]
        self.observation_dim = observation_dim
        self.fingerprint = _fingerprint(policy, processors)
        self._chunk: Callable[..., Tensor] = policy.predict_action_chunk
        if policy.config.type == "tdmpc":
            self._chunk = partial(_tdmpc_chunk, policy)
        noise_shape = NOISE_SHAPES.get(policy.config.type)
        self._noise_shape = None if noise_shape is None else noise_shape(policy.config)
        self._hook = HOOKS.get(policy.config.type)
        self._check_chunk()

    @torch.no_grad()
    def plan(self, history: Tensor, keys: Keys, images: Images = NO_IMAGES) -> Tensor:
        """Next actions (B, act_horizon, action_dim) for histories (B, obs_horizon, observation_dim), and
        images u1 (B, obs_horizon, height, width, 3) of its cameras."""
        # LeRobot's queues belong to a batch, histories to sub-environments: no queue may survive a plan.
        self._policy.reset()
        batch: dict[str, Any] = {}
        for frame in range(history.shape[1]):
            shown = {camera: images[camera][:, frame] for camera in self.cameras}
            batch = self._processed(history[:, frame].to(self._device, torch.float32), shown)
            if isinstance(getattr(self._policy, "_queues", None), dict):
                self._policy._queues = populate_queues(self._policy._queues, batch)
        actions = self._sampled(batch, keys)
        self._policy.reset()
        # The chunk as a whole: actions relative to the state are relative to that of their row.
        return self._after(actions[:, : self.act_horizon]).to(self._device, torch.float32)

    @cached_property
    def features_dim(self) -> int:
        """0: policies of this class have no features here."""
        return 0 if self._hook is None else self.plan_with_features(*self._probe())[1].shape[1]

    def features(self, history: Tensor, images: Images = NO_IMAGES) -> Tensor:
        """What the policy makes of histories, see the package `features`, (B, features_dim). A plan is begun
        and ended where they are known."""
        assert self._hook is not None
        found: list[Tensor] = []

        def keep(features: Tensor) -> None:
            found.append(features)
            raise _Found

        with self._hook(self._policy, keep), contextlib.suppress(_Found):
            self.plan(history, keys_at([0] * len(history), 0, Use.BASE), images)
        self._policy.reset()
        return found[0].to(self._device, torch.float32)

    def plan_with_features(
        self, history: Tensor, keys: Keys, images: Images = NO_IMAGES
    ) -> tuple[Tensor, Tensor]:
        """As `plan`, and the features of the same histories, for policies that have some."""
        assert self._hook is not None
        found: list[Tensor] = []
        with self._hook(self._policy, found.append):
            plan = self.plan(history, keys, images)
        return plan, found[0].to(self._device, torch.float32)

    def weights(self) -> Mapping[str, Tensor]:
        """Of the policy; its processors keep theirs."""
        return self._policy.state_dict()

    def with_weights(self, weights: Mapping[str, Tensor]) -> "LeRobotBase":
        """The same base with other weights, which are copied.
        Raises CheckpointError: they do not fit, or such a policy cannot plan."""
        policy = copy.deepcopy(self._policy)
        try:
            policy.load_state_dict(weights)
        except RuntimeError as error:
            raise CheckpointError(f"weights of another policy: {reason(error)}") from error
        return LeRobotBase(
            policy, (self._before, self._after), self._fields, self._settings,
            observation_dim=self.observation_dim, feature_cameras=self._feature_cameras,
            device=self._device_name,
        )  # fmt: skip

    def _sampled(self, batch: dict[str, Any], keys: Keys) -> Tensor:
        if self._noise_shape is None:
            noise = {}
        else:
            drawn = normal(keys, self._noise_shape[0] * self._noise_shape[1])
            noise = {"noise": torch.from_numpy(drawn).view(-1, *self._noise_shape).to(self._device)}
        # What else LeRobot draws comes from torch's global generators, which the caller finds as they were.
        with torch.random.fork_rng([self._device] if self._device.type == "cuda" else []):
            torch.manual_seed(int(keys[0]))
            return self._chunk(batch, **noise)

    def _processed(self, observation: Tensor, images: Images) -> dict[str, Any]:
        batch: dict[str, Any] = state_features(observation, self._fields)
        for name, camera in self._feature_cameras.items():
            # As LeRobot reads them from a dataset: channels first, in [0, 1].
            batch[name] = images[camera].to(self._device).movedim(-1, -3).contiguous() / 255
        processed = self._before(batch | {"task": [self._settings.instruction] * len(observation)})
        # The pipeline adds an empty action, which policies with queues would take for one.
        processed = {name: value for name, value in processed.items() if name != ACTION}
        return processed | self._image_queues(processed)

    def _image_queues(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Images in the form of the policies that keep them in queues."""
        queues = getattr(self._policy, "_queues", None)
        if not self._feature_cameras or not isinstance(queues, dict):
            return {}
        features = [batch[name] for name in self._feature_cameras]
        stacked = {OBS_IMAGES: torch.stack(features, dim=-4), OBS_IMAGE: features[0]}
        return {name: value for name, value in stacked.items() if name in queues}

    def _probe(self) -> tuple[Tensor, Keys, Images]:
        """What a plan can be made of."""
        shapes = {self._feature_cameras[n]: f.shape for n, f in image_features(self._policy.config).items()}
        pictures = {
            camera: torch.zeros(1, self.obs_horizon, height, width, 3, dtype=torch.uint8)
            for camera, (_, height, width) in shapes.items()
        }
        history = torch.zeros(1, self.obs_horizon, self.observation_dim)
        return history, keys_at(0, 0, Use.BASE), pictures

    def _check_chunk(self) -> None:
        """Make one plan, to find out now what does not fit; raises CheckpointError."""
        path, kind = self._settings.path, self._policy.config.type
        try:
            try:
                plan = self.plan(*self._probe())
            except NotImplementedError:
                # One action at a time (gaussian_actor): a plan of one.
                self._chunk = lambda batch: self._policy.select_action(batch)[:, None]
                plan = self.plan(*self._probe())
        except Exception as error:  # of the policy's own code, or of a plugin's: any kind
            raise CheckpointError(f"base {path}, a {kind} policy, cannot plan: {reason(error)}") from error
        if not torch.isfinite(plan).all():
            for part in _parts(self._policy, (self._before, self._after)):
                require_finite(sorted(part.items()), f"base {path}")
            raise CheckpointError(f"base {path}, a {kind} policy, plans numbers that are not finite")
        planned = plan.shape
        if planned[1] < self.act_horizon:
            raise CheckpointError(
                f"base {path}, a {kind} policy, plans {planned[1]} actions, base.act_horizon asks for "
                f"{self.act_horizon}: set base.act_horizon to at most {planned[1]}"
            )
        if planned[2] != self.action_dim:
            raise CheckpointError(
                f"base {path}, a {kind} policy, gives {planned[2]} action dimensions, its config.json says "
                f"{self.action_dim}"
            )


def _tdmpc_chunk(policy: Any, batch: dict[str, Any]) -> Tensor:
    """Plans (B, T, A): tdmpc returns (T, B, A), and its select_action may repeat the first action."""
    actions = policy.predict_action_chunk(batch)
    repeats = policy.config.n_action_repeats
    return (actions if repeats == 1 else actions[:1].repeat(repeats, 1, 1)).transpose(0, 1)


def _parts(policy: Any, processors: tuple[Any, Any]) -> list[Weights]:
    """The states of the policy and of its processors' steps."""
    return [policy.state_dict(), *(step.state_dict() for pipeline in processors for step in pipeline.steps)]


def _fingerprint(policy: Any, processors: tuple[Any, Any]) -> str:
    """Hash of the policy's weights and the processors' statistics."""
    digest = hashlib.sha256(policy.config.type.encode())
    for part in _parts(policy, processors):
        for name, value in sorted(part.items()):
            digest.update(name.encode())
            digest.update(value.detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
