"""Releases on a host: written whole, switched in one step, the old ones swept without touching the current."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from ansible_collections.flotilla.ec2.plugins.module_utils.service.layout import Layout, difference, point


def files(number: int, image: str = "registry/web@sha256:1") -> dict[str, str]:
    return {"release.json": f'{{"release": {number}, "image": "{image}"}}', "environment": "A=1\n", "flotilla-web.service": "[Unit]\n"}


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout("web", tmp_path)


def test_a_bare_host_has_nothing(layout: Layout) -> None:
    assert (layout.prepared(), layout.current(), layout.facts(1), layout.contents(1)) == ([], None, {}, {})


def test_a_release_is_written_and_read_back(layout: Layout) -> None:
    layout.write(2, files(2))
    layout.write(10, files(10))
    assert layout.prepared() == [2, 10]
    assert layout.contents(2) == files(2)
    assert layout.facts(10)["release"] == 10
    assert (layout.release(2) / "environment").stat().st_mode & 0o777 == 0o644
    assert layout.release(2).stat().st_mode & 0o777 == 0o755


def test_a_release_that_says_something_else_is_replaced_as_a_whole(layout: Layout) -> None:
    layout.write(2, {**files(2), "old": "gone"})
    layout.write(2, files(2, "registry/web@sha256:2"))
    assert layout.contents(2) == files(2, "registry/web@sha256:2")
    assert [path.name for path in layout.releases.iterdir()] == ["2"]


def test_what_a_killed_run_left_is_no_release_and_is_swept(layout: Layout) -> None:
    (layout.releases / ".3-abc").mkdir(parents=True)
    (layout.releases / "4").mkdir()
    assert layout.prepared() == []
    layout.write(4, files(4))
    assert sorted(path.name for path in layout.releases.iterdir()) == ["4"]


def test_switching_moves_both_links_and_says_when_systemd_must_read_again(layout: Layout) -> None:
    layout.write(1, files(1))
    layout.write(2, files(2))
    assert layout.switch(1)
    assert layout.current() == 1
    assert not layout.switch(1)
    assert layout.switch(2)
    assert os.readlink(layout.link) == "releases/2"
    assert os.readlink(layout.unit) == "/etc/flotilla/web/current/flotilla-web.service"
    layout.unit.unlink()  # as `systemctl disable` does
    assert layout.switch(2)
    assert layout.unit.is_symlink()


def test_a_link_that_a_killed_run_left_half_made_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / ".current.new").symlink_to("nowhere")
    assert point(tmp_path / "current", "releases/1")
    assert not point(tmp_path / "current", "releases/1")


@pytest.mark.parametrize(
    ("keep", "spared", "gone"),
    [(2, {1}, [2]), (2, set(), [1, 2]), (9, set(), []), (0, set(), [])],
)
def test_the_oldest_releases_are_surplus(layout: Layout, keep: int, spared: set[int], gone: list[int]) -> None:
    for number in (1, 2, 3, 4):
        layout.write(number, files(number))
    assert layout.surplus(keep, spared) == gone


def test_a_difference_shows_changed_files_only(tmp_path: Path) -> None:
    rows = difference({"a": "1", "b": "1"}, {"a": "1", "b": "2", "c": "3"}, tmp_path)
    assert [(Path(row["after_header"]).name, row["before"], row["after"]) for row in rows] == [("b", "1", "2"), ("c", "", "3")]


def test_a_configuration_tells_releases_apart(layout: Layout) -> None:
    layout.write(1, files(1))
    layout.write(2, files(2))
    assert layout.configuration(1) != layout.configuration(2)
    assert len(layout.configuration(1) or "") == 16
    assert layout.configuration(3) is None


def test_a_diff_says_which_values_changed_and_none_of_them() -> None:
    def files(colour: str, memory: int) -> dict[str, str]:
        facts = {"environment": {"COLOUR": colour, "SHAPE": "round"}, "memory_mb": memory}
        return {"release.json": json.dumps(facts), "environment": f"# managed\nCOLOUR={colour}\nSHAPE=round\n", "x.service": f"Memory={memory}\n"}

    rows = {row["after_header"]: row for row in difference(files("red", 1), files("blue", 2), Path("/r"))}
    assert set(rows) == {"/r/release.json", "/r/environment", "/r/x.service"}
    text = str(rows)
    assert "red" not in text and "blue" not in text and "round" not in text
    assert "COLOUR=******** (another value)\n" in rows["/r/environment"]["after"]
    assert "SHAPE=********\n" in rows["/r/environment"]["after"]
    assert rows["/r/x.service"]["after"] == "Memory=2\n"
