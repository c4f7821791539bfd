"""The live page in a real browser: it follows a run, whoever is killed."""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.compose import compose_config, write_config
from tests.support.browser import Browser
from tests.support.page_process import PageProcess
from tests.support.run_folder import evaluation_point, make_run, training_point, write_points
from tests.support.runs import points, wait_for

# The number in the tile "frames".
SHOWN = """Number([...document.querySelectorAll('.tile')]
    .find(tile => tile.querySelector('.label').textContent === 'frames')
    .querySelector('.value').textContent.replaceAll(',', ''))"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as one:
        yield one


def test_fresh_figures_appear_without_a_reload(browser: Browser, tmp_path: Path) -> None:
    run_dir = make_run(tmp_path / "runs/one")
    with PageProcess(run_dir) as page:
        browser.open(page.url)
        assert browser.ask(SHOWN) == 39_000
        browser.ask("window.mark = 1")
        write_points(run_dir, [training_point(41_000), evaluation_point("full", 40_500, 0.97)], resume=True)
        assert browser.wait_until(f"{SHOWN} === 41000") < 5
        drawn = "byId('chart-success').data.find(trace => trace.name.startsWith('base + residual')).x.at(-1)"
        assert browser.ask(drawn) == 40_500
        assert browser.ask("window.mark") == 1 and browser.complaints() == []
        page.process.kill()
        browser.wait_until("byId('news').textContent.startsWith('no answer from this page')")
        assert browser.ask(SHOWN) == 41_000, "what it showed is still there"


def test_a_client_without_the_token_sees_nothing(browser: Browser, tmp_path: Path) -> None:
    run_dir = make_run(tmp_path / "runs/one")
    with PageProcess(run_dir, "--host", "0.0.0.0") as page:
        port = page.url.rsplit(":", 1)[1].partition("/")[0]
        local = f"http://127.0.0.1:{port}/"
        browser.open(local)
        assert "needs the token" in browser.ask("document.body.textContent")
        token = re.search(r"\?token=(\S+)", page.url)
        assert token
        browser.open(f"{local}?token={token[1]}")
        assert browser.ask(SHOWN) == 39_000
        write_points(run_dir, [training_point(41_000)], resume=True)
        browser.wait_until(f"{SHOWN} === 41000")  # with the cookie
        late = [text for text in browser.complaints() if "favicon" not in text]  # of the page before
        assert late == []


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_it_follows_a_real_run_through_a_kill_of_the_learner(
    browser: Browser, tmp_path: Path, free_ports: tuple[int, int], repository: Path
) -> None:
    words = (
        "learner.total_frames=1000000", "algo.learning_starts=100", "algo.critic_warmup_updates=10",
        "learner.wandb.mode=disabled", "actor.count=1", "actor.num_envs=2", "actor.rows_per_batch=8",
        "learner.log_every_s=0.5", "learner.store_flush_s=1", "learner.checkpoint_every_s=0.5", "name=live",
        f"runs_dir={tmp_path}",
        f"wire.experience_port={free_ports[0]}", f"wire.weights_port={free_ports[1]}",
    )  # fmt: skip
    run_dir = tmp_path / "live"
    write_config(run_dir / "launch.yaml", compose_config(words))  # as the launcher does

    def start(module: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", module, *words],
            cwd=repository, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip

    def frames() -> int:
        return points(run_dir)[-1]["frames"] if points(run_dir) else 0

    with PageProcess(run_dir) as page:
        browser.open(page.url)
        assert "nothing was measured yet" in browser.ask("document.body.textContent")
        processes = [start("learner"), start("actor")]
        try:
            wait_for(lambda: frames() > 200, *processes)
            assert browser.wait_until(f"{SHOWN} >= {frames()}") < 5
            processes[0].kill()
            processes[0].wait()
            last = points(run_dir)[-1]["frames"]
            browser.wait_until(f"{SHOWN} === {last}", timeout_s=10)
            processes[0] = start("learner")
            wait_for(lambda: frames() > last + 100, *processes)
            assert browser.wait_until(f"{SHOWN} > {last}") < 5
            browser.wait_until("document.querySelectorAll('#bottom td').length > 5")
            assert "actor-0" in browser.ask("byId('bottom').textContent")
            wait_for(lambda: (run_dir / "replay/meta/info.json").exists(), *processes)
            browser.wait_until("document.querySelectorAll('#rows tr').length > 0")
            assert browser.complaints() == []
        finally:
            for process in reversed(processes):
                process.send_signal(signal.SIGKILL)
                process.wait()
