"""Patching a fleet in place: what is refused, who is patched in which order, what is told in the end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.flotilla.ec2.plugins.module_utils.release import patch
from ansible_collections.flotilla.ec2.plugins.module_utils.release.api import ReleaseError

WEB: dict[str, Any] = {
    "name": "web", "fleet": "web", "instances": ["web"], "ports": [8080], "drain_seconds": 20, "volumes": [], "strategy": "rolling",
    "release": {"min_healthy": 1, "min_healthy_seconds": 5, "healthy_deadline_seconds": 60, "alarms": ["errors"]},
}  # fmt: skip
COLOURED = {**WEB, "name": "api", "instances": ["api", "api-green"], "ports": [8080, 8081], "strategy": "blue_green"}
FLEET = {"name": "web", "group": "hello-local-web", "min": 2, "max": 4, "scaling": None}
MODEL = {"stack": {"name": "hello"}, "environment": {"name": "local", "region": "r"}, "fleets": [FLEET], "services": [WEB]}
OUTPUTS = {"target_groups": {"web": "arn:web", "api": "arn:api", "api-green": "arn:green"}}
GIVEN = {
    "fleet": "web", "how": "in_place", "packages": "security", "reboot": "when_required", "min_healthy": "", "warmup_seconds": 0, "alarms": [],
}  # fmt: skip
NEWER = {"libssl3": {"from": "1", "to": "2", "security": True}}


def asked(**given: Any) -> dict[str, Any]:
    return patch.request(MODEL, {**GIVEN, **given}, {"web": "web"}, OUTPUTS)


def seen(**rows: dict[str, Any]) -> dict[str, Any]:
    """Host → what it has said; i_1 stands for i-1."""
    common = {"reachable": True, "message": "", "zone": "z", "packages": {}, "reboot_required": []}
    return {name.replace("_", "-"): {**common, **row} for name, row in rows.items()}


def healthy(*hosts: str) -> dict[str, dict[str, str]]:
    return {"arn:web": dict.fromkeys(hosts, "healthy")}


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"how": "in-place"}, r"how: 'in-place' is not one of refresh, in_place; did you mean 'in_place'\? Nothing was changed"),
        ({"packages": "some"}, "patch_packages: 'some' .* give -e patch_packages=security or all or none"),
        ({"reboot": "yes"}, "patch_reboot: 'yes'"),
        ({"min_healthy": "most"}, "patch_min_healthy: 'most' is not a number of hosts"),
        ({"fleet": "wep"}, "did you mean 'web'"),
    ],
)
def test_what_is_asked_for_wrongly_is_refused(given: dict[str, Any], text: str) -> None:
    with pytest.raises(ReleaseError, match=text):
        asked(**given)


@pytest.mark.parametrize(("more", "text"), [({"volumes": ["data"]}, "keeps volumes"), ({"strategy": "recreate"}, "must not run twice")])
def test_hosts_that_cannot_stand_beside_their_successors_are_not_refreshed(more: dict[str, Any], text: str) -> None:
    model = {**MODEL, "services": [{**WEB, **more}]}
    with pytest.raises(ReleaseError, match=rf"web cannot be refreshed: .*{text}.*Fix: -e how=in_place"):
        patch.request(model, {**GIVEN, "how": "refresh"}, {"web": "web"}, OUTPUTS)
    assert patch.request(model, GIVEN, {"web": "web"}, OUTPUTS)["services"][0]["minimum"] == (0 if "strategy" in more else 1)


def test_the_colour_that_serves_is_the_one_that_is_drained() -> None:
    model = {**MODEL, "services": [COLOURED]}
    (row,) = patch.request(model, GIVEN, {"api": "api-green"}, OUTPUTS)["balanced"]
    assert (row["target_group"], row["port"], row["instances"]) == ("arn:green", 8081, ["api", "api-green"])


def test_what_the_stack_says_of_alarms_and_warm_up_counts() -> None:
    assert asked(alarms=["more", "errors"])["alarms"] == ["errors", "more"]
    assert asked()["warmup_seconds"] == 300 and asked(warmup_seconds=60)["warmup_seconds"] == 60
    fleet = {**FLEET, "scaling": {"warmup_seconds": 120}}
    assert patch.request({**MODEL, "fleets": [fleet]}, GIVEN, {"web": "web"}, OUTPUTS)["warmup_seconds"] == 120


@pytest.mark.parametrize(
    ("reboot", "required", "found", "expected"),
    [
        ("when_required", [], {}, (False, False, "nothing to do")),
        ("when_required", [], NEWER, (True, False, "1 package (libssl3 2)")),
        ("when_required", ["libssl3"], NEWER, (True, True, "1 package (libssl3 2), reboot for libssl3")),
        ("never", ["libssl3"], NEWER, (True, False, "1 package (libssl3 2)")),
        ("always", [], {}, (False, True, "reboot")),
    ],
)
def test_what_is_done_to_a_host(reboot: str, required: list[str], found: dict[str, Any], expected: tuple[bool, bool, str]) -> None:
    one = patch.steps_of(asked(reboot=reboot), {"packages": found, "reboot_required": required}, {"arn:web": "healthy"})
    assert (one["upgrade"], one["reboot"], one["why"]) == expected and one["acts"] is (found != {} or expected[1])


def test_a_host_that_an_earlier_run_has_left_out_comes_first() -> None:
    found = seen(i_1={"packages": NEWER}, i_2={}, i_3={})
    made = patch.make(asked(), found, healthy("i-1", "i-3"), check=False)
    assert made["hosts"] == ["i-2", "i-1"] and made["problems"] == [] and made["steps"]["i-2"]["why"] == "back into service"
    assert "untouched     i-3" in made["text"] and "never fewer than 1 of 3 (web)" in made["text"] and "about 3 min" in made["text"]


def test_the_last_healthy_host_stays_in_service() -> None:
    found = seen(i_1={"packages": NEWER}, i_2={"packages": NEWER})
    (problem,) = patch.make(asked(), found, {"arn:web": {"i-1": "healthy", "i-2": "unhealthy"}}, check=False)["problems"]
    assert "without i-1, 0 healthy hosts of web would be left, at least 1" in problem and "patch_min_healthy=0" in problem
    assert patch.make(asked(min_healthy="0"), found, {"arn:web": {"i-1": "healthy", "i-2": "unhealthy"}}, check=False)["problems"] == []
    assert len(patch.make(asked(min_healthy="2"), found, healthy("i-1", "i-2"), check=False)["problems"]) == 2


def test_a_host_that_does_not_answer_refuses_the_patch() -> None:
    (problem,) = patch.make(asked(), seen(i_1={"reachable": False, "message": "timed out"}), healthy("i-1"), check=False)["problems"]
    assert "i-1 does not answer: timed out. Fix:" in problem
    assert "has no host in this inventory" in patch.make(asked(), {}, {"arn:web": {}}, check=False)["problems"][0]


def test_check_mode_is_said() -> None:
    text = patch.make(asked(), seen(i_1={}), healthy("i-1"), check=True)["text"]
    assert "Patch of fleet web of hello in local, in place (check mode: nothing is changed)" in text and "expected" not in text


def test_what_became_of_the_hosts() -> None:
    patched = {"outcome": "patched", "packages": "1 package (libssl3 2)", "rebooted": True}
    done, text = patch.ending(asked(), ["i-1"], {"i-1": patched})
    assert done and "i-1 is patched: 1 package (libssl3 2), rebooted; it is in service." in text
    ends = {"i-1": patched, "i-2": {"outcome": "back", "failure": "apt-get upgrade ended with 100"}, "i-3": {}}
    done, text = patch.ending(asked(), ["i-1", "i-2", "i-3"], ends)
    assert not done and text.startswith("Patching web failed on i-2: apt-get upgrade ended with 100")
    assert "i-2 is back in service" in text and "i-3 was not touched" in text
    done, text = patch.ending(asked(), ["i-1"], {"i-1": {"outcome": "out", "failure": "no answer", "stranded": "timed out"}})
    assert not done and "i-1 is out of service: timed out. Fix: status.yml" in text
    done, text = patch.ending(asked(), ["i-1"], {"i-1": {}})
    assert not done and "left half-way. Fix: run the same command again" in text


def test_every_default_of_the_role_is_specified() -> None:
    role = Path(__file__).resolve().parents[3] / "roles" / "patch"
    specification = yaml.safe_load((role / "meta/argument_specs.yml").read_text(encoding="utf-8"))["argument_specs"]["main"]["options"]
    assert set(yaml.safe_load((role / "defaults/main.yml").read_text(encoding="utf-8"))) == set(specification)
