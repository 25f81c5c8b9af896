"""Image names change exactly when the image would."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import stack_images


def test_a_hash_changes_with_content_names_modes_and_arguments_only(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    first = stack_images.content_hash(tmp_path, "v1")
    assert stack_images.content_hash(tmp_path, "v1") == first
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "x.pyc").write_text("cache")
    assert stack_images.content_hash(tmp_path, "v1") == first
    assert stack_images.content_hash(tmp_path, "v2") != first
    (tmp_path / "a").chmod(0o755)
    executable = stack_images.content_hash(tmp_path, "v1")
    (tmp_path / "a").rename(tmp_path / "b")
    assert len({first, executable, stack_images.content_hash(tmp_path, "v1")}) == 3


def test_services_with_a_dockerfile_are_built_and_others_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack_images, "ROOT", tmp_path)
    stack = tmp_path / "examples" / "two"
    (stack / "api").mkdir(parents=True)
    (stack / "api" / "Dockerfile").write_text("FROM scratch")
    (stack / "stack.yml").write_text("flotilla_stack: {name: two, services: {api: {image: two/api}, redis: {image: library/redis}}}")
    assert stack_images.services("two") == {"api": "two/api"}
    assert stack_images.context("two", "api") == stack / "api"


def test_the_engines_error_ends_a_build_with_its_last_lines() -> None:
    answers = [{"stream": "Step 1/2 : RUN tests\n"}, {"stream": "1 test failed\n"}, {"error": "returned a non-zero code: 1"}]
    shown: list[str] = []
    with pytest.raises(stack_images.BuildFailed, match=r"(?s)building x failed: returned a non-zero code: 1.*1 test failed"):
        stack_images.follow(answers, "building x", shown.append)
    assert shown[-1] == "1 test failed"
