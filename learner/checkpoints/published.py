"""Residual checkpoints of ours to and from Policy Decorator's online layout.

    python -m learner.checkpoints.published export runs/<name>/checkpoints/newest.pt <published.pt>
    python -m learner.checkpoints.published import <published.pt> <ours.pt> algo=policy_decorator [key=value]

The published file is a dict of `res_actor`, `qf1`, `qf2` (the target networks' weights) and
`log_sac_alpha`. It holds no sizes of the recipe: an import takes them from the configuration.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import Tensor

from actor.policy.contract import CheckpointError
from config.algo import AlgoConfig
from config.process import compose_config, wants_help
from config.section import ConfigError
from learner.checkpoints.files import read_checkpoint, write_checkpoint

log = logging.getLogger(__name__)

Weights = dict[str, Tensor]


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """The keys of algo that say what networks there are. Checkpoints hold all keys of the code that wrote
    them; what others are there, or are not there yet, makes no difference to the layout."""

    head: str
    residual_shape: str
    residual_dims: tuple[int, ...] | None
    actor_input: str
    critic_input: str
    hidden: tuple[int, ...]
    actor_layer_norm: bool
    critic_layer_norm: bool
    critics: int
    relations: tuple[Any, ...] = ()


class PublishedError(ValueError):
    """A checkpoint that the other layout cannot hold; the message says which setting stands against it."""


def export_published(ours: dict[str, Any]) -> dict[str, Any]:
    """A checkpoint of `learner.checkpoints.files` in the published layout.

    Raises:
        PublishedError: networks that the published code does not have.
    """
    try:
        algo = msgspec.convert(ours["algo"], Recipe)
        actor, critic = ours["actor"], ours["target_critic"]
        log_alpha = ours["log_temperature"].reshape(1)
    except (KeyError, TypeError, msgspec.ValidationError) as error:
        raise PublishedError(
            f"no checkpoint of a residual of this code, or of an old one: {error}"
        ) from error
    _check(algo)
    if actor["reach"].item() < 1:
        raise PublishedError(
            "the published layout has no progressive scale: this residual reaches "
            f"{actor['reach'].item():.2f} of algo.residual_scale"
        )
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


def import_published(published: dict[str, Any], algo: AlgoConfig) -> dict[str, Any]:
    """The reverse, under the recipe `algo`.

    Raises:
        PublishedError: not of that layout, or of other sizes than `algo` says.
    """
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
        raise PublishedError(
            f"not the published layout, or not of hidden={list(algo.hidden)}: {error!r}"
        ) from error
    widths = tuple(len(actor[f"trunk.{2 * i}.bias"]) for i in layers)
    if widths != algo.hidden:
        raise PublishedError(
            f"the published networks are {list(widths)} wide, algo.hidden={list(algo.hidden)}"
        )
    return {
        "version": 1,
        "updates": 0,
        "algo": msgspec.to_builtins(algo),
        "actor": actor | identity | {"reach": torch.ones(1)},
        "critic": critic,
        "target_critic": {name: value.clone() for name, value in critic.items()},
        "log_temperature": log_alpha.detach(),
    }


PARTS = ("weight", "bias")


def _check(algo: AlgoConfig | Recipe) -> None:
    """Raise PublishedError unless the published code has such networks."""
    wanted = {
        "head": ("gaussian", algo.head == "gaussian"),
        "residual_shape": ("chunk", algo.residual_shape == "chunk"),
        "residual_dims": ("null", algo.residual_dims is None),
        "relations": ("[]", not algo.relations),
        "actor_layer_norm": ("false", not algo.actor_layer_norm),
        "critic_layer_norm": ("false", not algo.critic_layer_norm),
        "critics": ("2", algo.critics == 2),
        "critic_input": ("sum, res or concat", algo.critic_input != "linear"),
    }
    for key, (value, holds) in wanted.items():
        if not holds:
            raise PublishedError(
                f"the published layout knows algo.{key}={value} alone, this is {getattr(algo, key)}"
            )


def _absorb_scale(weights: Weights, layer: str, ours: Weights) -> None:
    """W (x - mean) * scale + b as one layer: the published networks do not scale observations."""
    mean, scale = ours["observation_mean"], ours["observation_scale"]
    weight = weights[f"{layer}.weight"].clone()
    weight[:, : len(mean)] *= scale
    weights[f"{layer}.bias"] = weights[f"{layer}.bias"] - weight[:, : len(mean)] @ mean
    weights[f"{layer}.weight"] = weight


def _export_critic(critic: Weights, member: int, algo: Recipe) -> Weights:
    out: Weights = {}
    for i in range(len(algo.hidden) + 1):
        out[f"net.{2 * i}.weight"] = critic[f"layers.{2 * i}.weight"][member].T.contiguous()
        out[f"net.{2 * i}.bias"] = critic[f"layers.{2 * i}.bias"][member, 0].clone()
    _absorb_scale(out, "net.0", critic)
    out["net.0.weight"] = _swap_concat(out["net.0.weight"], len(critic["observation_mean"]), algo)
    return out


def _import_critics(critics: list[Weights], observation: int, algo: AlgoConfig | Recipe) -> Weights:
    out: Weights = {}
    for i in range(len(algo.hidden) + 1):
        weights = [critic[f"net.{2 * i}.weight"] for critic in critics]
        if i == 0:
            weights = [_swap_concat(weight, observation, algo) for weight in weights]
        out[f"layers.{2 * i}.weight"] = torch.stack([weight.T for weight in weights]).contiguous()
        out[f"layers.{2 * i}.bias"] = torch.stack([critic[f"net.{2 * i}.bias"][None] for critic in critics])
    return out


def _swap_concat(weight: Tensor, observation: int, algo: AlgoConfig | Recipe) -> Tensor:
    """With critic_input=concat, ours sees (base plan, residual) and theirs (residual, base plan)."""
    if algo.critic_input != "concat":
        return weight
    seen, first, second = weight[:, :observation], *weight[:, observation:].chunk(2, dim=1)
    return torch.cat([seen, second, first], dim=1)


def main(words: list[str]) -> int:
    """The exit code."""
    if wants_help(words):
        sys.stdout.write(f"{__doc__}\n")
        return 0
    if len(words) < 3 or words[0] not in ("export", "import"):
        sys.stderr.write(f"{__doc__}\n")
        return 2
    source, target = Path(words[1]), Path(words[2])
    try:
        content = read_checkpoint(source)
        if words[0] == "export":
            made = export_published(content)
        else:
            made = import_published(content, compose_config(words[3:]).algo)
        write_checkpoint(target, made)
    except ConfigError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except CheckpointError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    except PublishedError as error:
        sys.stderr.write(f"error: {source}: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
