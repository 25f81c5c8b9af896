"""Every example is whole, and its stack file is valid in both environments that come with the collection."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.flotilla.ec2.plugins.module_utils.stack.model import load

from tools import load as load_client
from tools import stack_images

ROOT = Path(__file__).resolve().parents[3]
EXAMPLES = sorted(path.parent.name for path in (ROOT / "examples").glob("*/stack.yml"))
every_example = pytest.mark.parametrize("example", EXAMPLES)


def read(path: str) -> Any:
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


def environment(inventory: str) -> dict[str, Any]:
    """The variable `flotilla_environment` of an inventory; what ansible would work out is filled in with something of its kind."""
    text = (ROOT / "inventories" / inventory / "group_vars/all/environment.yml").read_text(encoding="utf-8")
    text = re.sub(r"\{\{ flotilla_cloud_network \}\}", "198.18.0.0/16", text)
    found: dict[str, Any] = yaml.safe_load(re.sub(r"\{\{.*?\}\}", "10.0.0.1", text))["flotilla_environment"]
    return found


def test_all_systems_are_there() -> None:
    assert EXAMPLES == ["gifs", "hello", "media", "sums", "todo"]


@pytest.mark.parametrize("inventory", ["local", "production"])
@every_example
def test_stack_files_are_valid_in_both_environments(example: str, inventory: str) -> None:
    stack = read(f"examples/{example}/stack.yml")["flotilla_stack"]
    assert load(stack, environment(inventory))["stack"]["name"] == example


@every_example
def test_every_service_has_an_image_whose_build_runs_its_own_tests(example: str) -> None:
    services = read(f"examples/{example}/stack.yml")["flotilla_stack"]["services"]
    assert stack_images.services(example).keys() == services.keys()
    for service in services:
        directory = stack_images.context(example, service)
        dockerfile = (directory / "Dockerfile").read_text(encoding="utf-8")
        assert re.search(r"^RUN .*test.* && touch /tmp/passed$|^RUN phpunit .* && touch /tmp/passed$", dockerfile, re.M), f"{directory}: no tests in the build"
        assert "COPY --from=test /tmp/passed" in dockerfile, f"{directory}: an image whose tests failed could be used"
        assert re.search(r"^USER 10001:10001$", dockerfile, re.M) and "ARG BASE=debian:bookworm-slim" in dockerfile and "ARG FAULT=" in dockerfile
        assert [*directory.rglob("test_*"), *directory.rglob("*Test.php")], f"{directory}: no tests"


@every_example
def test_demo_files_can_be_used(example: str) -> None:
    demo = read(f"examples/{example}/demo.yml")
    assert load_client.parse_mix(demo["load"])
    assert all("{http" in line for line in demo["try"])
    assert "prepare" not in demo or (ROOT / demo["prepare"]).is_file()
