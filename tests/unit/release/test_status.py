"""What status says of a service with two colours."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from ansible_collections.flotilla.ec2.plugins.module_utils.release import status


def service(blue: int, green: int) -> dict[str, Any]:
    return {
        "pointer": {"number": 4, "digest": "sha256:4", "tag": "v4", "colour": "green"},
        "hosts": ["i-1", "i-2"],
        "instance": "web-green",
        "targets": {host: {"state": "healthy", "reason": ""} for host in ("i-1", "i-2")},
        "group": "shop-local-web",
        "colours": {
            "blue": {"instance": "web", "live": False, "percent": blue},
            "green": {"instance": "web-green", "live": True, "percent": green},
        },
    }


def seen(**blue: Any) -> dict[str, Any]:
    runs = {"release": 4, "digest": "sha256:4", "running": True, "unit": "active"}
    return {host: {"reachable": True, "zone": "a", "services": {"web-green": runs, "web": blue}} for host in ("i-1", "i-2")}


def test_the_colour_that_serves_is_held_to_the_pointer_and_the_other_one_is_told() -> None:
    rows = status.rows({"web": service(0, 100)}, seen(release=3, running=True))
    assert all(row["ok"] and row["release"] == 4 for row in rows["web"])
    assert status.problems({"web": service(0, 100)}, rows, {}, None) == []
    assert status.shades(service(0, 100), seen(release=3, running=True)) == [
        "blue    0 % of the traffic  release 3, warm",
        "green 100 % of the traffic  release 4",
    ]
    assert status.shades(service(0, 100), seen())[0] == "blue    0 % of the traffic  stopped"


def test_traffic_of_a_release_that_never_ended_is_a_problem() -> None:
    found = {"web": service(10, 90)}
    (problem,) = status.problems(found, status.rows(found, seen()), {}, None)
    assert "blue has 10 % of the traffic, of a release that never ended" in problem and "rollback.yml" in problem


def test_a_host_that_its_group_is_ending_is_told_and_wants_no_hand() -> None:
    views = seen()
    views["i-1"] = {"reachable": False, "zone": "a", "services": {}}
    views["i-2"]["services"]["web-green"]["running"] = False
    found = {"web": service(0, 100)}
    found["web"]["targets"].pop("i-1")
    found["web"]["leaving"] = {"i-1": "Terminating:Wait", "i-2": "Terminating"}
    rows = status.rows(found, views)
    assert [row["unit"] for row in rows["web"]] == ["leaves", "leaves"]
    assert status.problems(found, rows, {}, None) == []
    text = status.page("shop", "local", found, rows, {}, None, [], datetime.now(UTC), views)
    assert "i-1                  a                leaves" in text and "no release" not in text


def test_a_host_that_does_not_answer_and_stays_is_a_problem() -> None:
    views = seen()
    views["i-1"] = {"reachable": False, "zone": "a", "services": {}}
    found = {"web": service(0, 100)}
    found["web"]["leaving"] = {"i-2": "Terminating"}
    (problem,) = status.problems(found, status.rows(found, views), {}, None)
    assert problem.startswith("web: i-1 did not answer.")
