"""Stock modules against moto in this process: each test in an account of its own, whatever the environment says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from ansible_collections.flotilla.ec2.plugins.module_utils.aws import resource
from moto import mock_aws

REGION = "eu-central-1"
Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """`run(module, check=…, **arguments)` on an empty account."""
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_CA_BUNDLE", "AWS_SECURITY_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "unit")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-of-no-account")
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    # Sessions keep what they have read of the environment.
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    with mock_aws():

        def run(module: str, /, *, check: bool = False, **arguments: Any) -> dict[str, Any]:
            return resource.run(module, {"region": REGION, **arguments}, check=check, diff=True)

        yield run


@pytest.fixture
def client() -> Callable[[str], Any]:
    """A client of the account that `run` works on."""
    return lambda service: boto3.session.Session().client(service, region_name=REGION)
