"""Laws of the films' files: H.264 that plays, a list that says what is there, and refusals in one line."""

import json
import os
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from config.process import UsageError
from launch.show.film.captions import Take
from launch.show.film.files import entry, make_folder, write_mp4, write_webp
from launch.show.film.player import Shot
from launch.show.film_list import add_to_index, caption, read_index

PICTURES = [np.full((48, 64, 3), shade, np.uint8) for shade in (20, 120, 220)]


def take(success: bool, evaluated: bool | None, version: int | None = None) -> Take:
    shots = [Shot(9, np.zeros((4, 4, 3), np.uint8), 0.0, success, True)]
    return Take("base", version, 5, shots, evaluated)


def test_a_film_is_h264_with_all_pictures_at_its_speed(tmp_path: Path) -> None:
    write_mp4(tmp_path / "a.mp4", PICTURES, fps=10)
    with av.open(str(tmp_path / "a.mp4")) as film:
        stream = film.streams.video[0]
        assert (stream.codec_context.name, stream.average_rate) == ("h264", 10)
        shades = [frame.to_ndarray(format="rgb24").mean() for frame in film.decode(stream)]
    assert shades == pytest.approx([20, 120, 220], abs=4)
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_an_animated_picture_has_them_too(tmp_path: Path) -> None:
    write_webp(tmp_path / "a.webp", PICTURES, fps=10)
    with Image.open(tmp_path / "a.webp") as image:
        assert (image.format, getattr(image, "n_frames", 1), image.size) == ("WEBP", 3, (64, 48))


@pytest.mark.parametrize(
    ("ends", "same"),
    [
        ([(True, True), (False, False)], True),
        ([(True, True), (False, None)], None),
        ([(True, False), (False, None)], False),
    ],
)
def test_the_list_says_how_each_film_ended_and_whether_as_evaluated(
    ends: list[tuple[bool, bool | None]], same: bool | None, tmp_path: Path
) -> None:
    takes = [take(*ends[1]), take(*ends[0], version=12)]
    (tmp_path / "a.mp4").touch()
    add_to_index(tmp_path, entry("a.mp4", "corrected", ["base", "full"], takes))
    [film] = json.loads((tmp_path / "index.json").read_text())["films"]
    panels = film.pop("panels")
    assert film == {
        "file": "a.mp4", "kind": "corrected", "seed": 5, "policy": "base,full", "version": 12,
        "success": True, "as_evaluated": same,
    }  # fmt: skip
    assert [panel["version"] for panel in panels] == [0, 12] and panels[0]["success"] is False


def test_a_caption_says_how_each_policy_ended(tmp_path: Path) -> None:
    pair = [take(False, False), take(True, False, version=12)]
    said = caption(entry("a.mp4", "corrected", ["base", "full"], pair))
    ends = [f"no success in {pair[0].frames} frames", f"success at frame {pair[1].frames}"]
    assert said == f"seed 5; base: {ends[0]}; base + residual v12: {ends[1]}; not as it was evaluated"
    assert caption({"file": "a.mp4", "panels": 3}) == ""


def test_a_film_made_again_replaces_its_entry_and_one_that_is_gone_leaves_the_list(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4", "a.mp4"):
        (tmp_path / name).touch()
        add_to_index(tmp_path, entry(name, "success", ["base"], [take(True, None)]))
    assert [film["file"] for film in read_index(tmp_path)] == ["b.mp4", "a.mp4"]
    (tmp_path / "b.mp4").unlink()
    add_to_index(tmp_path, entry("a.mp4", "success", ["base"], [take(True, None)]))
    assert [film["file"] for film in read_index(tmp_path)] == ["a.mp4"]
    for damage in ("[]", "{", '{"films": 3}', '{"films": [{"kind": "x"}]}'):
        (tmp_path / "index.json").write_text(damage)
        assert read_index(tmp_path) == []


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "videos").touch()
    with pytest.raises(UsageError, match=r"videos cannot be written: .* is no folder"):
        make_folder(tmp_path)
    (tmp_path / "videos").unlink()
    monkeypatch.setattr(os, "access", lambda *_, **__: False)  # root may write anywhere
    with pytest.raises(UsageError, match=r"videos cannot be written: no permission"):
        make_folder(tmp_path)
