"""Any LeRobot policy as a frozen base: what LeRobot's factory knows and what its plugins add.

LeRobot's policies keep one queue for the whole batch and do not know sub-environments. So nothing is kept
in them here: histories and cursors are the caller's, and the queues of those policies that read them
(diffusion, vqbet, tdmpc) are filled anew from the histories before each plan.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lerobot.configs.policies import PreTrainedConfig
from lerobot.configs.types import FeatureType
from lerobot.policies.factory import get_policy_class, make_pre_post_processors
from lerobot.policies.utils import populate_queues
from lerobot.utils.constants import ACTION, OBS_IMAGE, OBS_IMAGES
from lerobot.utils.import_utils import register_third_party_plugins
from torch import Tensor

from actor.policy.diffusion import CheckpointError
from actor.policy.images import NO_IMAGES, Images
from config.schema import LeRobotSettings, Task
from config.spaces import spaces_of

log = logging.getLogger(__name__)

# Policies that need what LeRobot alone does not bring: the extra of `pip install lerobot[...]`. Those of ours
# in pyproject.toml are called like the policy.
OUR_EXTRAS = ("pi0", "smolvla", "groot")
EXTRAS = {
    "smolvla": "smolvla",
    "groot": "groot",
    "xvla": "xvla",
    "wall_x": "wallx",
    "pi0": "transformers-dep",
    "pi05": "transformers-dep",
    "pi0_fast": "transformers-dep",
}
# What they import, asked for before anything is built: some only find out in the middle of that, with
# billions of numbers in memory. All of them want transformers, those of openpi one with LeRobot's changes.
OPENPI = "transformers.models.siglip.check"
OPENPI_BRANCH = "'transformers @ git+https://github.com/huggingface/transformers.git@fix/lerobot_openpi'"
MORE_MODULES = {"groot": ["tree"], "pi0": [OPENPI], "pi05": [OPENPI], "pi0_fast": [OPENPI]}


def load_lerobot_base(settings: LeRobotSettings, task: Task, device: str, seed: int) -> LeRobotBase:
    """The policy in a folder, or of a hub id, that LeRobot saved.

    Raises:
        CheckpointError: not to be had, a missing extra, weights that are not complete, or features that
            the task's observation cannot fill.
    """
    register_third_party_plugins()
    config = _read_config(settings, device)
    policy_class = _policy_class(config.type, settings.path)
    if ACTION not in (config.output_features or {}):
        raise CheckpointError(f"base {settings.path}, of type {config.type}, gives no actions: not a policy")
    try:
        policy = policy_class.from_pretrained(settings.path, config=config, strict=True)
    except ImportError as error:
        raise _missing_package(config.type, settings.path, str(error)) from error
    except (OSError, RuntimeError, ValueError) as error:
        raise CheckpointError(
            f"base {settings.path}: its {config.type} policy cannot be loaded: {error}"
        ) from error
    fields = observation_fields(config, settings, spaces_of(task).observation_dim)
    cameras = image_cameras(config, settings, task)
    processors = _load_processors(config, settings.path, device)
    # Features may leave some of the task's numbers out.
    observation_dim = spaces_of(task).observation_dim or max((end for _, end in fields.values()), default=0)
    return LeRobotBase(
        policy,
        processors,
        fields,
        settings,
        observation_dim=observation_dim,
        feature_cameras=cameras,
        device=device,
        seed=seed,
    )


def observation_fields(
    config: PreTrainedConfig, settings: LeRobotSettings, observation_dim: int | None
) -> dict[str, tuple[int, int]]:
    """Which numbers [first, end) of the task's observation make up each of the policy's features.

    Raises:
        CheckpointError: sizes that do not add up; names both sides.
    """
    wanted = {
        name: tuple(feature.shape)
        for name, feature in (config.input_features or {}).items()
        if feature.type is not FeatureType.VISUAL
    }
    fields = settings.observation or _in_turn(wanted)
    for name, shape in wanted.items():
        first, end = fields.get(name, (0, 0))
        if (end - first,) != shape or first < 0:
            raise CheckpointError(
                f"base {settings.path} takes {name} of shape {list(shape)}, base.observation gives it "
                f"[{first}, {end}): set base.observation={{{name}: [first, end]}} over the task's numbers"
            )
    end = max((end for _, end in fields.values()), default=0)
    if observation_dim is not None and (
        end > observation_dim or (settings.observation is None and end < observation_dim)
    ):
        raise CheckpointError(
            f"base {settings.path} takes {wanted}, {end} observation numbers in all, the task has "
            f"{observation_dim}: choose a base that was trained on this task, or set base.observation"
        )
    return {name: fields[name] for name in wanted}


def image_features(config: PreTrainedConfig) -> dict[str, Any]:
    """What the policy wants to see. Not config.image_features: SAC's are a list of names."""
    features = config.input_features or {}
    return {name: feature for name, feature in features.items() if feature.type is FeatureType.VISUAL}


