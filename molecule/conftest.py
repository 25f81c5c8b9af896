"""For the tests of roles that speak to AWS: the account as its owner sees it, and the stack of the scenario."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pytest

PORT = 4601  # of the scenarios' cloud, as .config/molecule/config.yml has it
STATE = Path(__file__).resolve().parents[1] / "build" / "molecule"


@pytest.fixture(scope="session")
def stack() -> str:
    """The name of the scenario's stack: its role's."""
    return Path(os.environ["MOLECULE_SCENARIO_DIRECTORY"]).name.replace("_", "-")


@pytest.fixture(scope="session")
def tags(stack: str) -> dict[str, str]:
    """What everything that a role makes for the stack is tagged with."""
    return {"flotilla:stack": stack, "flotilla:environment": "test"}


@pytest.fixture(scope="session")
def ours(tags: dict[str, str]) -> list[dict[str, Any]]:
    """The same as EC2's filters."""
    return [{"Name": f"tag:{name}", "Values": [value]} for name, value in tags.items()]


@pytest.fixture(scope="session")
def aws() -> Callable[[str], Any]:
    """`aws("ec2")`: a client of the scenarios' account, whatever account the environment names."""
    session = boto3.session.Session(aws_access_key_id="local", aws_secret_access_key="secret-of-no-account", region_name="eu-central-1")
    return lambda service: session.client(service, endpoint_url=f"http://127.0.0.1:{PORT}")


@pytest.fixture(scope="session")
def state() -> Path:
    """Where the scenarios' cloud keeps its files."""
    return STATE
