"""Policies that need more than LeRobot brings, of tiny random weights: skipped without the extras.

In an environment of its own, after `bash launch/setup_env.sh smolvla`, `pi0` and `groot`:
python -m pytest -m slow tests/actor/policy/lerobot/test_extras.py.
"""

import importlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lerobot.configs.types import FeatureType, PolicyFeature
from lerobot.policies.factory import get_policy_class, make_policy_config, make_pre_post_processors
from lerobot.processor import tokenizer_processor

from actor.policy.contract import CheckpointError
from actor.policy.features import require_features, rounded
from actor.policy.lerobot.policy import NOISE_SHAPES
from actor.policy.make import make_base
from actor.policy.noise import normal
from tests.support.diffusion import base_keys
from tests.support.helpers import make_config
from tests.support.lerobot_policies import ACTION, STATE, save

transformers = pytest.importorskip("transformers", reason="the extras are not installed")
pytestmark = pytest.mark.slow

TOP, SIZE = "observation.images.top", 64
SMOLVLM = ("<image>", "<fake_token_around_image>", "<global-img>", "<end>")
QWEN = ("<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>")
# How Qwen's models are told of a picture.
QWEN_CHAT = (
    "{% for part in messages[0]['content'] %}{% if part['type'] == 'image' %}"
    "<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part['text'] }}{% endif %}{% endfor %}"
)


def make_tokenizer(*special: str, **kwargs: Any) -> Any:
    """Of a few words, since no model's own can be fetched."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = ("<pad>", "<unk>", *special, "pick")
    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()  # type: ignore[assignment]  # the stub has no setter
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", unk_token="<unk>", **kwargs
    )


def save_smolvlm(folder: Path) -> Path:
    """A vision-language model of SmolVLM's kind, a few thousand numbers, with its processor."""
    names = ("image_token", "fake_image_token", "global_image_token", "end_of_utterance_token")
    tokenizer = make_tokenizer(*SMOLVLM, extra_special_tokens=dict(zip(names, SMOLVLM, strict=True)))
    size = {"longest_edge": SIZE}
    pictures = transformers.SmolVLMImageProcessor(size=size, max_image_size=size)
    videos = transformers.SmolVLMVideoProcessor(size=size, max_image_size=size)
    transformers.SmolVLMProcessor(pictures, tokenizer, videos, image_seq_len=1).save_pretrained(folder)
    transformers.SmolVLMConfig(
        text_config=dict(
            model_type="llama", vocab_size=len(tokenizer), hidden_size=32, intermediate_size=32, head_dim=8,
            num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, pad_token_id=0,
        ),
        vision_config=dict(
            hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
            image_size=SIZE, patch_size=16,
        ),
        image_token_id=2, pad_token_id=0, scale_factor=4,
    ).save_pretrained(folder)  # fmt: skip
    return folder


def smolvla(folder: Path, _: pytest.MonkeyPatch) -> dict[str, Any]:
    return dict(
        num_steps=2, num_vlm_layers=2, resize_imgs_with_padding=(SIZE, SIZE),
        vlm_model_name=str(save_smolvlm(folder)),
    )  # fmt: skip


