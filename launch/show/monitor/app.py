"""The monitor in a terminal."""

import os
from pathlib import Path
from typing import ClassVar

import msgspec
from rich.table import Table
from rich.text import Text
from textual import work
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, VerticalScroll
from textual.screen import ModalScreen, Screen
from textual.widgets import Footer, Static, TabbedContent, TabPane
from textual.worker import get_current_worker

from config.process import UsageError
from launch.run import holder
from launch.run.tmux import SOCKET_VARIABLE
from launch.show.monitor import words
from launch.show.monitor.chart import draw_success
from launch.show.monitor.follower import Follower
from launch.show.monitor.snapshot import Snapshot

LOOK_EVERY_S = 1.0
WIDE_COLUMNS, TALL_LINES = 120, 36
# A lower terminal has no room for the last lines of each process.
LEAST_LINES = 20


class Chart(Static):
    """Success over frames, as large as there is room."""

    snapshot: Snapshot | None = None

    def show(self, snapshot: Snapshot) -> None:
        """Drawn anew only where the curves have changed: most of a monitor's work is drawing."""
        before, self.snapshot = self.snapshot, snapshot
        self.display = bool(snapshot.full or snapshot.behaviour or snapshot.base)
        if before is None or _curves(before) != _curves(snapshot):
            self.refresh()

    def render(self) -> Text:
        size = self.content_size
        return Text() if self.snapshot is None else draw_success(self.snapshot, size.width, size.height)


