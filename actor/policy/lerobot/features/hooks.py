"""Which classes of policies have features, by their type in config.json."""

from actor.policy.lerobot.features import act, diffusion, pi0, smolvla
from actor.policy.lerobot.features.contract import Hook

HOOKS: dict[str, Hook] = {
    "act": act.watched,
    "diffusion": diffusion.watched,
    "smolvla": smolvla.watched,
    "pi0": pi0.watched,
    "pi05": pi0.watched,
}
