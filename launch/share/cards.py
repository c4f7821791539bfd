"""Cards of what is pushed, made from a run: what it is, how it was made, how good it is, how to use it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import DatasetCardData, EvalResult, ModelCardData, SpaceCardData

from config.main import Config
from launch.run.folder import read_summary
from launch.share.run_source import Shared
from learner.intervals import wilson_interval

TAGS = ["robotics", "residual-rl", "LeRobot"]
PROJECT = "residual-rl"
SIMULATORS = {"maniskill": "ManiSkill3", "gymnasium": "Gymnasium"}


def policy_card(shared: Shared, repo: str, licence: str) -> str:
    """Of the base with the residual."""
    config, facts = shared.config, shared.residual.facts
    use = (
        "Install `plugins/lerobot_policy_residual_rl` of residual-rl beside LeRobot, which loads it then.\n"
        f"{_lerobot_eval(config, repo)}In residual-rl, with the configuration of a run of the same task,\n"
        f"`residual-rl evaluate RUN --residual hf:{repo}` evaluates it."
    )
    text = _text(
        f"Policy for {config.task.env_id}",
        "A frozen base policy with a small residual network that corrects its actions.",
        _made(config, shared.run_dir) | {"weights": f"version {facts.get('version')}"},
        _results(shared, facts.get("success"), facts.get("episodes")),
        use,
    )
    return _card(ModelCardData(**_model(config, licence), eval_results=_eval_results(shared)), text)


def base_card(shared: Shared, repo: str, licence: str) -> str:
    """Of the base alone."""
    config = shared.config
    results, what = _results_of_best(shared), "trained further by the run"
    if not config.algo.trains_base:
        results, what = {name: row for name, row in results.items() if name == "base"}, "unchanged"
    words = f"task={config.task.name} base={_kind(config)} base.path=hf:{repo}"
    use = f"`residual-rl run {words}` trains a residual on it."
    text = _text(
        f"Base policy for {config.task.env_id}",
        f"An imitation policy that a run began with, {what}.",
        _made(config, shared.run_dir),
        results,
        use,
    )
    return _card(ModelCardData(**_model(config, licence)), text)


def replay_card(shared: Shared, repo: str, licence: str) -> str:
    """Of all episodes of the run, as a dataset."""
    config = shared.config
    use = (
        "```python\nfrom lerobot.datasets.lerobot_dataset import LeRobotDataset\n\n"
        f"dataset = LeRobotDataset({repo!r})\n```\n\n"
        f"In residual-rl, `learner.demos=hf:{repo}` makes it prior data of a run. Beside LeRobot's columns\n"
        "there are the base's action, the residual and the version of the weights (`meta/info.json`)."
    )
    text = _text(
        f"Replay of a run on {config.task.env_id}",
        "All episodes that the actors of a run played, with the base and each residual, in LeRobot's format.",
        _made(config, shared.run_dir),
        {},
        use,
    )
    data = DatasetCardData(
        license=licence, tags=TAGS, task_categories=["robotics"],
        configs=[{"config_name": "default", "data_files": "data/*/*.parquet"}],
    )  # fmt: skip
    return _card(data, text)


def report_card(shared: Shared, repo: str, licence: str) -> str:
    """Of the report, a page of its own."""
    title = f"Run on {shared.config.task.env_id}"
    text = _text(
        title,
        "The report of a run of residual-rl.",
        _made(shared.config, shared.run_dir),
        _results_of_best(shared),
        "",
    )
    return _card(SpaceCardData(title=title, sdk="static", license=licence, tags=TAGS), text)


def _lerobot_eval(config: Config, repo: str) -> str:
    """How LeRobot evaluates it: in ManiSkill alone, whose environments are a plugin too."""
    task, robot = config.task, config.learner.robot_state_dim
    if task.simulator != "maniskill":
        return ""
    words = [
        f"lerobot-eval --policy.path={repo} --env.type=maniskill --env.task={task.env_id}",
        f"--env.control_mode={task.control_mode} --env.max_episode_steps={task.max_episode_steps}",
        f"--env.robot_state_dim={'null' if robot is None else robot}",
        *(["--env.reconfigure=true"] if task.reconfigure else []),
    ]
    lines = " \\\n    ".join(words)
    return f"With `plugins/lerobot_env_maniskill` too,\n\n```bash\n{lines}\n```\n\nevaluates it. "


def _card(data: Any, text: str) -> str:
    return f"---\n{data.to_yaml()}\n---\n\n{text}"


def _model(config: Config, licence: str) -> dict[str, Any]:
    return {
        "license": licence,
        "library_name": "lerobot",
        "pipeline_tag": "robotics",
        "tags": [*TAGS, config.task.env_id],
        "model_name": f"{config.task.name}-{PROJECT}",
    }


def _kind(config: Config) -> str:
    return type(config.base).__struct_config__.tag or ""  # pyright: ignore[reportReturnType]


def _eval_results(shared: Shared) -> list[EvalResult]:
    success, task = shared.residual.facts.get("success"), shared.config.task
    if success is None:
        return []
    judge = "" if task.classifier is None else ", as a classifier says"
    return [
        EvalResult(
            task_type="robotics", task_name="Robotics", dataset_type=task.env_id,
            dataset_name=f"{task.env_id} ({SIMULATORS[task.simulator]})", metric_type="success_rate",
            metric_name=f"success rate{judge}", metric_value=round(100 * success, 1),
        )
    ]  # fmt: skip


def _made(config: Config, run_dir: Path) -> dict[str, str]:
    """How it was made, row by row."""
    summary = read_summary(run_dir) or {}
    counts = {name: f"{summary[name]:,}" for name in ("frames", "episodes", "updates") if summary.get(name)}
    task, simulator = config.task, SIMULATORS[config.task.simulator]
    return {
        "task": f"{task.env_id} ({simulator}), {task.control_mode}, at most {task.max_episode_steps} frames",
        "base": f"{_kind(config)}, {config.base.act_horizon} actions a plan",
        "algorithm": config.algo.name,
        "training seed": f"{config.seed}",
        **counts,
    }


def _results_of_best(shared: Shared) -> dict[str, str]:
    """Those of the run, without a look at its weights."""
    summary = read_summary(shared.run_dir) or {}
    return _results(shared, summary.get("best_success"), summary.get("best_episodes"))


def _results(shared: Shared, success: float | None, episodes: int | None) -> dict[str, str]:
    """Success with its 95 % interval (Wilson): of the weights that are shared, and at the run's end."""
    summary, config = read_summary(shared.run_dir) or {}, shared.config
    what = "trained base" if config.algo.trains_base else "base and residual"
    evaluated = summary.get("evaluation_episodes")
    rows = {
        "base": (summary.get("base_success"), evaluated),
        f"{what}, the evaluation that chose these weights": (success, episodes),
        f"{what} at the end of the run": (summary.get("final_success"), evaluated),
    }
    judge = "" if config.task.classifier is None else ": a classifier says it"
    told = {name: f"{_rate(*row)}{judge}" for name, row in rows.items() if None not in row and row[1]}
    true = summary.get("final_true_success")
    if true is not None and evaluated:
        told["the same in truth, as the simulator says"] = _rate(true, evaluated)
    return told


def _rate(success: float, episodes: int) -> str:
    low, high = wilson_interval(success, episodes)
    return (
        f"{100 * success:.0f} % of {episodes} episodes (95 % interval {100 * low:.0f} to {100 * high:.0f} %)"
    )


def _text(title: str, what: str, made: Mapping[str, str], results: Mapping[str, str], use: str) -> str:
    parts = [f"# {title}", f"{what} Made with residual-rl.", "## How it was made", _table(made)]
    if results:
        parts += ["## Success", _table(results)]
    if use:
        parts += ["## How to use it", use]
    return "\n\n".join(parts) + "\n"


def _table(rows: Mapping[str, str]) -> str:
    return "\n".join(["| | |", "| --- | --- |", *(f"| {name} | {text} |" for name, text in rows.items())])
