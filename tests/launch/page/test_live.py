"""The page streams what the robot does that somebody drives."""

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import uvicorn

from config.actor import PICTURES_FOLDER
from launch.run.ports import listen_near
from launch.show.page.server import make_app, running
from tests.support.run_folder import make_run


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("runs") / "one")


@pytest.fixture
def client(run_dir: Path) -> Iterator[httpx.Client]:
    listening = listen_near("127.0.0.1", 24_500)
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    server = uvicorn.Server(uvicorn.Config(make_app(run_dir, None), lifespan="off", log_level="warning"))
    with running(server, listening), httpx.Client(base_url=url, timeout=30) as one:
        yield one


def put(run_dir: Path, name: str, content: bytes) -> Path:
    """As an actor does."""
    place = run_dir / PICTURES_FOLDER / f"{name}.jpg"
    place.parent.mkdir(exist_ok=True)
    fresh = place.with_suffix(".new")
    fresh.write_bytes(content)
    os.replace(fresh, place)
    return place


def test_each_new_picture_is_sent_until_the_actor_ends(client: httpx.Client, run_dir: Path) -> None:
    place = put(run_dir, "actor-100", b"first")
    assert client.get("/live").json() == ["actor-100"]

    def go_on() -> None:
        for content in (b"second", b"third"):
            time.sleep(0.2)
            put(run_dir, "actor-100", content)
        time.sleep(0.2)
        place.unlink()

    with client.stream("GET", "/live/actor-100") as answer:
        threading.Thread(target=go_on, daemon=True).start()
        assert answer.headers["content-type"] == "multipart/x-mixed-replace; boundary=picture"
        body = b"".join(answer.iter_bytes())
    parts = [part.split(b"\r\n\r\n", 1)[1].strip() for part in body.split(b"--picture")[1:]]
    assert parts == [b"first", b"second", b"third"]
    assert client.get("/live").json() == []


def test_what_a_killed_actor_left_and_other_files_are_not_shown(client: httpx.Client, run_dir: Path) -> None:
    place = put(run_dir, "actor-101", b"old")
    os.utime(place, (1, 1))
    assert client.get("/live").json() == []
    for name in ("actor-101", "..%2Fconfig", "nobody"):
        assert client.get(f"/live/{name}").status_code == 404
    place.unlink()
