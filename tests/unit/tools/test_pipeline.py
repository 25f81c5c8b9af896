"""Pushes that deploy themselves: nothing with a failing test, one at a time, the newest last. And the same contract as a workflow."""

from __future__ import annotations

import os
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
import yaml

from tools import pipeline

STACK = """flotilla_stack:
  name: shop
  services:
    web: {image: shop/web, environment: {API: "${service.api.url}"}}
    api: {image: shop/api}
"""
WORKFLOW = Path(__file__).resolve().parents[3] / "docs" / "github-actions" / "deploy.yml"


def git(directory: Path, *words: str) -> str:
    identity = {f"GIT_{who}_{what}": "dev@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    done = subprocess.run(["git", "-C", str(directory), *words], env={**environment, **identity}, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository whose hook only says that it ran: the tests run the pipeline themselves."""
    bare = tmp_path / "shop.git"
    say = tmp_path / "say"
    say.write_text('#!/bin/sh\necho "ran $*"\n')
    say.chmod(0o755)
    with monkeypatch.context() as patch:
        patch.setattr(pipeline.sys, "executable", str(say))
        pipeline.init(bare, "main")
    work = tmp_path / "work"
    git(tmp_path, "clone", "--quiet", str(bare), str(work))
    (work / "stack.yml").write_text(STACK)
    for service in ("web", "api"):
        (work / service).mkdir()
        (work / service / "Dockerfile").write_text("FROM scratch\n")
    return bare


def push(repository: Path, service: str, text: str, branch: str = "main") -> str:
    """Change a service and push; the commit."""
    work = repository.parent / "work"
    (work / service / "application").write_text(text)
    git(work, "add", ".")
    git(work, "commit", "--quiet", "-m", text)
    git(work, "push", "--quiet", "origin", f"HEAD:{branch}")
    return git(work, "rev-parse", "HEAD")


class Account:
    """Stands in for engine, registry and releases."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.did: list[tuple[str, str, str]] = []
        self.failing, self.entered, self.go_on = "", threading.Event(), threading.Event()
        self.go_on.set()
        monkeypatch.setattr(
            pipeline.Run, "held", lambda run, service, tag: f"{service}:{tag}" in [image for what, _repository, image in self.did if what == "push"]
        )
        monkeypatch.setattr(pipeline.Run, "build", lambda run, service, context, tag: self.build(service, context, tag))
        monkeypatch.setattr(pipeline.stack_images, "push", lambda image, repository, environment: self.did.append(("push", repository, image)))
        monkeypatch.setattr(pipeline.Run, "deploy", lambda run, service, tag: self.deploy(service, tag))

    def build(self, service: str, context: Path, tag: str) -> str:
        if (context / "application").is_file() and (context / "application").read_text() == self.failing:
            raise pipeline.PipelineFailed("1 test failed")
        return f"{service}:{tag}"

    def deploy(self, service: str, tag: str) -> None:
        self.did.append(("deploy", service, tag))
        self.entered.set()
        assert self.go_on.wait(20)

    def deployed(self) -> list[tuple[str, str]]:
        return [(service, tag) for what, service, tag in self.did if what == "deploy"]


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Account:
    return Account(monkeypatch)


def test_a_push_is_built_pushed_and_deployed_by_its_commit(repository: Path, account: Account) -> None:
    first = push(repository, "web", "one")
    assert pipeline.run(repository, "main", {}) == 0
    assert account.did[:2] == [("push", "shop/api", f"api:{first[:12]}"), ("push", "shop/web", f"web:{first[:12]}")]
    assert account.deployed() == [("api", first[:12]), ("web", first[:12])]
    second = push(repository, "web", "two")
    assert pipeline.run(repository, "main", {}) == 0
    # What did not change keeps its image, and is not built again.
    assert account.did[4:] == [("push", "shop/web", f"web:{second[:12]}"), ("deploy", "api", first[:12]), ("deploy", "web", second[:12])]


def test_the_hook_runs_for_its_branch_alone(repository: Path) -> None:
    push(repository, "web", "aside", branch="aside")
    assert not (repository / "pipeline.log").exists()
    push(repository, "web", "one")
    assert (repository / "pipeline.log").read_text() == f"ran -m tools.pipeline run {repository} --branch main\n"


def test_a_failing_test_deploys_nothing(repository: Path, account: Account, capsys: pytest.CaptureFixture[str]) -> None:
    account.failing = "broken"
    push(repository, "web", "broken")
    assert pipeline.run(repository, "main", {}) == 1
    assert account.did == []
    assert "1 test failed" in capsys.readouterr().out
    push(repository, "web", "mended")
    assert pipeline.run(repository, "main", {}) == 0


def test_quick_pushes_follow_each_other_and_end_on_the_newest(repository: Path, account: Account) -> None:
    first = push(repository, "web", "one")
    account.go_on.clear()
    runs = [threading.Thread(target=pipeline.run, args=(repository, "main", {}))]
    runs[0].start()
    assert account.entered.wait(20)
    skipped, newest = push(repository, "web", "two"), push(repository, "web", "three")
    for _ in range(2):
        runs.append(threading.Thread(target=pipeline.run, args=(repository, "main", {})))
        runs[-1].start()
    assert len(account.deployed()) == 1  # they wait
    account.go_on.set()
    for one in runs:
        one.join(20)
    assert [tag for service, tag in account.deployed() if service == "web"] == [first[:12], newest[:12]]
    assert skipped[:12] not in {tag for _service, tag in account.deployed()}
    assert (repository / "deployed").read_text().strip() == newest


# ---- the workflow


def steps(job: dict[str, Any]) -> str:
    return yaml.safe_dump(job["steps"])


def test_the_workflow_deploys_one_tested_commit_at_a_time_without_keys() -> None:
    # YAML 1.1 reads the key `on` as a boolean.
    workflow = {str(key): value for key, value in yaml.safe_load(WORKFLOW.read_text()).items()}
    test, deploy = workflow["jobs"]["test"], workflow["jobs"]["deploy"]
    assert workflow["True"]["push"] == {"branches": ["main"]}
    assert deploy["needs"] == "test" and "docker build" in steps(test)
    assert "github.event_name == 'push'" in deploy["if"]
    assert deploy["concurrency"] == {"group": "deploy-production", "cancel-in-progress": False}
    assert workflow["permissions"] == {"contents": "read"} and deploy["permissions"]["id-token"] == "write"
    assert "role-to-assume" in steps(deploy) and "AWS_SECRET_ACCESS_KEY" not in WORKFLOW.read_text()
    assert "bin/flotilla deploy" in steps(deploy) and "release_revision=$GITHUB_SHA" in steps(deploy)


def test_every_step_of_the_workflow_is_one_that_github_takes() -> None:
    for job in yaml.safe_load(WORKFLOW.read_text())["jobs"].values():
        assert set(job) <= {"needs", "if", "runs-on", "timeout-minutes", "environment", "concurrency", "permissions", "steps"}
        for step in job["steps"]:
            assert ("run" in step) != ("uses" in step), step
            assert set(step) <= {"name", "if", "env", "uses", "with", "run", "working-directory"}
            # A value from outside reaches a script as a variable, never as text of the script.
            assert "${{" not in step.get("run", "")
