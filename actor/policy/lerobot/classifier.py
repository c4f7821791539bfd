"""LeRobot's reward classifier as a success classifier on pictures.

A folder has `pictures/`, as LeRobot saves its classifier, and `encoder/`, the frozen encoder below it.
"""

# pyright: reportMissingTypeStubs=false
# lerobot's own annotations leave type arguments open.

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lerobot.configs.rewards import RewardModelConfig
from lerobot.configs.types import FeatureType, PolicyFeature
from lerobot.rewards.classifier.configuration_classifier import RewardClassifierConfig
from lerobot.rewards.classifier.modeling_classifier import Classifier
from torch import Tensor

from actor.policy.checkpoint_file import reason
from actor.policy.contract import CheckpointError
from actor.policy.images import Images
from actor.policy.lerobot.foreign_code import guarded

PICTURES, ENCODER = "pictures", "encoder"
_Classifier: Any = Classifier


class PictureClassifier:
    """LeRobot's classifier with our interface."""

    def __init__(self, model: Any, cameras: Sequence[str], threshold: float, device: str) -> None:
        self.model, self.threshold = model, threshold
        self._cameras, self._device = tuple(cameras), device

    @torch.no_grad()
    def probability(self, observation: Tensor, images: Images) -> Tensor:
        inputs = [as_input(images[camera].to(self._device)) for camera in self._cameras]
        return self.model.predict(inputs).probabilities.reshape(len(observation)).to(observation.device)


def as_input(pictures: Tensor) -> Tensor:
    """Pictures u1 (N, height, width, 3) as (N, 3, height, width) in [-1, 1]."""
    return pictures.movedim(-1, 1).float() / 127.5 - 1


def feature_of(camera: str) -> str:
    return f"observation.images.{camera}"


@guarded()
def make_model(cameras: Sequence[str], size: tuple[int, int], encoder: str, device: str) -> Any:
    """A new classifier on pictures of (width, height).
    Raises CheckpointError: no such encoder, or what reads it is not installed."""
    width, height = size
    visual = PolicyFeature(FeatureType.VISUAL, (3, height, width))
    config = RewardClassifierConfig(
        input_features={feature_of(camera): visual for camera in cameras},
        output_features={"next.reward": PolicyFeature(FeatureType.REWARD, (1,))},
        num_cameras=len(cameras),
        model_name=encoder,
        device=device,
    )
    try:
        return _Classifier(config).to(device)
    except ModuleNotFoundError as error:
        raise CheckpointError(
            f"classifiers on pictures need a package that is missing ({error}): .venv/bin/python -m pip "
            "install 'transformers>=5,<6'"
        ) from error
    except (OSError, ValueError, AttributeError) as error:
        raise CheckpointError(f"encoder={encoder} cannot be used: {reason(error)}") from error


@guarded()
def save_pictures(folder: Path, model: Any, encoder: str) -> None:
    """Write the classifier, with the encoder that LeRobot would look for elsewhere."""
    from transformers import AutoModel  # pyright: ignore[reportMissingImports]  LeRobot's extras bring it

    # As LeRobot loads it; `guarded` decides about its code.
    AutoModel.from_pretrained(encoder, trust_remote_code=True).save_pretrained(folder / ENCODER)
    model.save_pretrained(folder / PICTURES)


@guarded()
def load_pictures(folder: Path, cameras: Sequence[str], threshold: float, device: str) -> PictureClassifier:
    """What `save_pictures` wrote. Raises CheckpointError: it cannot be loaded."""
    try:
        config: Any = RewardModelConfig.from_pretrained(folder / PICTURES)
        config.model_name, config.device = str(folder / ENCODER), device
        # Not strict: LeRobot's cameras share one encoder, which its file has once.
        model = _Classifier.from_pretrained(folder / PICTURES, config=config)
    except Exception as error:  # LeRobot, transformers and safetensors raise a dozen kinds
        raise CheckpointError(
            f"task.success: the classifier {folder} cannot be loaded: {reason(error)}"
        ) from error
    return PictureClassifier(model.eval(), cameras, threshold, device)
