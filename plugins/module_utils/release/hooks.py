# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""The points of a release at which a user's own tasks may run."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

POINTS = (
    "before_lock", "after_lock", "before_prepare", "after_prepare", "before_release", "before_host", "before_traffic", "after_traffic", "after_host",
    "after_release", "on_failure",
)  # fmt: skip


def problems(hooks: Any) -> list[str]:
    """What is wrong with the hooks that somebody has named, each with its fix."""
    if not isinstance(hooks, Mapping):
        return [f"release_hooks: {hooks!r} is no map of points to task files. Points: {', '.join(POINTS)}"]
    found = []
    for point, file in hooks.items():
        if point not in POINTS:
            near = difflib.get_close_matches(str(point), POINTS, 1)
            found.append(f"release_hooks: there is no point {point!r}" + (f"; did you mean {near[0]}?" if near else "") + f" Points: {', '.join(POINTS)}")
        elif not Path(str(file)).is_file():
            found.append(f"release_hooks.{point}: there is no file {Path(str(file)).absolute()}. Fix: name a file with tasks, from the working directory on")
    return found
