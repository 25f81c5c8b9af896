# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the modules of this collection share: steps towards what is wanted, tags, and waiting."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

# The name of a client's method and its parameters.
Step = tuple[str, dict[str, Any]]


def take(client: Any, steps: Iterable[Step]) -> None:
    """Make the calls in order."""
    for method, parameters in steps:
        getattr(client, method)(**parameters)


def code_of(error: Exception) -> str:
    """AWS's code of a botocore ClientError, "" for other errors."""
    return str(getattr(error, "response", {}).get("Error", {}).get("Code", ""))


def tag_list(tags: Mapping[str, Any]) -> list[dict[str, str]]:
    """Tags as the API takes them."""
    return [{"Key": key, "Value": str(value)} for key, value in sorted(tags.items())]


def missing_tags(current: Iterable[Mapping[str, str]], wanted: Mapping[str, Any]) -> list[dict[str, str]]:
    """The tags to set. Tags of others are left alone."""
    now = {tag["Key"]: tag["Value"] for tag in current}
    return [tag for tag in tag_list(wanted) if now.get(tag["Key"]) != tag["Value"]]


def wait(done: Callable[[], bool], what: str, seconds: float, pause: float = 5.0) -> None:
    """Ask until `done` says so. TimeoutError after so many seconds."""
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() >= end:
            raise TimeoutError(f"{what} took longer than {seconds:.0f} s; it may still get there: run the same again")
        time.sleep(min(pause, max(0.1, end - time.monotonic())))
