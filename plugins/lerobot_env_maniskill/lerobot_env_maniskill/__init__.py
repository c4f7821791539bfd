"""ManiSkill3 for LeRobot: importing this package makes `--env.type=maniskill` known."""

from .configuration_maniskill import ManiSkillConfig

__all__ = ["ManiSkillConfig"]
