"""What is wrong with who should intervene."""

from config.process import UsageError


class InterventionError(UsageError):
    """Nobody can intervene as the configuration says; the message says why."""
