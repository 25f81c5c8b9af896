"""What status says of a service with two colours."""

from __future__ import annotations

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
