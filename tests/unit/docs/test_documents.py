"""What the documentation promises: links that lead somewhere, playbooks and make targets that exist, diagrams with something in them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("README.md")])
LINK = re.compile(r"\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.M | re.S)
KINDS = ("flowchart", "sequenceDiagram", "stateDiagram")

every_page = pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])


def anchors(page: Path) -> set[str]:
    """The fragments of a page's headings, as they are made where it is shown."""
    found = set()
    for heading in re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text(encoding="utf-8")), re.M):
        text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower()
        found.add(re.sub(r"[^\w\- ]", "", text).strip().replace(" ", "-"))
    return found


@every_page
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(FENCE.sub("", page.read_text(encoding="utf-8"))):
        if "://" in link:
            continue
        path, _, fragment = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.is_relative_to(ROOT) and target.exists(), f"{page.name}: {link} leads nowhere"
        if fragment:
            assert fragment in anchors(target), f"{page.name}: {link}: no such heading; there are {sorted(anchors(target))}"


@every_page
def test_playbooks_that_are_named_exist(page: Path) -> None:
    for name in re.findall(r"playbooks/[\w/]+\.yml", page.read_text(encoding="utf-8")):
        assert (ROOT / name).is_file(), f"{page.name} names {name}"


@every_page
def test_make_targets_that_are_named_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    text = page.read_text(encoding="utf-8")
    code = "".join(body for _, body in FENCE.findall(text))
    named = set(re.findall(r"`make ([a-z][a-z0-9-]*)", text)) | set(re.findall(r"^(?:\$ )?make ([a-z][a-z0-9-]*)", code, re.M))
    assert named <= targets, f"{page.name} names make {', '.join(sorted(named - targets))}"


@every_page
def test_diagrams_have_something_in_them(page: Path) -> None:
    for kind, body in FENCE.findall(page.read_text(encoding="utf-8")):
        if kind == "mermaid":
            assert body.startswith(KINDS) and len(body.splitlines()) > 3, f"{page.name}: {body[:80]!r}"


def test_the_readme_shows_the_stack_file_as_it_is() -> None:
    shown = [yaml.safe_load(body) for kind, body in FENCE.findall((ROOT / "README.md").read_text(encoding="utf-8")) if kind == "yaml"]
    assert yaml.safe_load((ROOT / "examples" / "hello" / "stack.yml").read_text(encoding="utf-8")) in shown


def test_the_readme_has_a_place_for_the_output_of_both_commands() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for name in ("demo", "test"):
        assert re.search(rf"<!-- {name}-output -->\n```text\n.+?```\n<!-- /{name}-output -->", text, re.S), name


def test_every_verb_is_in_the_operations_page() -> None:
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    for playbook in sorted((ROOT / "playbooks").glob("*.yml")):
        assert f"playbooks/{playbook.name}" in text, playbook.name
