"""How often a classifier is right about whole episodes, where the truth is known."""

from collections.abc import Sequence


def judged_figures(successes: Sequence[bool], true_successes: Sequence[bool]) -> dict[str, float | None]:
    """The true success rate, and the share of claimed successes that are false; None: none was claimed."""
    claimed = [true for said, true in zip(successes, true_successes, strict=True) if said]
    false_share = 1 - sum(claimed) / len(claimed) if claimed else None
    return {"true_success": sum(true_successes) / len(true_successes), "false_success_share": false_share}
