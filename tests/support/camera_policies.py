"""LeRobot policies of random weights that look at cameras."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lerobot.configs.types import FeatureType, PolicyFeature
from lerobot.policies.factory import get_policy_class, make_policy_config, make_pre_post_processors

from tests.support.lerobot_policies import ACTION, SMALL, STATE, save

TOP, WRIST = "observation.images.top", "observation.images.wrist"

HEIGHT, WIDTH, ROBOT = 48, 64, 18


def save_policy(
    folder: Path,
    kind: str,
    features: tuple[str, ...],
    state: int = ROBOT,
    size: tuple[int, int] = (HEIGHT, WIDTH),
    actions: int = 7,
) -> tuple[Path, Any, Any, Any]:
    """A small policy of random weights over a state and images, with normalisers that do something."""
    config = make_policy_config(
        kind,
        input_features={
            STATE: PolicyFeature(FeatureType.STATE, (state,)),
            **{name: PolicyFeature(FeatureType.VISUAL, (3, *size)) for name in features},
        },
        output_features={ACTION: PolicyFeature(FeatureType.ACTION, (actions,))},
        device="cpu",
        push_to_hub=False,
        pretrained_backbone_weights=None,
        **SMALL[kind],
    )
    config.validate_features()
    torch.manual_seed(0)
    policy = get_policy_class(kind)(config).eval()
    shapes = {STATE: (state,), ACTION: (actions,), **dict.fromkeys(features, (3, 1, 1))}
    statistics = {
        name: {
            key: torch.full(shape, value)
            for key, value in {"mean": 0.4, "std": 0.2, "min": -1.0, "max": 1.5}.items()
        }
        for name, shape in shapes.items()
    }
    before, after = make_pre_post_processors(config, dataset_stats=statistics)
    return save(folder, policy, before, after), policy, before, after
