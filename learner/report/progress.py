"""Counts of a run: frames, episodes, success of the behaviour, evaluations, rates."""

import logging
from collections import deque
from collections.abc import Collection
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np

from actor.policy.classifier.figures import judged_figures
from actor.policy.spec import TRUE_SUCCESS
from config.main import Config
from learner.algorithms.contract import Goal
from protocol.arrays import Columns
from protocol.messages import Evaluation

log = logging.getLogger(__name__)

BEHAVIOUR_WINDOW = 100
# The first episodes to end are the short ones, which succeeded: a rate over fewer says nothing.
BEHAVIOUR_LEAST = 20


@dataclass(frozen=True)
class Publication:
    """What the run had come to when a version of the weights was published; `t_s` as in the points."""

    t_s: float
    frames: int
    decisions: int
    updates: int


AT_THE_START = Publication(t_s=0.0, frames=0, decisions=0, updates=0)


class RunProgress:
    """What has happened so far; time comes in as an argument."""

    def __init__(self, config: Config) -> None:
        self._settings = config.learner
        self._trained = "trained base" if config.algo.trains_base else "full residual"
        self._elapsed_s = 0.0  # in earlier processes
        self._started_s: float | None = None
        self._trained_s: float | None = None
        self._last_point_s = self._last_word_s = -np.inf
        self._last_received_s: float | None = None
        self._rates_from: tuple[float, int, int] | None = None
        self._behaviour: deque[bool] = deque(maxlen=BEHAVIOUR_WINDOW)
        self._judged: deque[tuple[bool, bool]] = deque(maxlen=BEHAVIOUR_WINDOW)
        self._lag = 0.0
        self.frames = self.episodes = self.successes = self.decisions = self.updates = 0
        self.evaluations: list[Evaluation] = []
        self.stopped_early: str | None = None
        """Why training ends before the frame budget is used (`learner.stop_at`)."""
        self._published: dict[int, Publication] = {}

    @property
    def wall_s(self) -> float:
        """From the first experience to the end of training."""
        if self._started_s is None:
            return self._elapsed_s
        newest_s = max(self._last_received_s or self._started_s, self._last_point_s)
        return (newest_s if self._trained_s is None else self._trained_s) - self._started_s

    @property
    def behaviour(self) -> float:
        """Success of the last episodes that actors played while exploring, without those in which somebody
        intervened; NaN before there are enough."""
        return float(np.mean(self._behaviour)) if len(self._behaviour) >= BEHAVIOUR_LEAST else float("nan")

    def _judged_behaviour(self) -> dict[str, float | None]:
        """Of the same episodes, where a classifier says success: what the simulator says."""
        if len(self._judged) < BEHAVIOUR_LEAST:
            return {}
        figures = judged_figures(*zip(*self._judged, strict=True))
        return {f"{name}_behaviour": value for name, value in figures.items()}

    def resume(self, decisions: int, frames: int, evaluations: list[Evaluation]) -> None:
        """Go on from what an earlier process received; after `load_state`."""
        self.decisions, self.frames = decisions, frames
        self.evaluations = list(evaluations)
        self._stop_if_good_enough()

    def state(self) -> dict[str, Any]:
        """What the rows and evaluations received do not tell, for `load_state` of another process."""
        return {
            "elapsed_s": self.wall_s,
            "episodes": self.episodes,
            "successes": self.successes,
            "behaviour": list(self._behaviour),
            "judged": [list(pair) for pair in self._judged],
            "published": {version: astuple(then) for version, then in self._published.items()},
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from what `state` returned; the time in between does not count."""
        self._elapsed_s = state["elapsed_s"]
        self.episodes, self.successes = state["episodes"], state["successes"]
        self._behaviour.extend(state["behaviour"])
        self._judged.extend((said, true) for said, true in state.get("judged", ()))
        self._published = {version: Publication(*then) for version, then in state["published"].items()}

    def count(
        self, columns: Columns, newest_version: int, now_s: float, by_hand: Collection[int] = ()
    ) -> None:
        """Count one message of experience.
        `by_hand`: final rows whose episodes are not the policy's alone."""
        # Of what arrives after training was over, no time counts.
        if self._started_s is None and self._trained_s is None:
            self._started_s = now_s - self._elapsed_s
        self._last_received_s = now_s
        self.frames += int(columns["frames"].sum())
        self.decisions += len(columns["frames"])
        self._lag = newest_version - float(columns["weights_version"].mean())
        for row in columns["final_row"]:
            success = bool(columns["success"][row, columns["frames"][row] - 1])
            self.episodes += 1
            self.successes += success
            if row in by_hand:
                continue
            self._behaviour.append(success)
            if TRUE_SUCCESS in columns:
                true = bool(columns[TRUE_SUCCESS][row, columns["frames"][row] - 1])
                self._judged.append((success, true))

    def published(self, version: int, updates: int, now_s: float) -> None:
        """Remember what `version` had learned from: its evaluation arrives thousands of frames later."""
        t_s = self._elapsed_s if self._started_s is None else now_s - self._started_s
        self._published[version] = Publication(t_s, self.frames, self.decisions, updates)

    def add_evaluation(self, evaluation: Evaluation) -> dict[str, Any]:
        """Remember it, say it, and return the point to log: at the frames of the weights evaluated."""
        self.evaluations.append(evaluation)
        self._stop_if_good_enough()
        log.info(
            "%s: %.0f %% of %d episodes%s (weights v%d, %.0f s of evaluation)",
            "base alone" if evaluation.policy == "base" else self._trained,
            100 * evaluation.success, len(evaluation.successes), _in_truth(evaluation), evaluation.version,
            evaluation.wall_s,
        )  # fmt: skip
        return self.point_of(evaluation)

    def point_of(self, evaluation: Evaluation) -> dict[str, Any]:
        """Its point in the metrics."""
        is_base = evaluation.policy == "base"
        then = AT_THE_START if is_base else self._published.get(evaluation.version, AT_THE_START)
        return {
            "t_s": then.t_s,
            "frames": then.frames,
            "decisions": then.decisions,
            "updates": then.updates,
            f"success_{evaluation.policy}": evaluation.success,
            "eval_episodes": len(evaluation.successes),
            "eval_version": evaluation.version,
            "eval_wall_s": evaluation.wall_s,
            **_judged(evaluation),
        }

    def evaluation_of(self, policy: str) -> Evaluation | None:
        return next((e for e in reversed(self.evaluations) if e.policy == policy), None)

    def _stop_if_good_enough(self) -> None:
        wanted = self._settings.stop_at
        if wanted is None or self.frames >= self._settings.total_frames or self._trained_s is not None:
            return
        newest = [e for e in self.evaluations if e.policy == "full" and self._was_trained(e.version)]
        newest = newest[-wanted.evaluations :]
        if len(newest) == wanted.evaluations and min(each.success for each in newest) >= wanted.success:
            rates = ", ".join(f"{100 * each.success:.1f} %" for each in newest)
            self.stopped_early = (
                f"the newest evaluations ({rates}) reach learner.stop_at.success={wanted.success:g}"
            )

    def _was_trained(self, version: int) -> bool:
        """Whether `version` was published after the first update; False if that is not known."""
        return self._published.get(version, AT_THE_START).updates > 0

    def final_evaluation(self, version: int) -> bool:
        """Whether base and the final weights were both evaluated over all seeds."""
        full, base = self.evaluation_of("full"), self.evaluation_of("base")
        wanted = self._settings.evaluation.episodes
        return base is not None and full is not None and full.version == version and len(full.seeds) == wanted

    def trained(self, now_s: float, updates: int) -> None:
        """Training is over; evaluation time does not count."""
        self._trained_s = now_s
        self.updates = updates

    def silent_s(self, now_s: float, *, wanted: bool = True) -> float:
        """Seconds since the last experience, or since experience was last not `wanted` (since the first look,
        before any)."""
        if self._last_received_s is None or not wanted:
            self._last_received_s = now_s
        return now_s - self._last_received_s

    def point_if_due(self, now_s: float, updates: int) -> dict[str, Any] | None:
        """A point for the metrics every `log_every_s`, else None."""
        if now_s - self._last_point_s < self._settings.log_every_s:
            return None
        self._last_point_s = now_s
        since_s, frames, had_updates = self._rates_from or (now_s - 1e-9, self.frames, updates)
        self._rates_from = (now_s, self.frames, updates)
        return {
            "t_s": self._elapsed_s if self._started_s is None else now_s - self._started_s,
            "frames": self.frames,
            "updates": updates,
            "episodes": self.episodes,
            "frames_per_s": (self.frames - frames) / (now_s - since_s),
            "updates_per_s": (updates - had_updates) / (now_s - since_s),
            "success_behaviour": self.behaviour,
            **self._judged_behaviour(),
            "policy_lag": self._lag,
        }

    def say(self, point: dict[str, Any], goal: Goal) -> None:
        """One line in the log, every `wait_log_every_s`."""
        if self._last_point_s - self._last_word_s < self._settings.wait_log_every_s:
            return
        self._last_word_s = self._last_point_s
        waiting = f", waiting for {point['waiting_for']}" if point["waiting_for"] else ""
        frames = "" if goal.unit == "frames" else f"{self.frames} frames, "
        log.info(
            "%d of %d %s (%s, %s%.0f frames/s), %s%s",
            goal.done, goal.wanted, goal.unit, _left(goal, point["t_s"]), frames, point["frames_per_s"],
            self._outcome(point, goal), waiting,
        )  # fmt: skip

    def _outcome(self, point: dict[str, Any], goal: Goal) -> str:
        """What the frames are good for: updates, or episodes where nothing is learned."""
        if goal.unit in ("episodes", "successes"):
            return f"{self.successes} of {self.episodes} episodes succeeded"
        said = f"{point['updates']} updates ({point['updates_per_s']:.0f}/s)"
        return said if np.isnan(self.behaviour) else f"{said}, behaviour {100 * self.behaviour:.0f} %"


def _left(goal: Goal, elapsed_s: float) -> str:
    """How much of the way is gone, and the time that the rest takes at the run's mean speed."""
    gone = f"{min(100, 100 * goal.done // goal.wanted)} %"
    if not goal.done or goal.done >= goal.wanted:
        return gone
    minutes = elapsed_s * (goal.wanted / goal.done - 1) / 60
    return f"{gone}, {minutes:.0f} min left" if minutes >= 1 else f"{gone}, under a minute left"


def _judged(evaluation: Evaluation) -> dict[str, float | None]:
    """What the simulator says of an evaluation whose success a classifier says."""
    if evaluation.true_successes is None:
        return {}
    figures = judged_figures(evaluation.successes, evaluation.true_successes)
    return {f"{name}_{evaluation.policy}": value for name, value in figures.items()}


def _in_truth(evaluation: Evaluation) -> str:
    """The same in words."""
    if evaluation.true_successes is None:
        return ""
    figures = judged_figures(evaluation.successes, evaluation.true_successes)
    share = figures["false_success_share"]
    false = "" if share is None else f", {100 * share:.0f} % of the successes are false"
    return f" as the classifier says, {100 * (figures['true_success'] or 0):.0f} % in truth{false}"
