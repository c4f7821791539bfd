"""The live page: only for those who may see it, never older than what is on disk, and it touches nothing."""

import contextlib
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import uvicorn

from launch.run.ports import listen_near
from launch.show.page.access import is_loopback
from launch.show.page.server import make_app, running
from tests.support.page_process import PageProcess
from tests.support.program import residual_rl
from tests.support.run_folder import evaluation_point, make_run, training_point, write_points

TOKEN = "a-token"
TIMEOUT_S = 60.0


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Not to be changed."""
    return make_run(tmp_path_factory.mktemp("runs") / "one")


@contextlib.contextmanager
def served_by(run_dir: Path, token: str | None = None) -> Iterator[httpx.Client]:
    """A client of a real server in this process."""
    listening = listen_near("127.0.0.1", 24_000)
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    server = uvicorn.Server(
        uvicorn.Config(make_app(run_dir, token, "name"), lifespan="off", log_level="warning")
    )
    with running(server, listening), httpx.Client(base_url=url, timeout=TIMEOUT_S) as client:
        yield client


@pytest.fixture(scope="module")
def client(made: Path) -> Iterator[httpx.Client]:
    with served_by(made) as one:
        yield one


def test_it_serves_the_page_its_data_and_its_episodes(client: httpx.Client) -> None:
    page = client.get("/")
    assert page.status_code == 200 and '"live":true' in page.text and "Plotly" in page.text
    data = client.get("/data").json()
    assert "95\xa0%" in data["top"] and "actor-1" in data["bottom"]
    assert {chart["id"] for chart in data["charts"]} >= {"success", "q", "waits"}
    assert client.get("/episodes").json()["columns"]["frames"] == [6, 3, 5, 9, 4, 7, 2, 8]
    assert client.get("/healthz").text == "ok\n"


def test_what_a_client_has_is_not_sent_again(tmp_path: Path) -> None:
    run_dir = make_run(tmp_path / "runs/one")
    with served_by(run_dir) as client:
        stamp = client.get("/data").json()["stamp"]
        assert client.get("/data", params={"stamp": stamp}).status_code == 204
        write_points(run_dir, [training_point(41_000), evaluation_point("full", 40_000, 0.97)], resume=True)
        fresh = client.get("/data", params={"stamp": stamp}).json()
    assert "97\xa0%" in fresh["top"] and "41,000" in fresh["top"] and fresh["stamp"] != stamp


def test_films_are_served_and_nothing_beside_them(tmp_path: Path) -> None:
    run_dir = make_run(tmp_path / "runs/one")
    with served_by(run_dir) as client:
        assert client.get("/videos/a.mp4").status_code == 404
        (run_dir / "videos").mkdir()
        (run_dir / "videos/a b.mp4").write_bytes(b"0123456789")
        assert client.get("/videos/a%20b.mp4", headers={"range": "bytes=2-4"}).content == b"234"
        for path in ("/videos/..%2fconfig.yaml", "/videos/%2e%2e/config.yaml", "/videos//etc/passwd"):
            assert client.get(path).status_code == 404


def test_a_page_on_loopback_answers_to_the_names_of_this_host_alone(client: httpx.Client) -> None:
    for host, status in (("localhost:8765", 200), ("127.0.0.1", 200), ("evil.example", 400)):
        assert client.get("/data", headers={"host": host}).status_code == status


def test_without_the_token_it_answers_401(made: Path) -> None:
    with served_by(made, TOKEN) as client:
        for path in ("/", "/data", "/episodes", "/metrics", "/videos/a.mp4", "/none"):
            assert client.get(path).status_code == 401
            assert client.get(path, params={"token": "another"}).status_code == 401
            assert client.get(path, headers={"authorization": "Bearer \u00e4".encode()}).status_code == 401
        assert client.get("/healthz").status_code == 200


def test_the_token_in_the_address_becomes_a_cookie(made: Path) -> None:
    with served_by(made, TOKEN) as client:
        scraped = client.get("/metrics", headers={"authorization": f"Bearer {TOKEN}"})
        first = client.get("/", params={"token": TOKEN})
        assert (scraped.status_code, first.status_code) == (200, 200)
        said = first.headers["set-cookie"].lower()
        assert "httponly" in said and "samesite=strict" in said
        assert client.get("/data").status_code == 200


def test_prometheus_gets_the_newest_figures(client: httpx.Client) -> None:
    lines = client.get("/metrics").text.splitlines()
    samples = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    assert float(samples['residual_rl_frames{run="one"}']) == 39_000
    assert float(samples['residual_rl_success{run="one"}']) == 0.95
    assert float(samples['residual_rl_base_success{run="one"}']) == 0.42
    assert float(samples['residual_rl_over{run="one"}']) == 0


def test_an_empty_folder_is_a_page_that_says_what_is_missing(tmp_path: Path) -> None:
    with served_by(tmp_path) as client:
        assert "metrics.jsonl is missing" in client.get("/").text
        assert client.get("/metrics").status_code == 200


@pytest.mark.parametrize(
    ("host", "known"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("box", False)],
)
def test_beyond_loopback_is_everything_else(host: str, known: bool) -> None:
    assert is_loopback(host) is known


def test_the_next_free_port_is_taken() -> None:
    with listen_near("127.0.0.1", 20_000) as one, listen_near("127.0.0.1", one.getsockname()[1]) as two:
        assert two.getsockname()[1] > one.getsockname()[1]


def test_an_address_of_another_host_and_a_run_that_is_not_there_are_one_line(
    made: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "nice", lambda _: 0)
    assert residual_rl("page", str(made), "--host", "192.0.2.1") == 2
    assert residual_rl("page", "nobody") == 2
    one, two = capsys.readouterr().err.splitlines()
    assert "192.0.2.1:8765 cannot be used" in one and "no run runs/nobody" in two


# --- the process ------------------------------------------------------------------------------------


@pytest.fixture
def port() -> int:
    with listen_near("127.0.0.1", 23_456) as free:
        return free.getsockname()[1]


@pytest.fixture
def served(made: Path, port: int) -> Iterator[PageProcess]:
    with socket.create_server(("127.0.0.1", port)), PageProcess(made, "--port", str(port)) as one:
        yield one


def test_it_says_where_it_is_runs_at_the_lowest_priority_and_ends_on_a_signal(
    served: PageProcess, port: int, made: Path
) -> None:
    assert served.said[0].startswith(f"port {port} is taken")
    assert httpx.get(f"{served.url}healthz", timeout=TIMEOUT_S).text == "ok\n"
    assert os.getpriority(os.PRIO_PROCESS, served.process.pid) == 19
    before = {path: path.stat().st_mtime_ns for path in made.rglob("*")}
    httpx.get(served.url, timeout=TIMEOUT_S)
    begin_s = time.monotonic()
    served.process.send_signal(signal.SIGTERM)
    assert served.process.wait(10) == 128 + signal.SIGTERM and time.monotonic() - begin_s < 5
    assert {path: path.stat().st_mtime_ns for path in made.rglob("*")} == before
