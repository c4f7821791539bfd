"""What is known of a classifier's errors, and its threshold."""

import json
import logging
from dataclasses import asdict, dataclass

import numpy as np

from config.files import replace_text
from config.train_reward import RewardTraining
from learner.replay.dataset.arrow import Array
from learner.rewards.labels import Labels
from learner.rewards.threshold import Curve, Episodes

log = logging.getLogger("reward")

REPORT = "report.json"
_MOST_POINTS = 400


@dataclass(frozen=True)
class Report:
    """What is known of a classifier, from frames and episodes that its networks were not trained on."""

    sources: tuple[str, ...]
    episodes: int
    successful_episodes: int
    frames: int
    successful_frames: int
    threshold: float
    precision: float
    recall: float
    of_episodes: Episodes
    curve: Curve

    def write(self, asked: RewardTraining) -> None:
        """report.json, in the classifier's folder."""
        content = asdict(self) | {"curve": self.points(), "task": asked.task.env_id}
        replace_text(asked.settings.folder / REPORT, json.dumps(content, indent=1) + "\n")

    def points(self) -> dict[str, list[float]]:
        """The curve, thinned."""
        every = -(-len(self.curve.thresholds) // _MOST_POINTS)
        return {name: np.round(values[::every], 5).tolist() for name, values in vars(self.curve).items()}


def make_report(asked: RewardTraining, labels: Labels, probability: Array) -> Report:
    """`probability`: of each frame, by a network that was trained without its episode."""
    counted = ~labels.near(asked.settings.near_frames)
    curve = Curve.of(probability[counted], labels.success[counted])
    place = curve.choose(asked.settings.precision)
    threshold = float(curve.thresholds[place])
    report = Report(
        sources=asked.settings.sources,
        episodes=len(labels.succeeds),
        successful_episodes=int(labels.succeeds.sum()),
        frames=len(labels.success),
        successful_frames=int(labels.success.sum()),
        threshold=threshold,
        precision=float(curve.precision[place]),
        recall=float(curve.recall[place]),
        of_episodes=Episodes.of(probability >= threshold, labels.success, labels.episode),
        curve=curve,
    )
    if report.precision < asked.settings.precision:
        log.warning(
            "no threshold has the precision %g that is asked for: the most precise one is taken",
            asked.settings.precision,
        )  # fmt: skip
    return report


def describe(report: Report) -> dict[str, str]:
    """What a person reads at the end, a row a line."""
    fooled = report.of_episodes.fooled
    return {
        "threshold": f"{report.threshold:.4f}",
        "precision": f"{100 * report.precision:.1f} % of the frames called success are one",
        "recall": f"{100 * report.recall:.1f} % of the successful frames are found",
        "successes found": f"{100 * report.of_episodes.found:.1f} % of the successful episodes",
        "fooled": "not known: no episode fails" if fooled is None else f"{100 * fooled:.1f} % of the others",
    }
