"""A policy that LeRobot knows, as the frozen base."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import draccus
import torch
from lerobot.configs.policies import PreTrainedConfig
from lerobot.policies.factory import get_policy_class, make_pre_post_processors
from lerobot.policies.utils import populate_queues
from lerobot.utils.constants import ACTION, OBS_IMAGE, OBS_IMAGES
from torch import Tensor, nn

from .bases import Images
from .configuration_residual_rl import ResidualRlConfig
from .copied.noise import Keys, normal

BEFORE, AFTER = "base_preprocessor.json", "base_postprocessor.json"
# Kinds whose `predict_action_chunk` takes the noise that sampling starts from, and its shape.
NOISE_SHAPES: dict[str, Callable[[Any], tuple[int, int]]] = {
    "diffusion": lambda config: (config.horizon, config.action_feature.shape[0]),
    "pi0": lambda config: (config.chunk_size, config.max_action_dim),
    "pi05": lambda config: (config.chunk_size, config.max_action_dim),
    "smolvla": lambda config: (config.chunk_size, config.max_action_dim),
}


class LeRobotBase(nn.Module):
    """`config.base`: `config` (config.json of the policy), `fields` (which part [first, end) of the
    observation, or list of such parts, is which of its features), `images` (its image features, and ours),
    `instruction` (in place of the batch's `task`, unless it is empty).

    LeRobot's policies keep one queue for a whole batch, so they keep nothing between two plans here.
    """

    def __init__(self, config: ResidualRlConfig) -> None:
        super().__init__()
        settings = config.base
        self._fields: dict[str, list[list[int]]] = {
            name: [part] if isinstance(part[0], int) else part for name, part in settings["fields"].items()
        }
        self._instruction, self._horizon = settings["instruction"], config.act_horizon
        self._images: dict[str, str] = settings["images"]
        inner = draccus.decode(PreTrainedConfig, settings["config"])
        inner.device = config.device
        self.policy: Any = get_policy_class(inner.type)(inner)
        self._before: Any = None
        self._after: Any = None
        shape = NOISE_SHAPES.get(inner.type)
        self._noise_shape = None if shape is None else shape(inner)

    def load_processors(self, place: str, revision: str | None) -> None:
        """From the folder, or the repository of the Hub, where the policy is."""
        self._before, self._after = make_pre_post_processors(
            self.policy.config, place, pretrained_revision=revision,
            preprocessor_config_filename=BEFORE, postprocessor_config_filename=AFTER,
            preprocessor_overrides={"device_processor": {"device": str(self.policy.config.device)}},
        )  # fmt: skip

    def save_processors(self, folder: Path) -> None:
        self._before.save_pretrained(folder, config_filename=BEFORE)
        self._after.save_pretrained(folder, config_filename=AFTER)

    def plan(self, history: Tensor, keys: Keys, images: Images, instructions: list[str]) -> Tensor:
        self.policy.reset()
        batch: dict[str, Any] = {}
        for frame in range(history.shape[1]):
            shown = {name: images[ours][:, frame] for name, ours in self._images.items()}
            batch = self._processed(history[:, frame], shown, instructions)
            if isinstance(getattr(self.policy, "_queues", None), dict):
                self.policy._queues = populate_queues(self.policy._queues, batch)
        actions = self._sampled(batch, keys)
        self.policy.reset()
        return self._after(actions[:, : self._horizon]).to(history.device, torch.float32)

    def loss(self, batch: dict[str, Tensor], history: Tensor, actions: Tensor) -> Tensor:
        raise NotImplementedError("train the base where LeRobot saved it: lerobot-train --policy.path=<base>")

    def _sampled(self, batch: dict[str, Any], keys: Keys) -> Tensor:
        device = torch.device(self.policy.config.device)
        noise: dict[str, Tensor] = {}
        if self._noise_shape is not None:
            drawn = normal(keys, self._noise_shape[0] * self._noise_shape[1])
            noise = {"noise": torch.from_numpy(drawn).view(-1, *self._noise_shape).to(device)}
        # What else LeRobot draws comes from torch's global generators, which the caller finds as they were.
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(int(keys[0]))
            return self._chunk()(batch, **noise)

    def _chunk(self) -> Callable[..., Tensor]:
        match self.policy.config.type:
            case "tdmpc":
                return partial(_tdmpc_chunk, self.policy)
            case "gaussian_actor":  # one action at a time: a plan of one
                return lambda batch: self.policy.select_action(batch)[:, None]
            case _:
                return self.policy.predict_action_chunk

    def _processed(self, observation: Tensor, images: Images, instructions: list[str]) -> dict[str, Any]:
        parts = {
            name: torch.cat([observation[:, first:end] for first, end in ranges], dim=-1)
            for name, ranges in self._fields.items()
        }
        texts = [self._instruction or text for text in instructions]
        processed = self._before(parts | images | {"task": texts})
        # The pipeline adds an empty action, which policies with queues would take for one.
        processed = {name: value for name, value in processed.items() if name != ACTION}
        return processed | self._image_queues(processed, list(images))

    def _image_queues(self, batch: dict[str, Any], names: list[str]) -> dict[str, Any]:
        """Images in the form of the policies that keep them in queues."""
        queues = getattr(self.policy, "_queues", None)
        if not names or not isinstance(queues, dict):
            return {}
        features = [batch[name] for name in names]
        stacked = {OBS_IMAGES: torch.stack(features, dim=-4), OBS_IMAGE: features[0]}
        return {name: value for name, value in stacked.items() if name in queues}


def _tdmpc_chunk(policy: Any, batch: dict[str, Any]) -> Tensor:
    """Plans (B, T, A): tdmpc returns (T, B, A), and its select_action may repeat the first action."""
    actions = policy.predict_action_chunk(batch)
    repeats = policy.config.n_action_repeats
    return (actions if repeats == 1 else actions[:1].repeat(repeats, 1, 1)).transpose(0, 1)