class Monitor(App[None]):
    """Follows one run. `snapshot` is what it shows."""

    CSS_PATH = "monitor.tcss"
    TITLE = "residual-rl monitor"
    ENABLE_COMMAND_PALETTE = False
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (WIDE_COLUMNS, "-wide")]
    VERTICAL_BREAKPOINTS = [(0, "-low"), (TALL_LINES, "-tall")]
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("l", "logs", "logs"),
        Binding("s", "stop", "stop the run"),
        Binding("q", "quit", "leave"),
        Binding("ctrl+c", "stop", show=False, priority=True),
    ]

    def __init__(self, run_dir: Path) -> None:
        super().__init__()
        self.follower = Follower(run_dir)
        self.snapshot = self.follower.look()
        self.note = ""
        """What came of the key that stops the run; shown below the warnings."""
        self._filled: dict[str, Text | Table | None] = {}

    def compose(self) -> ComposeResult:
        yield Static(id="title")
        with Container(id="body"):
            yield Chart(id="chart")
            with VerticalScroll(id="right", can_focus=False):
                for name in ("facts", "actors", "warnings", "details"):
                    yield Static(id=name)
        yield Static(id="logs")
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        self.call_after_refresh(self.show)
        self.look()

    def on_resize(self) -> None:
        self.call_after_refresh(self.show)

    @work(thread=True)
    def look(self) -> None:
        """Read the folder, and again a moment later. On a thread: a slow disk must not freeze the keys."""
        snapshot = self.follower.look()
        if not get_current_worker().is_cancelled:
            self.call_from_thread(self.show, snapshot)
            self.call_from_thread(self.set_timer, LOOK_EVERY_S, self.look)

    def show(self, snapshot: Snapshot | None = None) -> None:
        """Show the run as it is now."""
        self.snapshot = shown = snapshot or self.snapshot
        if self.note and shown.state != "over":
            shown = msgspec.structs.replace(shown, warnings=(*shown.warnings, self.note))
        main = self.screen_stack[0]
        columns, lines = self.size
        tall = lines >= TALL_LINES
        main.query_one(Chart).show(shown)
        half = columns // 2 if columns >= WIDE_COLUMNS else columns
        self._fill(main, "#title", words.title(shown, columns))
        self._fill(main, "#facts", words.facts(shown))
        self._fill(main, "#actors", words.actors(shown, half))
        self._fill(main, "#details", words.details(shown) if tall and shown.figures else None)
        self._fill(main, "#warnings", words.warnings(shown, half - 3, 8 if tall else 2) or None)
        per_process = max(1, (lines - TALL_LINES) // max(4, len(shown.logs)))
        # In the run's tmux session the pane below has the lines of all processes.
        has_room = lines >= LEAST_LINES and SOCKET_VARIABLE not in os.environ
        logs = words.logs(shown, columns, per_process) if has_room else None
        self._fill(main, "#logs", logs or None)
        if isinstance(self.screen, Logs):
            self.screen.show(shown)

    def _fill(self, main: Screen, selector: str, content: Text | Table | None) -> None:
        """Show `content` in a part of the main screen, which takes no room without. What is there stays."""
        if selector in self._filled and _says(self._filled[selector]) == _says(content):
            return
        self._filled[selector] = content
        part = main.query_one(selector, Static)
        part.display = content is not None
        if content is not None:
            part.update(content)

    def action_logs(self) -> None:
        self.push_screen(Logs(self.snapshot))

    def action_stop(self) -> None:
        if isinstance(self.screen, AskToStop):
            self.screen.action_yes()  # Ctrl-C twice
        else:
            self.push_screen(AskToStop(self.snapshot), self._stop)

    def _stop(self, wanted: bool | None) -> None:
        if not wanted:
            return
        try:
            process = holder.stop(self.follower.run_dir)
            self.note = f"asked process {process} to end the run; it saves a checkpoint first"
        except UsageError as error:
            self.note = str(error)
        self.show()


def _curves(snapshot: Snapshot) -> tuple[object, ...]:
    return snapshot.full, snapshot.behaviour, snapshot.base, snapshot.figures.get("frames")


def _says(content: Text | Table | None) -> object:
    """What a reader sees of it: equal for what looks the same."""
    if not isinstance(content, Table):
        return content
    styles = [row.style for row in content.rows]
    return styles, [(column.header, list(column.cells)) for column in content.columns]


class AskToStop(ModalScreen[bool]):
    """Asks before the run is stopped."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "yes", "stop it"),
        Binding("n,escape,q", "no", "go on"),
    ]

    def __init__(self, snapshot: Snapshot) -> None:
        super().__init__()
        self._text = (
            f"Stop run {snapshot.run}?\n\nIt saves a checkpoint and all its processes end, as with Ctrl-C. "
            f"The same command goes on with it.\n\ny stops it, n lets it go on."
        )

    def compose(self) -> ComposeResult:
        yield Static(self._text, id="question", markup=False)

    def action_yes(self) -> None:
        self.dismiss(True)

    def action_no(self) -> None:
        self.dismiss(False)


class Logs(Screen[None]):
    """The last lines of each process, a tab each."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "tab(-1)", "one to the left"),
        Binding("right", "tab(1)", "one to the right"),
        Binding("l,escape,q", "back", "back"),
    ]

    def __init__(self, snapshot: Snapshot) -> None:
        super().__init__()
        self._logs = snapshot.logs

    def compose(self) -> ComposeResult:
        if not self._logs:
            yield Static("no process has written a line yet")
        with TabbedContent():
            for index, (name, lines) in enumerate(self._logs.items()):
                with TabPane(name, id=f"tab-{index}"), VerticalScroll():
                    yield Static(Text("\n".join(lines)), markup=False)
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        self.call_after_refresh(self._to_the_end)

    def show(self, snapshot: Snapshot) -> None:
        """The lines as they are now."""
        for index, lines in enumerate(snapshot.logs.values()):
            for part in self.query(f"#tab-{index} Static").results(Static):
                part.update(Text("\n".join(lines)))

    def action_tab(self, step: int) -> None:
        tabs = self.query_one(TabbedContent)
        names = [pane.id for pane in self.query(TabPane) if pane.id]
        if names:
            tabs.active = names[(names.index(tabs.active) + step) % len(names)]
            self._to_the_end()

    def action_back(self) -> None:
        self.dismiss()

    def _to_the_end(self) -> None:
        for part in self.query(VerticalScroll):
            part.scroll_end(animate=False)
