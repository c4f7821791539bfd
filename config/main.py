"""Typed, checked configuration. Defaults live in the YAML files beside this one, none here."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from config.actor import ActorConfig
from config.algo import AlgoConfig
from config.algorithm import AlgorithmConfig
from config.base import (
    BaseConfig,
    BehaviourTransformerBaseConfig,
    DiffusionBaseConfig,
    LeRobotBaseConfig,
    ZeroBaseConfig,
)
from config.cluster import LocalConfig, RayConfig, SlurmConfig
from config.collect import CollectConfig
from config.learner import LearnerConfig
from config.on_policy import GrpoConfig, OnPolicyConfig, PpoConfig
from config.packages import ALGORITHMS, BASES, with_installed
from config.page import PageConfig
from config.pictures import PicturesConfig
from config.section import Section
from config.steering import SteeringConfig
from config.task import TaskConfig
from config.tracking import TrackerName
from config.tuning import RejectionConfig, SftConfig
from config.wire import WireConfig

BASE_MESSAGE_BYTES = 1 << 20
"""Room for a piece of a trained base."""

AnyBase = DiffusionBaseConfig | BehaviourTransformerBaseConfig | ZeroBaseConfig | LeRobotBaseConfig
AnyAlgorithm = (
    AlgoConfig | SteeringConfig | CollectConfig | SftConfig | RejectionConfig | PpoConfig | GrpoConfig
)
if not TYPE_CHECKING:
    AnyBase = with_installed(AnyBase, BASES, BaseConfig, "make")
    AnyAlgorithm = with_installed(AnyAlgorithm, ALGORITHMS, AlgorithmConfig, "make_training")


class Config(Section, frozen=True):
    """config/main.yaml, as the processes of a run know it"""

    name: str
    runs_dir: str
    resume: Literal["auto", "new", "must"]
    seed: int
    tracking: tuple[TrackerName, ...]
    trust_remote_code: bool
    wire: WireConfig
    learner: LearnerConfig
    actor: ActorConfig
    page: PageConfig
    task: TaskConfig
    base: AnyBase
    algo: AnyAlgorithm

    def __post_init__(self) -> None:
        self.plain_names("name")
        self.require(0 <= self.seed < 2**63, "seed", "in 0 .. 2**63 - 1")
        self._require_fitting_algorithm()

    def _require_fitting_algorithm(self) -> None:
        name, horizon, every = self.algo.name, self.base.act_horizon, self.algo.residual_every
        if horizon % every:
            raise ValueError(f"algo.residual_every must divide base.act_horizon={horizon}, got {every}")
        if self.task.reward_mode != "sparse" and not self.algo.reads_any_reward:
            raise ValueError(f"task.reward_mode must be sparse for algo={name}, got {self.task.reward_mode}")
        room = self.wire.max_message_bytes
        if self.algo.trains_base and room < BASE_MESSAGE_BYTES:
            least = f"at least {BASE_MESSAGE_BYTES} for algo={name}, which sends the base in pieces"
            raise ValueError(f"wire.max_message_bytes must be {least}, got {room}")
        if isinstance(self.algo, SftConfig) and not self.prior_sources:
            raise ValueError("algo=sft imitates learner.demos, got null: name a dataset")
        if self.algo.trains_base and isinstance(self.base, ZeroBaseConfig):
            raise ValueError(f"algo={self.algo.name} trains the base, base=zero has no weights")
        limits = (self.learner.replay_max_gb, self.learner.replay_max_frames)
        if isinstance(self.algo, CollectConfig) and limits != (None, None):
            both = "learner.replay_max_gb and learner.replay_max_frames"
            raise ValueError(f"algo=collect keeps all that it collects: set {both} to null")
        if isinstance(self.base, ZeroBaseConfig) and self.algo.plays and self.algo.plays.needs_features:
            raise ValueError("algo.sees and algo.critics_see must not name features: base=zero has none")
        self._require_clip()
        self._require_hindsight()
        shown = self.algo.plays and self.algo.plays.looks_at
        if shown:
            self._require_pictures(shown)
        if isinstance(self.algo, OnPolicyConfig):
            self._require_rounds(self.algo)
        if isinstance(self.algo, SteeringConfig):
            self._require_whole_plans(self.algo)

    def _require_whole_plans(self, algo: SteeringConfig) -> None:
        if not isinstance(self.base, DiffusionBaseConfig) or self.base.pad_obs_to is not None:
            raise ValueError(
                f"algo={algo.name} chooses the noise of a diffusion policy: set base=diffusion, and "
                "base.pad_obs_to=null"
            )
        if algo.residual_every != self.base.act_horizon:
            raise ValueError(
                f"algo.residual_every must be base.act_horizon={self.base.act_horizon} for algo={algo.name}, "
                f"since noise makes a whole plan, got {algo.residual_every}"
            )
        if self.interventions:
            raise ValueError(
                f"algo={algo.name} learns which noise to choose, and what somebody does has none: set "
                "actor.intervene=null and learner.interventions=false"
            )

    def _require_rounds(self, algo: OnPolicyConfig) -> None:
        if self.interventions:
            raise ValueError(
                f"algo={algo.name} learns from its own decisions alone: set actor.intervene=null and "
                "learner.interventions=false"
            )
        if self.task.obs == "pixels":
            raise ValueError(f"algo={algo.name} sees states alone: set task.obs=state or both, got pixels")
        if self.learner.hindsight_goals:
            raise ValueError(f"learner.hindsight_goals must be 0 for algo={algo.name}, which keeps no replay")
        players = self.actor.count * self.actor.num_envs
        if isinstance(algo, PpoConfig) and algo.batch_decisions < 2 * players:
            raise ValueError(
                f"algo.batch_decisions must be at least {2 * players}, two for each of actor.count * "
                f"actor.num_envs = {players} sub-environments, got {algo.batch_decisions}"
            )
        if isinstance(algo, GrpoConfig):
            self._require_groups(algo)

    def _require_groups(self, algo: GrpoConfig) -> None:
        size, envs = algo.group_size, self.actor.num_envs
        if envs % size:
            raise ValueError(
                f"algo.group_size={size} must divide actor.num_envs={envs}: a group plays in the "
                "sub-environments of one actor"
            )
        if self.task.classifier is not None:
            raise ValueError(
                f"task.success must be simulator for algo={algo.name}, got {self.task.success}: a classifier "
                "looks at sub-environments that wait for their group too"
            )
        if self.actor.backend != "physx_cpu":
            raise ValueError(
                f"actor.backend must be physx_cpu for algo={algo.name}, got {self.actor.backend}: on a GPU "
                "no sub-environment can wait for the others of its group, nor choose its start"
            )

    def _require_clip(self) -> None:
        clip = self.algo.target_clip if isinstance(self.algo, AlgoConfig) else None
        if clip == "reachable" and not self.task.success_ends:
            raise ValueError(
                "algo.target_clip must be null or [low, high] for task.success_ends=false, since "
                "returns are of more than one success, got reachable"
            )

    def _require_pictures(self, shown: PicturesConfig) -> None:
        task = self.task
        if missing := [camera for camera in shown.cameras if camera not in task.cameras]:
            raise ValueError(f"algo.pictures.cameras names {', '.join(missing)}, task.cameras does not")
        if shown.size != task.camera_size:
            raise ValueError(
                f"algo.pictures.size={list(shown.size)} must be task.camera_size={list(task.camera_size)}"
            )
        if not isinstance(self.algo, AlgoConfig):  # it is played and not trained
            return
        if self.learner.record_images is None:
            raise ValueError("learner.record_images must be image or video where algo.sees names pictures")
        if self.learner.processes != 1:
            raise ValueError("learner.processes must be 1 where algo.sees names pictures")

    def _require_hindsight(self) -> None:
        if not self.learner.hindsight_goals:
            return
        if self.task.goal is None or not self.task.success_ends:
            raise ValueError(
                "learner.hindsight_goals must be 0 for a task without task.goal, or that success does not end"
            )
        if not isinstance(self.base, ZeroBaseConfig):
            raise ValueError(
                "learner.hindsight_goals must be 0 for a base with plans, which are for the goal that it "
                "saw: set base=zero"
            )

    @property
    def prior_sources(self) -> tuple[str, ...]:
        """Where prior data comes from, one after the other; nothing where the algorithm takes none."""
        demos = self.learner.demos
        if not self.algo.reads_demos or demos is None:
            return ()
        return (demos,) if isinstance(demos, str) else demos

    @property
    def interventions(self) -> bool:
        """Whether experience says in which frames somebody acted instead of the policy."""
        return self.learner.interventions or self.actor.intervene is not None

    @property
    def run_dir(self) -> Path:
        return Path(self.runs_dir) / self.name


class Launch(Config, frozen=True):
    """All of config/main.yaml: with where the run is started, and what an experiment compares."""

    cluster: LocalConfig | SlurmConfig | RayConfig
    sweep: dict[str, Any]

    @property
    def run(self) -> Config:
        """What the processes of the run read."""
        return Config(**{key: getattr(self, key) for key in Config.__struct_fields__})