def image_cameras(config: PreTrainedConfig, settings: LeRobotSettings, task: Task) -> dict[str, str]:
    """Which of the task's cameras each of the policy's image features is.

    Raises:
        CheckpointError: a feature without a camera, or of another size; names both sides.
    """
    chosen = settings.cameras or {f"{OBS_IMAGES}.{camera}": camera for camera in task.cameras}
    width, height = task.camera_size
    for name, feature in image_features(config).items():
        camera = chosen.get(name)
        if camera not in task.cameras:
            raise CheckpointError(
                f"base {settings.path} looks at {name}, which base.cameras says is {camera or 'no camera'}, "
                f"the task has the cameras {list(task.cameras)}: set task.cameras=[<camera>] and "
                f"base.cameras={{{name}: <camera>}}"
            )
        if tuple(feature.shape) != (3, height, width):
            raise CheckpointError(
                f"base {settings.path} takes {name} of shape {list(feature.shape)}, task.camera_size gives "
                f"{[3, height, width]}: set task.camera_size=[{feature.shape[2]},{feature.shape[1]}]"
            )
    return {name: chosen[name] for name in image_features(config)}


def _in_turn(wanted: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, int]]:
    fields, first = {}, 0
    for name, shape in wanted.items():
        fields[name] = (first, first + shape[0])
        first += shape[0]
    return fields


class LeRobotBase:
    """A LeRobot policy with its processors, under the contract of `BasePolicy`."""

    def __init__(
        self,
        policy: Any,
        processors: tuple[Any, Any],
        fields: dict[str, tuple[int, int]],
        settings: LeRobotSettings,
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
        rows, frames, _ = history.shape
        # LeRobot's queues are the batch's, ours are the sub-environments': none of them may survive.
        self._policy.reset()
        batch: dict[str, Any] = {}
        for frame in range(frames):
            shown = {camera: images[camera][:, frame] for camera in self.cameras}
            batch = self._processed(history[:, frame].to(self._device, torch.float32), shown)
            if isinstance(getattr(self._policy, "_queues", None), dict):
                self._policy._queues = populate_queues(self._policy._queues, batch)
        with self._own_randomness():
            self._set_random_states(self._random_state)
            actions = self._call(batch)
            self._random_state = self._random_states()
        self._policy.reset()
        chunk = actions[:, : self.act_horizon]
        processed = self._after(chunk.reshape(rows * chunk.shape[1], -1))
        return processed.view(rows, chunk.shape[1], -1).to(self._device, torch.float32)

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
            # One action at a time (sac): a plan of one.
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


def _read_config(settings: LeRobotSettings, device: str) -> PreTrainedConfig:
    if Path(settings.path).is_dir() and not (Path(settings.path) / "config.json").is_file():
        raise CheckpointError(f"no LeRobot policy at {settings.path}: config.json is missing")
    try:
        config = PreTrainedConfig.from_pretrained(settings.path)
    except Exception as error:  # a dozen kinds: hub, network, JSON, draccus
        raise CheckpointError(
            f"base.path={settings.path} is neither a folder nor a hub id of a LeRobot policy that this "
            f"environment knows (its plugin may be missing): {error}"
        ) from error
    for name, value in (settings.overrides or {}).items():
        if not hasattr(config, name):
            raise CheckpointError(f"base.overrides.{name}: a {config.type} policy has no such setting")
        setattr(config, name, value)
    config.device = device
    if hasattr(config, "pretrained_backbone_weights"):
        # The policy's own weights come in their place: nothing to download.
        config.pretrained_backbone_weights = None
    return config


def _policy_class(kind: str, path: str) -> Any:
    for module in ["transformers", *MORE_MODULES.get(kind, [])] if kind in EXTRAS else []:
        if importlib.util.find_spec(module) is None:
            raise _missing_package(kind, path, f"no module named {module}")
    try:
        return get_policy_class(kind)
    except ImportError as error:
        raise _missing_package(kind, path, str(error)) from error
    except ValueError as error:
        raise CheckpointError(
            f"base {path} is of type {kind}, which neither LeRobot's factory nor an installed "
            f"lerobot_policy_* package knows: {error}"
        ) from error


def _missing_package(kind: str, path: str, what: str) -> CheckpointError:
    extra = f"[{EXTRAS[kind]}]" if kind in EXTRAS else ""
    theirs = f"'lerobot{extra}=={importlib.metadata.version('lerobot')}'"
    ours = f"the extra {kind}, pip install -e '.[{kind}]', brings {theirs}"
    how = ours if kind in OUR_EXTRAS else f"pip install {theirs}"
    if OPENPI in MORE_MODULES.get(kind, []):
        how += f"; then, for LeRobot's changes to transformers, pip install {OPENPI_BRANCH}"
    return CheckpointError(f"base {path} is a {kind} policy, and a package for it is missing ({what}): {how}")


def _load_processors(config: PreTrainedConfig, path: str, device: str) -> tuple[Any, Any]:
    overrides = {"device_processor": {"device": device}}
    try:
        return make_pre_post_processors(config, path, preprocessor_overrides=overrides)
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"base {path}: its processors cannot be loaded: {error}") from error


def _fingerprint(policy: Any, processors: tuple[Any, Any]) -> str:
    """Hash of the policy's weights and the processors' statistics."""
    digest = hashlib.sha256(policy.config.type.encode())
    parts = [policy.state_dict(), *(step.state_dict() for pipeline in processors for step in pipeline.steps)]
    for part in parts:
        for name, value in sorted(part.items()):
            digest.update(name.encode())
            digest.update(value.detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
