"""Policies that need more than LeRobot brings: skipped without the extra, of tiny random weights with it.

In an environment of its own: uv pip install -e '.[actor,dev,learner,smolvla]', then
python -m pytest tests/actor/policy/test_lerobot_extras.py.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from lerobot.configs.types import FeatureType, PolicyFeature
from lerobot.policies.factory import get_policy_class, make_policy_config, make_pre_post_processors

from actor.policy.contract import CheckpointError
from actor.policy.make import make_base
from actor.policy.noise import normal
from tests.support.diffusion import base_keys
from tests.support.helpers import make_config
from tests.support.lerobot_policies import ACTION, STATE, save

transformers = pytest.importorskip("transformers", reason="the extra smolvla is not installed")

TOP, SIZE = "observation.images.top", 64
WORDS = ("<pad>", "<unk>", "<image>", "<fake_token_around_image>", "<global-img>", "<end>", "pick")


def save_backbone(folder: Path) -> Path:
    """A vision-language model of SmolVLM's kind, a few thousand numbers, with its processor."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()  # type: ignore[assignment]
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", unk_token="<unk>",
        extra_special_tokens={
            "image_token": WORDS[2], "fake_image_token": WORDS[3], "global_image_token": WORDS[4],
            "end_of_utterance_token": WORDS[5],
        },
    )  # fmt: skip
    size = {"longest_edge": SIZE}
    pictures = transformers.SmolVLMImageProcessor(size=size, max_image_size=size)
    videos = transformers.SmolVLMVideoProcessor(size=size, max_image_size=size)
    transformers.SmolVLMProcessor(pictures, tokenizer, videos, image_seq_len=1).save_pretrained(folder)
    transformers.SmolVLMConfig(
        text_config=dict(
            model_type="llama", vocab_size=len(WORDS), hidden_size=32, intermediate_size=32, head_dim=8,
            num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, pad_token_id=0,
        ),
        vision_config=dict(
            hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
            image_size=SIZE, patch_size=16,
        ),
        image_token_id=2, pad_token_id=0, scale_factor=4,
    ).save_pretrained(folder)  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def smolvla(tmp_path_factory: pytest.TempPathFactory):
    """Folder, policy and processors, saved by LeRobot."""
    folder = tmp_path_factory.mktemp("smolvla")
    config = make_policy_config(
        "smolvla",
        input_features={
            STATE: PolicyFeature(FeatureType.STATE, (18,)),
            TOP: PolicyFeature(FeatureType.VISUAL, (3, SIZE, SIZE)),
        },
        output_features={ACTION: PolicyFeature(FeatureType.ACTION, (7,))},
        device="cpu", push_to_hub=False, chunk_size=8, n_action_steps=4, num_steps=2, num_vlm_layers=2,
        resize_imgs_with_padding=(SIZE, SIZE), vlm_model_name=str(save_backbone(folder / "backbone")),
    )  # fmt: skip
    torch.manual_seed(0)
    policy = get_policy_class("smolvla")(config)
    statistics = {
        name: {"mean": torch.full((size,), 0.3), "std": torch.full((size,), 0.5)}
        for name, size in ((STATE, 18), (ACTION, 7))
    }
    before, after = make_pre_post_processors(config, dataset_stats=statistics)
    return save(folder / "policy", policy, before, after), policy, before, after


def load(folder: Path, *overrides: str):
    config = make_config(
        "base=lerobot", f"base.path={folder}", "task.cameras=[base_camera]",
        f"task.camera_size=[{SIZE},{SIZE}]", f"base.cameras={{{TOP}: base_camera}}",
        f"base.observation={{{STATE}: [0, 18]}}", "base.instruction=pick", *overrides,
    )  # fmt: skip
    return make_base(config.base, config.task, "cpu")


def test_smolvla_plans_for_every_sub_environment_as_lerobot_does_alone(smolvla) -> None:
    folder, policy, before, after = smolvla
    base = load(folder)
    generator, keys = torch.Generator().manual_seed(1), base_keys(3)
    observation = torch.randn(3, 1, 42, generator=generator)
    pictures = torch.randint(0, 256, (3, 1, SIZE, SIZE, 3), generator=generator).to(torch.uint8)
    for env in range(3):
        rows = slice(env, env + 1)
        plan = base.plan(observation[rows], keys[rows], {"base_camera": pictures[rows]})
        assert plan.shape == (1, 4, 7)
        policy.reset()
        noise = torch.from_numpy(normal(keys[rows], 8 * 32)).view(1, 8, 32)
        for frame in range(4):
            seen = {
                STATE: observation[rows, 0, :18],
                TOP: pictures[rows, 0].movedim(-1, -3).contiguous() / 255,
                "task": ["pick"],
            }
            torch.testing.assert_close(plan[:, frame], after(policy.select_action(before(seen), noise=noise)))
    as_it_is, darker = ({"base_camera": shown} for shown in (pictures[:1], pictures[:1] // 4))
    plan = base.plan(observation[:1], keys[:1], as_it_is)
    assert not torch.equal(base.plan(observation[:1], keys[:1], darker), plan)


@pytest.mark.parametrize("kind", ["pi0", "pi05"])
def test_an_unchanged_transformers_does_not_do_for_the_policies_of_openpi(kind: str, tmp_path: Path) -> None:
    make_policy_config(kind, device="cpu").save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=f"a {kind} policy.*fix/lerobot_openpi"):
        load(tmp_path)
