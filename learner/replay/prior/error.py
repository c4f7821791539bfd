"""What all readers of demonstrations raise: on its own, so that a launcher need not load numpy."""

from config.process import UsageError


class DemonstrationError(UsageError):
    """Demonstrations that cannot be used; the message says which and why."""