def openpi(kind: str, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> dict[str, Any]:
    """pi0 and pi05 know two sizes, of billions of numbers: a smaller one is put in their place."""
    module = importlib.import_module(f"lerobot.policies.{kind}.modeling_{kind}")
    small = module.GemmaConfig(width=16, depth=2, mlp_dim=16, num_heads=2, num_kv_heads=1, head_dim=8)
    full_size = module.PaliGemmaForConditionalGenerationWithPiGemma

    def make_paligemma(config: Any) -> Any:
        config.projection_dim = small.width
        config.text_config.vocab_size = config.image_token_index = len(make_tokenizer())
        config.vision_config.update(
            dict(
                hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
                patch_size=16, projection_dim=small.width,
            )
        )  # fmt: skip
        return full_size(config)

    monkeypatch.setattr(module, "get_gemma_config", lambda variant: small)
    monkeypatch.setattr(module, "PaliGemmaForConditionalGenerationWithPiGemma", make_paligemma)
    hub = SimpleNamespace(from_pretrained=lambda name: make_tokenizer())
    monkeypatch.setattr(tokenizer_processor, "AutoTokenizer", hub)
    return dict(num_inference_steps=2, image_resolution=(SIZE, SIZE), tokenizer_max_length=8, **settings)


def save_qwen(folder: Path) -> Path:
    """The configuration of a vision-language model of Qwen3-VL's kind, with its processor's parts."""
    tokenizer = make_tokenizer(*QWEN, additional_special_tokens=list(QWEN), chat_template=QWEN_CHAT)
    size = {"shortest_edge": SIZE**2, "longest_edge": SIZE**2}
    transformers.Qwen2VLImageProcessor(size=size, patch_size=16).save_pretrained(folder)
    transformers.Qwen3VLVideoProcessor().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    ids = dict(
        zip(
            ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id"),
            tokenizer.convert_tokens_to_ids(list(QWEN)),
            strict=True,
        )
    )
    transformers.Qwen3VLConfig(
        text_config=dict(
            vocab_size=len(tokenizer), hidden_size=32, intermediate_size=32, head_dim=8, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=2, pad_token_id=0,
            rope_scaling=dict(rope_type="default", mrope_section=[2, 1, 1], mrope_interleaved=True),
        ),
        vision_config=dict(
            hidden_size=16, intermediate_size=16, depth=1, num_heads=2, out_hidden_size=32, patch_size=16,
            num_position_embeddings=16, deepstack_visual_indexes=[0],
        ),
        tie_word_embeddings=True, **ids,
    ).save_pretrained(folder)  # fmt: skip
    return folder


def groot(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    from lerobot.policies.groot import groot_n1_7, processor_groot

    backbone = save_qwen(folder / "backbone")
    monkeypatch.setattr(processor_groot, "GROOT_N1_7_BACKBONE_MODEL", str(backbone))
    attention = dict(num_attention_heads=2, attention_head_dim=16, dropout=0.0, positional_embeddings=None)
    config = groot_n1_7.GR00TN17Config(
        model_name=str(backbone), backbone_embedding_dim=32, select_layer=2, hidden_size=16,
        input_embedding_dim=32, max_num_embodiments=32, max_seq_len=64, num_inference_timesteps=2,
        action_horizon=8, max_state_dim=20, max_action_dim=10, state_dropout_prob=0.0,
        diffusion_model_cfg=dict(
            **attention, num_layers=2, norm_type="ada_norm", output_dim=16, interleave_self_attention=True
        ),
        vl_self_attention_cfg=dict(**attention, num_layers=1),
    )  # fmt: skip
    base = groot_n1_7.GR00TN17(config, load_backbone_weights=False)
    base.save_pretrained(folder / "GR00T-N1.7")
    return dict(
        base_model_path=str(folder / "GR00T-N1.7"), max_state_dim=20, max_action_dim=10, use_bf16=False
    )


KINDS: dict[str, Callable[[Path, pytest.MonkeyPatch], dict[str, Any]]] = {
    "smolvla": smolvla,
    "pi0": lambda _, monkeypatch: openpi("pi0", monkeypatch),
    "pi0 of relative actions": lambda _, monkeypatch: openpi("pi0", monkeypatch, use_relative_actions=True),
    "pi05": lambda _, monkeypatch: openpi("pi05", monkeypatch),
    "groot": groot,
}


@pytest.fixture(params=KINDS)
def saved(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Folder, policy and processors, saved by LeRobot."""
    kind = request.param.split()[0]
    config = make_policy_config(
        kind,
        input_features={
            STATE: PolicyFeature(FeatureType.STATE, (18,)),
            TOP: PolicyFeature(FeatureType.VISUAL, (3, SIZE, SIZE)),
        },
        output_features={ACTION: PolicyFeature(FeatureType.ACTION, (7,))},
        device="cpu", push_to_hub=False, chunk_size=8, n_action_steps=8,
        **KINDS[request.param](tmp_path, monkeypatch),
    )  # fmt: skip
    torch.manual_seed(0)
    policy = get_policy_class(kind)(config).eval()
    figures = {"mean": 0.3, "std": 0.5, "min": -0.7, "max": 1.3, "q01": -0.6, "q99": 1.2}
    statistics = {
        name: {figure: torch.full((size,), value) for figure, value in figures.items()}
        for name, size in ((STATE, 18), (ACTION, 7))
    }
    before, after = make_pre_post_processors(config, dataset_stats=statistics)
    return save(tmp_path / "policy", policy, before, after), policy, before, after


def load(folder: Path):
    config = make_config(
        "base=lerobot", f"base.path={folder}", "task.cameras=[base_camera]",
        f"task.camera_size=[{SIZE},{SIZE}]", f"base.cameras={{{TOP}: base_camera}}",
        f"base.observation={{{STATE}: [0, 18]}}", "base.instruction=pick",
    )  # fmt: skip
    return make_base(config.base, config.task, "cpu")


def test_a_plan_is_what_lerobot_executes(saved) -> None:
    folder, policy, before, after = saved
    base = load(folder)
    generator, keys = torch.Generator().manual_seed(1), base_keys(3)
    observation = torch.randn(3, 1, 42, generator=generator)
    pictures = torch.randint(0, 256, (3, 1, SIZE, SIZE, 3), generator=generator).to(torch.uint8)
    plan = base.plan(observation, keys, {"base_camera": pictures})
    assert plan.shape == (3, 4, 7)
    seen = {
        STATE: observation[:, 0, :18],
        TOP: pictures[:, 0].movedim(-1, -3).contiguous() / 255,
        "task": ["pick"] * 3,
    }
    policy.reset()
    if policy.config.type in NOISE_SHAPES:
        frames, actions = NOISE_SHAPES[policy.config.type](policy.config)
        noise = torch.from_numpy(normal(keys, frames * actions)).view(3, frames, actions)
        policy.model.sample_noise = lambda shape, device: noise
    torch.manual_seed(int(keys[0]))
    for frame in range(4):
        theirs = after(policy.select_action(before(dict(seen))))
        torch.testing.assert_close(plan[:, frame], theirs, atol=1e-5, rtol=0)
    darker = base.plan(observation, keys, {"base_camera": pictures // 4})
    assert not torch.equal(darker, plan)


def final_norm(policy: Any) -> Any:
    """The last layer that the prefix goes through."""
    if policy.config.type == "smolvla":
        return policy.model.vlm_with_expert.get_vlm_model().text_model.norm
    return policy.model.paligemma_with_expert.paligemma.model.language_model.norm


def test_features_are_the_mean_of_the_prefix_that_lerobot_computes(saved) -> None:
    folder, policy, before, _ = saved
    base = load(folder)
    if policy.config.type == "groot":
        with pytest.raises(CheckpointError, match="has none"):
            require_features(base, "here")
        return
    generator = torch.Generator().manual_seed(1)
    observation = torch.randn(3, 1, 42, generator=generator)
    pictures = torch.randint(0, 256, (3, 1, SIZE, SIZE, 3), generator=generator).to(torch.uint8)
    ours = base.features(observation, {"base_camera": pictures})
    hidden, real, embed = [], [], policy.model.embed_prefix
    # pi0's norm gives a gate beside what it has normed.
    final_norm(policy).register_forward_hook(
        lambda _, given, out: hidden.append(out[0] if isinstance(out, tuple) else out)
    )
    policy.model.embed_prefix = lambda *args, **kwargs: real.append(embed(*args, **kwargs)) or real[-1]
    policy.reset()
    seen = {STATE: observation[:, 0, :18], TOP: pictures[:, 0].movedim(-1, -3).contiguous() / 255}
    policy.select_action(before(seen | {"task": ["pick"] * 3}))
    kept = real[0][1].float()[..., None]
    assert 0 < kept.mean() <= 1
    theirs = (hidden[0].float() * kept).sum(1) / kept.sum(1)
    assert torch.equal(rounded(ours), rounded(theirs))
    assert ours.shape == (3, base.features_dim) and ours.std() > 0


def test_a_policy_without_its_weights_is_no_base(saved) -> None:
    folder = saved[0]
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        load(folder)
