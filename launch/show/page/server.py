"""The page of a run, live: reads the run's folder alone, and only while somebody asks."""

import contextlib
import logging
import secrets
import socket
import threading
from collections.abc import Generator
from pathlib import Path
from typing import Any

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from launch.run.ports import listen_near
from launch.show.page.access import TokenRequired, is_loopback
from launch.show.page.live import live_names, picture_stream
from launch.show.page.prometheus import exposition
from launch.show.page.record import Record, RecordReader
from launch.show.page.render import episodes_data, page_data, page_html
from launch.show.page.report import keep_report
from launch.show.page.run_page import changed_of, run_episodes, run_page

log = logging.getLogger("page")

# Pages on other addresses could otherwise read a page on loopback by giving their name its address.
_LOCAL_NAMES = ["127.0.0.1", "localhost"]
_CLOSE_S = 3.0


class LiveRun:
    """The newest that a run's folder says; read again only when something in it has changed."""

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        self._reader, self._lock = RecordReader(run_dir), threading.Lock()
        self._stamp: tuple[object, ...] | None = None
        self._record = Record(run_dir)
        self._data: dict[str, Any] = {}

    def record(self) -> Record:
        with self._lock:
            self._refresh()
            return self._record

    def data(self, seen: str) -> dict[str, Any] | None:
        """What the page shows; None if that is what a client has `seen`."""
        with self._lock:
            self._refresh()
            stamp = str(hash(self._stamp))
            if seen == stamp:
                return None
            if not self._data:
                self._data = page_data(run_page(self._record, changed_of(self._record))) | {"stamp": stamp}
            return self._data

    def html(self) -> str:
        record = self.record()
        episodes = run_episodes(self.run_dir, list(record.films))
        return page_html(run_page(record, changed_of(record)), episodes, live=True)

    def _refresh(self) -> None:
        stamp = self._reader.stamp()
        if stamp != self._stamp:
            self._stamp, self._record, self._data = stamp, self._reader.read(), {}


def make_app(run_dir: Path, token: str | None, cookie: str = "residual_rl") -> Starlette:
    """`token`: what clients must show; None: only for names of this host."""
    live = LiveRun(run_dir)

    def data(request: Request) -> Response:
        fresh = live.data(request.query_params.get("stamp", ""))
        return Response(status_code=204) if fresh is None else JSONResponse(fresh)

    def episodes(request: Request) -> Response:
        return JSONResponse(episodes_data(run_episodes(run_dir, list(live.record().films))))

    def metrics(request: Request) -> Response:
        return Response(exposition(live.record), media_type=CONTENT_TYPE_LATEST)

    def film(request: Request) -> Response:
        name = request.path_params["name"]
        known = name in live.record().films
        return FileResponse(run_dir / "videos" / name) if known else PlainTextResponse("no such film\n", 404)

    def pictures(request: Request) -> Response:
        name = request.path_params["name"]
        known = name in live_names(run_dir)
        return picture_stream(run_dir, name) if known else PlainTextResponse("no such actor\n", 404)

    guard = (
        Middleware(TrustedHostMiddleware, allowed_hosts=_LOCAL_NAMES)
        if token is None
        else Middleware(TokenRequired, token=token, cookie=cookie)
    )
    routes = [
        Route("/", lambda request: HTMLResponse(live.html())),
        Route("/data", data),
        Route("/episodes", episodes),
        Route("/healthz", lambda request: PlainTextResponse("ok\n")),
        Route("/metrics", metrics),
        Route("/videos/{name}", film),
        Route("/live", lambda request: JSONResponse(live_names(run_dir))),
        Route("/live/{name}", pictures),
    ]
    return Starlette(routes=routes, middleware=[guard])


def serve(run_dir: Path, host: str, port: int, stop: threading.Event, *, reports: bool) -> None:
    """Serve until `stop`.

    Args:
        port: the next free one is taken where this one is not free.
        reports: write report.html as well, and end when the run is over.

    Raises:
        UsageError: no port can be had.
    """
    listening = listen_near(host, port)
    port_taken, port = port, listening.getsockname()[1]
    token = None if is_loopback(host) else secrets.token_urlsafe(16)
    app = make_app(run_dir, token, cookie=f"residual_rl_{port}")
    settings = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        lifespan="off",
        server_header=False,
        timeout_graceful_shutdown=1,
    )
    if port != port_taken:
        log.info("port %d is taken, this is the next free one", port_taken)
    log.info("%s shows %s", _address(host, port, token), run_dir.name)
    with running(uvicorn.Server(settings), listening):
        if reports:
            keep_report(run_dir, stop)
        else:
            stop.wait()


@contextlib.contextmanager
def running(server: uvicorn.Server, listening: socket.socket) -> Generator[None]:
    """On a thread of its own: signals belong to the main thread."""
    thread = threading.Thread(target=server.run, args=([listening],), name="page", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(_CLOSE_S)


def _address(host: str, port: int, token: str | None) -> str:
    shown = socket.gethostname() if host in ("0.0.0.0", "::") else host
    return f"http://{shown}:{port}/" + ("" if token is None else f"?token={token}")
