"""The lock file, the Galaxy lists and the settings of the checkout agree with each other."""

from __future__ import annotations

import json
import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
LOCK = (ROOT / "requirements.txt").read_text()
REQUIRED = {entry["name"]: entry["version"] for entry in yaml.safe_load((ROOT / "collections/requirements.yml").read_text())["collections"]}
GALAXY = yaml.safe_load((ROOT / "galaxy.yml").read_text())


def locked(name: str) -> str:
    found = re.search(rf"^{re.escape(name)}==(\S+)", LOCK, re.MULTILINE)
    assert found, f"{name} is not locked"
    return found.group(1)


@pytest.mark.parametrize("name", sorted(REQUIRED))
def test_galaxy_versions_are_those_inside_the_locked_ansible_package(name: str) -> None:
    assert metadata.version("ansible") == locked("ansible"), "the virtual environment is not the locked one: make setup"
    files = metadata.files("ansible") or []
    manifest = next(file for file in files if str(file) == f"ansible_collections/{name.replace('.', '/')}/MANIFEST.json")
    assert json.loads(Path(str(manifest.locate())).read_text())["collection_info"]["version"] == REQUIRED[name]


def test_the_collection_depends_on_what_the_requirements_list() -> None:
    assert set(GALAXY["dependencies"]) == set(REQUIRED)
    for name, text in GALAXY["dependencies"].items():
        major = int(REQUIRED[name].split(".")[0])
        assert text == f">={REQUIRED[name]},<{major + 1}.0.0", name


def test_every_locked_package_has_hashes_and_no_address() -> None:
    entries = re.split(r"^(?=\S+==)", LOCK, flags=re.MULTILINE)[1:]
    assert len(entries) > 50
    for entry in entries:
        assert "--hash=sha256:" in entry, entry.splitlines()[0]
    assert not re.search(r"https?://|--(extra-)?index-url|--find-links", LOCK)


def test_what_is_asked_for_is_locked() -> None:
    for line in (ROOT / "requirements.in").read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            locked(re.split(r"[\[=<>]", line)[0].strip().lower())


def test_versions_of_the_collection_agree() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == GALAXY["version"]
    assert locked("ansible-core").startswith(yaml.safe_load((ROOT / "meta/runtime.yml").read_text())["requires_ansible"].removeprefix(">=").rpartition(".")[0])
