"""What provisioning has left for the playbooks after it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from ansible_collections.flotilla.ec2.plugins.module_utils.release import api

MODEL = {"parameter_root": "/flotilla/local/shop", "stack": {"name": "shop"}, "environment": {"name": "local", "region": "eu-central-1"}}


class Parameters:
    """The Parameter Store."""

    exceptions = SimpleNamespace(ParameterNotFound=KeyError)

    def __init__(self, known: dict[str, str]) -> None:
        self.known = known

    def get_parameter(self, Name: str) -> dict[str, dict[str, str]]:
        return {"Parameter": {"Value": self.known[Name], "Version": "1"}}


def test_the_outputs_are_the_stacks_and_the_environments() -> None:
    store = Parameters({"/flotilla/local/shop/outputs": '{"bucket": "records"}', "/flotilla/test/shop/outputs": '{"bucket": "other"}'})
    assert api.read_outputs(store, MODEL) == {"bucket": "records"}


def test_a_stack_that_is_not_provisioned_is_told_what_to_run() -> None:
    with pytest.raises(api.ReleaseError, match="shop is not provisioned in local. Fix: run provision.yml"):
        api.read_outputs(Parameters({}), MODEL)
