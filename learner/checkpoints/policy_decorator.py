"""Residual checkpoints to and from the layout of Policy Decorator's published code.

    residual-rl convert runs/<name>/checkpoints/newest.safetensors <published.pt> --to published
    residual-rl convert <published.pt> <ours.safetensors> --to residual algo=policy_decorator

A published file is a dict of `res_actor`, `qf1`, `qf2` (the target networks' weights) and
`log_sac_alpha`. It does not say how the networks are built: an import takes that from the configuration.
The residuals of its RGB-D code (pi_dec_diffusion_maniskill2_rgbd.py) have the same networks, over what the
base makes of its newest pictures and state: algo.sees=[features].
"""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import Tensor

from actor.policy.checkpoint_file import read_checkpoint, reason, write_checkpoint, write_safetensors
from actor.policy.contract import CheckpointError
from actor.policy.finite import non_finite_value
from actor.policy.weights import Weights, plain_weights
from config.algo import AlgoConfig
from config.process import UsageError


class NetworkKeys(msgspec.Struct, frozen=True, kw_only=True):
    """The keys of algo that say how the networks are built.

    A checkpoint has all keys of algo of the release that wrote it; the others do not matter here.
    """

    head: str
    residual_shape: str
    residual_dims: tuple[int, ...] | None
    actor_input: str
    critic_input: str
    hidden: tuple[int, ...]
    critic_layer_norm: bool
    critics: int
    relations: tuple[Any, ...] = ()
    sees: tuple[str, ...] = ("state",)
    critics_see: tuple[str, ...] = ("state",)
    actor_layer_norm: bool = False
    """Of releases before this one."""


class LayoutError(UsageError):
    """A checkpoint that the other layout cannot express; the message names the key."""


def export_checkpoint(ours: dict[str, Any]) -> dict[str, Any]:
    """A checkpoint of `learner.checkpoints.files` in the published layout.
    Raises LayoutError: networks that the published code does not have."""
    if "success" in ours and "target_critic" not in ours:
        raise LayoutError(
            "a checkpoint without critics, as the best one is; the published layout has them: use newest"
        )
    try:
        algo = msgspec.convert(ours["algo"], NetworkKeys)
        actor, critic = ours["actor"], ours["target_critic"]
        log_alpha = ours["log_temperature"].reshape(1)
    except (AttributeError, KeyError, TypeError, RuntimeError, msgspec.ValidationError) as error:
        raise LayoutError(f"no checkpoint of a residual: {error}") from error
    _check(algo)
    if (reach := float(actor.get("reach", 1))) < 1:
        raise LayoutError(f"this residual uses {reach:.2f} of algo.residual_scale, published ones all of it")
    layers = range(len(algo.hidden))
    outputs = len(actor["head.weight"]) // 2
    published_actor = {
        f"backbone.{2 * i}.{part}": actor[f"trunk.{2 * i}.{part}"] for i in layers for part in PARTS
    }
    _absorb_scale(published_actor, "backbone.0", actor)
    for part in PARTS:
        published_actor[f"fc_mean.{part}"], published_actor[f"fc_logstd.{part}"] = actor[
            f"head.{part}"
        ].split(outputs)
    published_actor |= {"action_scale": torch.ones(outputs), "action_bias": torch.zeros(outputs)}
    members = [_export_critic(critic, member, algo) for member in range(2)]
    return {"res_actor": published_actor, "qf1": members[0], "qf2": members[1], "log_sac_alpha": log_alpha}


def import_checkpoint(published: dict[str, Any], algo: AlgoConfig) -> dict[str, Any]:
    """The reverse of `export_checkpoint`, for the networks of `algo`.
    Raises LayoutError: not of that layout, or of other networks than those of `algo`."""
    _check(algo)
    try:
        theirs = published["res_actor"]
        layers = range(len(algo.hidden))
        actor = {
            f"trunk.{2 * i}.{part}": theirs[f"backbone.{2 * i}.{part}"] for i in layers for part in PARTS
        }
        for part in PARTS:
            actor[f"head.{part}"] = torch.cat([theirs[f"fc_mean.{part}"], theirs[f"fc_logstd.{part}"]])
        seen, outputs = actor["trunk.0.weight"].shape[1], len(theirs["fc_mean.bias"])
        observation = seen - (outputs if algo.actor_input == "obs_base_action" else 0)
        identity = {
            "observation_mean": torch.zeros(observation),
            "observation_scale": torch.ones(observation),
        }
        critic = _import_critics([published["qf1"], published["qf2"]], observation, algo) | identity
        log_alpha = torch.as_tensor(published["log_sac_alpha"], dtype=torch.float32).reshape(())
    except (KeyError, TypeError) as error:
        raise LayoutError(
            f"not the published layout, or not of hidden={list(algo.hidden)}: {error!r}"
        ) from error
    widths = tuple(len(actor[f"trunk.{2 * i}.bias"]) for i in layers)
    if widths != algo.hidden:
        raise LayoutError(f"the published networks are {list(widths)} wide, algo.hidden={list(algo.hidden)}")
    return {
        "version": 1,
        "updates": 0,
        "algo": msgspec.to_builtins(algo),
        "actor": actor | identity,
        "critic": critic,
        "target_critic": {name: value.clone() for name, value in critic.items()},
        "log_temperature": log_alpha.detach(),
    }


