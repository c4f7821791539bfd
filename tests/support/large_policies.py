"""Large policies of tiny random weights, saved by LeRobot: they need packages of the extras."""

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

from tests.support.lerobot_policies import ACTION, STATE, save

transformers = pytest.importorskip("transformers", reason="the extras are not installed")
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


def save_policy(
    kind: str, folder: Path, monkeypatch: pytest.MonkeyPatch, *, states: int, actions: int, camera: str = TOP
) -> tuple[Path, Any, Any, Any]:
    """Folder, policy and processors. `kind`: a key of KINDS."""
    name = kind.split()[0]
    config = make_policy_config(
        name,
        input_features={
            STATE: PolicyFeature(FeatureType.STATE, (states,)),
            camera: PolicyFeature(FeatureType.VISUAL, (3, SIZE, SIZE)),
        },
        output_features={ACTION: PolicyFeature(FeatureType.ACTION, (actions,))},
        device="cpu", push_to_hub=False, chunk_size=8, n_action_steps=8,
        **KINDS[kind](folder, monkeypatch),
    )  # fmt: skip
    torch.manual_seed(0)
    policy = get_policy_class(name)(config).eval()
    figures = {"mean": 0.3, "std": 0.5, "min": -0.7, "max": 1.3, "q01": -0.6, "q99": 1.2}
    statistics = {
        name: {figure: torch.full((size,), value) for figure, value in figures.items()}
        for name, size in ((STATE, states), (ACTION, actions))
    }
    before, after = make_pre_post_processors(config, dataset_stats=statistics)
    return save(folder / "policy", policy, before, after), policy, before, after
