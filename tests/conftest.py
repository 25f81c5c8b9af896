"""Common to all tests: no account and no settings from outside, the collection link, and the marker `docker`."""

from __future__ import annotations

import os

import pytest

from tools import setup

FOREIGN = ("AWS_", "FLOTILLA_", "ANSIBLE_", "BOTO_", "MAKE", "MFLAGS")
OURS = ("FLOTILLA_CLOUD_CGROUP",)  # of the machine rather than of a person or a demo: the guests' version of cgroups


def pytest_configure() -> None:
    """Tests see neither the credentials of the person who runs them nor what make or a running demo has set."""
    for name in [name for name in os.environ if name.startswith(FOREIGN) and name not in OURS]:
        del os.environ[name]
    setup.make_link()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    marked = [item for item in items if item.get_closest_marker("docker")]
    if marked and not setup.engine_answer()[0]:
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="no docker engine answers here: make setup starts one"))