PARTS = ("weight", "bias")


def _check(algo: AlgoConfig | NetworkKeys) -> None:
    """Raise LayoutError unless the published code has such networks."""
    wanted = {
        "head": ("gaussian", algo.head == "gaussian"),
        "residual_shape": ("chunk", algo.residual_shape == "chunk"),
        "residual_dims": ("null", algo.residual_dims is None),
        "relations": ("[]", not algo.relations),
        "sees": ("[state] or [features]", algo.sees in (("state",), ("features",))),
        "critics_see": (f"[{', '.join(algo.sees)}]", algo.critics_see == algo.sees),
        "actor_layer_norm": ("false", not getattr(algo, "actor_layer_norm", False)),
        "critic_layer_norm": ("false", not algo.critic_layer_norm),
        "critics": ("2", algo.critics == 2),
        "critic_input": ("sum or concat", algo.critic_input in ("sum", "concat")),
    }
    for key, (value, holds) in wanted.items():
        if not holds:
            raise LayoutError(
                f"the published layout has only algo.{key}={value}, this is {getattr(algo, key)}"
            )


def _absorb_scale(weights: Weights, layer: str, ours: Weights) -> None:
    """W (x - mean) * scale + b as one layer: the published networks do not scale observations."""
    mean, scale = ours["observation_mean"], ours["observation_scale"]
    weight = weights[f"{layer}.weight"].clone()
    weight[:, : len(mean)] *= scale
    weights[f"{layer}.bias"] = weights[f"{layer}.bias"] - weight[:, : len(mean)] @ mean
    weights[f"{layer}.weight"] = weight


def _export_critic(critic: Weights, member: int, algo: NetworkKeys) -> Weights:
    out: Weights = {}
    for i in range(len(algo.hidden) + 1):
        out[f"net.{2 * i}.weight"] = critic[f"layers.{2 * i}.weight"][member].T.contiguous()
        out[f"net.{2 * i}.bias"] = critic[f"layers.{2 * i}.bias"][member, 0].clone()
    _absorb_scale(out, "net.0", critic)
    out["net.0.weight"] = _swap_concat(out["net.0.weight"], len(critic["observation_mean"]), algo)
    return out


def _import_critics(critics: list[Weights], observation: int, algo: AlgoConfig | NetworkKeys) -> Weights:
    out: Weights = {}
    for i in range(len(algo.hidden) + 1):
        weights = [critic[f"net.{2 * i}.weight"] for critic in critics]
        if i == 0:
            weights = [_swap_concat(weight, observation, algo) for weight in weights]
        out[f"layers.{2 * i}.weight"] = torch.stack([weight.T for weight in weights]).contiguous()
        out[f"layers.{2 * i}.bias"] = torch.stack([critic[f"net.{2 * i}.bias"][None] for critic in critics])
    return out


def _swap_concat(weight: Tensor, observation: int, algo: AlgoConfig | NetworkKeys) -> Tensor:
    """With critic_input=concat, ours sees (base plan, residual) and theirs (residual, base plan)."""
    if algo.critic_input != "concat":
        return weight
    seen, first, second = weight[:, :observation], *weight[:, observation:].chunk(2, dim=1)
    return torch.cat([seen, second, first], dim=1)


def export_file(source: Path, target: Path) -> None:
    """Write our checkpoint `source` in the published layout.
    Raises CheckpointError, LayoutError: not a residual's checkpoint, or networks that the layout lacks."""
    if target.suffix == ".safetensors":
        raise LayoutError(f"{target}: the published code reads files of torch.save: name it .pt")
    ours = _read(source, "actor", "target_critic")
    with _named(source):
        theirs = export_checkpoint(ours)
    write_checkpoint(target, theirs)


def import_file(source: Path, target: Path, algo: AlgoConfig) -> None:
    """Write the published checkpoint `source` as one of ours.
    Raises CheckpointError, LayoutError: not a published checkpoint, or not of the networks of `algo`."""
    if target.suffix != ".safetensors":
        raise LayoutError(f"{target}: a residual is written as safetensors and JSON: name it .safetensors")
    if (beside := target.with_suffix(".json")).exists() and not target.exists():
        raise LayoutError(f"{target}: {beside.name} beside it would be replaced: choose another name")
    theirs = _read(source, "res_actor", "qf1", "qf2")
    with _named(source):
        ours = import_checkpoint(theirs, algo)
    write_safetensors(target, ours)


def _read(source: Path, *networks: str) -> dict[str, Any]:
    """A checkpoint whose `networks`, where it has them, are state dicts under plain names."""
    content = read_checkpoint(source)
    if (found := non_finite_value(content)) is not None:
        raise CheckpointError(f"{source}: {found}: convert another checkpoint of its run")
    if not isinstance(content, dict):
        raise LayoutError(f"{source}: no checkpoint of a residual, it holds one {type(content).__name__}")
    parts = {name: content[name] for name in networks if name in content}
    return content | {name: plain_weights(value, f"{source}, {name}") for name, value in parts.items()}


@contextmanager
def _named(source: Path) -> Generator[None]:
    try:
        yield
    except LayoutError as error:
        raise LayoutError(f"{source}: {error}") from error
    # Weights of other shapes.
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise LayoutError(f"{source}: its networks are not those of the layout ({reason(error)})") from error
