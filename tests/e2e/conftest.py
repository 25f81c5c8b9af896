"""One cloud and one hello for the whole module; the cloud goes when the session ends."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from tests.e2e.system import BUILD, System, say
from tools import stack_images


@pytest.fixture(scope="session")
def system() -> Iterator[System]:
    """hello on an empty cloud. What a killed earlier run has left is removed first."""
    system = System("hello")
    system.cloud("down")
    shutil.rmtree(BUILD, ignore_errors=True)
    say("starting the cloud")
    system.cloud("up").succeeded()
    yield system
    system.cloud("down").succeeded()


@pytest.fixture(scope="session")
def tags(system: System) -> dict[str, str]:
    """Version → tag of hello's image in the docker engine; `broken` never becomes healthy."""
    say("building the images of hello")
    return {version: stack_images.build("hello", "web", version, system.environment) for version in ("v1", "v2", "v3", "broken")}
