"""What the demo reads and decides, without a cloud."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest

from tools import demo, suite
from tools.phases import PhaseFailed


def test_the_environment_file_of_the_cloud_is_read() -> None:
    text = "# made by local_cloud\nexport AWS_REGION=eu-central-1\nexport FLOTILLA_CLOUD_STATE='/a b/cloud'\nexport EMPTY=\n"
    assert demo.exported(text) == {"AWS_REGION": "eu-central-1", "FLOTILLA_CLOUD_STATE": "/a b/cloud", "EMPTY": ""}


def test_nobodys_account_reaches_the_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "production")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "secret")
    monkeypatch.setenv("FLOTILLA_CLOUD_PORT", "4700")
    environment = demo.clean_environment()
    assert "AWS_PROFILE" not in environment
    assert "AWS_SESSION_TOKEN" not in environment
    assert environment["FLOTILLA_CLOUD_PORT"] == "4700"


@pytest.mark.parametrize(("tag", "number"), [("v1-3fa", 1), ("v12-0", 12), (None, 0), ("1.2.3", 0), ("broken-1", 0)])
def test_the_next_version_follows_the_live_one(tag: str | None, number: int) -> None:
    assert demo.version_number(tag) == number


def test_an_unknown_stack_is_refused_with_those_that_exist() -> None:
    with pytest.raises(PhaseFailed, match="no stack 'helo'; stacks are: .*hello"):
        demo.Demo("helo")


def test_a_second_demo_in_the_same_directory_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(demo, "BUILD", tmp_path)
    monkeypatch.setattr("sys.argv", ["demo"])
    with (tmp_path / "demo.lock").open("w") as first:
        fcntl.flock(first, fcntl.LOCK_EX)
        with pytest.raises(PhaseFailed, match="another `make demo` runs in this directory"):
            demo.main()


def test_the_suite_has_a_step_for_each_part() -> None:
    names = [step.name for step in suite.steps(suite.PARTS)]
    for name in ("ruff", "yamllint", "mypy", "ansible-lint", "unit tests", "roles", "end to end hello"):
        assert name in names
    assert suite.steps(["roles"], role="service")[-1].command[-2:] == ["--scenario-name", "service"]


def test_services_are_released_in_the_order_of_their_references(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    example = tmp_path / "examples" / "shop"
    for service in ("web", "api", "redis"):
        (example / service).mkdir(parents=True)
        (example / service / "Dockerfile").write_text("FROM scratch")
    (example / "demo.yml").write_text("load: [/x]\ntry: ['curl {https}x']\n")
    (example / "stack.yml").write_text(
        "flotilla_stack: {name: shop, services: {web: {image: s/web, environment: {A: '${service.api.url}'}}, "
        "api: {image: s/api, environment: {R: '${service.redis.host}'}}, redis: {image: s/redis, strategy: recreate}}}"
    )
    monkeypatch.setattr(demo, "ROOT", tmp_path)
    monkeypatch.setattr(demo.stack_images, "ROOT", tmp_path)
    shop = demo.Demo("shop")
    assert list(shop.services) == ["redis", "api", "web"]
    assert shop.stopped_first == ["redis"], "nothing that is away for a moment is released under load"


def test_a_second_stack_in_the_cloud_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(demo, "BUILD", tmp_path)
    (tmp_path / "local.env").write_text("export AWS_REGION=eu-central-1\n")
    gifs = demo.Demo("gifs")
    monkeypatch.setattr(gifs.phases, "run", lambda *words, **options: 0)
    monkeypatch.setattr(gifs, "stacks", lambda: {"gifs"})
    gifs.cloud()
    monkeypatch.setattr(gifs, "stacks", lambda: {"gifs", "hello"})
    with pytest.raises(PhaseFailed, match="the stack hello is in the local cloud.*\n.*make down, then make demo STACK=gifs"):
        gifs.cloud()
