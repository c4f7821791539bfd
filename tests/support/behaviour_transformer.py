"""Small behaviour transformers in the published layout, and the published pass written out."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from actor.policy.weights import Weights

ARGUMENTS: dict[str, Any] = dict(
    env_id="PickCube-v1", control_mode="pd_ee_delta_pose", context_window=4, n_clusters=3, n_layers=2,
    n_heads=2, n_embedding=8, algo_name="Offline-BeT", lr=1e-4, batch_size=2048, obj_ids=[],
)  # fmt: skip
TOKEN = 6  # the published ones have 256
GPT = "net._gpt_model"


def random_weights(obs_dim: int = 5, act_dim: int = 3, **changes: Any) -> Weights:
    """Under the names of published files, for `ARGUMENTS` with `changes`; the same at every call."""
    sizes = ARGUMENTS | changes
    window, clusters, width = (sizes[key] for key in ("context_window", "n_clusters", "n_embedding"))
    random = torch.Generator().manual_seed(0)

    def layer(name: str, outputs: int, inputs: int) -> Weights:
        weight = torch.randn(outputs, inputs, generator=random) / math.sqrt(inputs)
        return {f"{name}.weight": weight, f"{name}.bias": 0.1 * torch.randn(outputs, generator=random)}

    def norm(name: str) -> Weights:
        found = layer(name, width, 1)
        return found | {f"{name}.weight": 1 + 0.1 * found[f"{name}.weight"][:, 0]}

    weights = layer(f"{GPT}.transformer.wte", width, obs_dim)
    weights[f"{GPT}.transformer.wpe.weight"] = torch.randn(window, width, generator=random)
    for block in (f"{GPT}.transformer.h.{number}" for number in range(sizes["n_layers"])):
        weights |= norm(f"{block}.ln_1") | norm(f"{block}.ln_2")
        weights[f"{block}.attn.bias"] = torch.ones(window, window).tril()[None, None]
        weights |= layer(f"{block}.attn.c_attn", 3 * width, width)
        weights |= layer(f"{block}.attn.c_proj", width, width)
        weights |= layer(f"{block}.mlp.c_fc", 4 * width, width)
        weights |= layer(f"{block}.mlp.c_proj", width, 4 * width)
    weights |= norm(f"{GPT}.transformer.ln_f")
    weights[f"{GPT}.lm_head.weight"] = torch.randn(TOKEN, width, generator=random)
    weights |= layer("net._map_to_cbet_preds.0", clusters * (1 + act_dim), TOKEN)
    weights["net._cluster_centers"] = 0.5 * torch.randn(clusters, act_dim, generator=random)
    return weights


def save_transformer(folder: Path, obs_dim: int = 5, act_dim: int = 3, **changes: Any) -> tuple[str, Weights]:
    """A folder as the published code leaves it: the word that chooses it, and its weights."""
    weights = random_weights(obs_dim, act_dim, **changes)
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    (folder / "args.json").write_text(json.dumps(ARGUMENTS | changes, indent=4))
    torch.save({"agent": weights}, folder / "checkpoints" / "best.pt")
    return f"base.path={folder}", weights


def nothing_dropped(values: Tensor) -> Tensor:
    return values


def written_out(
    weights: Weights, history: Tensor, heads: int, dropped: Callable[[Tensor], Tensor] = nothing_dropped
) -> tuple[Tensor, Tensor]:
    """The action (A,) and the token that it is read from (E,), for one history (T, O).

    The published formulas, token by token, no module of ours. `dropped` gets what the published network drops
    out, in its order."""

    def linear(name: str, x: Tensor) -> Tensor:
        return x @ weights[f"{name}.weight"].T + weights.get(f"{name}.bias", torch.zeros(()))

    def norm(name: str, x: Tensor) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        scaled = centred / torch.sqrt(centred.square().mean(-1, keepdim=True) + 1e-5)
        return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def attention(name: str, x: Tensor) -> Tensor:
        query, key, value = linear(f"{name}.c_attn", x).chunk(3, dim=1)
        size = x.shape[1] // heads
        shares = torch.zeros(heads, len(x), len(x))
        for head in range(heads):
            part = slice(head * size, (head + 1) * size)
            for frame in range(len(x)):
                scores = key[: frame + 1, part] @ query[frame, part] / math.sqrt(size)
                shares[head, frame, : frame + 1] = scores.exp() / scores.exp().sum()
        shares = dropped(shares)
        seen = [shares[head] @ value[:, head * size : (head + 1) * size] for head in range(heads)]
        return dropped(linear(f"{name}.c_proj", torch.cat(seen, dim=1)))

    def perceptron(name: str, x: Tensor) -> Tensor:
        x = linear(f"{name}.c_fc", x)
        x = 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
        return dropped(linear(f"{name}.c_proj", x))

    x = dropped(linear(f"{GPT}.transformer.wte", history) + weights[f"{GPT}.transformer.wpe.weight"])
    for block in sorted({name.rpartition(".ln_1")[0] for name in weights if name.endswith("ln_1.weight")}):
        name = block.removesuffix(".ln_1")
        x = x + attention(f"{name}.attn", norm(f"{name}.ln_1", x))
        x = x + perceptron(f"{name}.mlp", norm(f"{name}.ln_2", x))
    token = linear(f"{GPT}.lm_head", norm(f"{GPT}.transformer.ln_f", x))[-1]
    centres = weights["net._cluster_centers"]
    out = linear("net._map_to_cbet_preds.0", token)
    best = int(out[: len(centres)].argmax())
    return centres[best] + out[len(centres) :].view(centres.shape)[best], token
