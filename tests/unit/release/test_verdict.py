"""What people are told at the end."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from ansible_collections.flotilla.ec2.plugins.module_utils.release import status, verdict

PLAN: dict[str, Any] = {
    "number": 3,
    "rolling": ["i-1", "i-2", "i-3"],
    "ways_back": dict.fromkeys(("i-1", "i-2", "i-3"), {"action": "activate", "number": 2}),
    "result": {"service": "web", "tag": "v3", "from": 2},
}
DONE = {"outcome": "released", "running": 3, "seconds": 9.0}


def test_all_released_is_success() -> None:
    seen = verdict.judge(PLAN, dict.fromkeys(PLAN["rolling"], DONE), {"look": 1.0, "roll": 20.5})
    assert seen["outcome"] == "succeeded" and seen["revert"] == []
    assert seen["result"]["hosts"]["i-1"] == {"outcome": "released", "seconds": 9.0}
    assert "release 3 (v3): 3 hosts in 22 s" in seen["result"]["message"]


def test_a_release_whose_hosts_all_left_says_so() -> None:
    message = verdict.judge({**PLAN, "rolling": ["i-1"]}, {"i-1": {"outcome": "departed"}}, {})["result"]["message"]
    assert "web is on release 3 (v3): none of its hosts stayed; those that are launched get it." in message
    assert "i-1 is being ended by its Auto Scaling group" in message and "healthy" not in message


def test_a_failure_shows_the_evidence_and_takes_the_others_back() -> None:
    failed = {"outcome": "back", "failure": "unhealthy (Target.ResponseCodeMismatch: [500])", "logs": ["boom"]}
    ends = {"i-1": DONE, "i-2": failed}
    seen = verdict.judge(PLAN, ends, {})
    assert seen["outcome"] == "failed" and seen["revert"] == ["i-1"]
    ends["i-1"] = {**DONE, "outcome": "back"}
    message = verdict.judge(PLAN, ends, {})["result"]["message"]
    for text in ("failed on i-2", "Target.ResponseCodeMismatch", "| boom", "i-1 is back in service on release 2", "i-3 was not touched"):
        assert text in message
    assert message.index("Target.Response") < message.index("boom") < message.index("back in service")


def test_a_stranded_host_is_named_with_what_mends_it() -> None:
    ends = {"i-1": {"outcome": "out", "failure": "x", "stranded": "ssh: no route"}}
    message = verdict.judge(PLAN, ends, {})["result"]["message"]
    assert "i-1 is OUT OF SERVICE: ssh: no route. To mend it: deploy.yml with the tag of release 2" in message


def test_what_mends_a_host_that_may_not_go_back_is_no_older_release() -> None:
    ends = {"i-1": {"outcome": "out", "failure": "x", "stranded": "the migration cannot be undone"}}
    message = verdict.judge({**PLAN, "ways_back": {"i-1": {"action": "barred", "number": None}}, "rolling": ["i-1"]}, ends, {})["result"]["message"]
    assert "To mend it: deploy.yml with a release that works with the database as it is now" in message and "tag of release 2" not in message


def test_a_first_release_that_fails_leaves_what_serves_alone() -> None:
    plan = PLAN | {"number": 1, "rolling": ["i-1", "i-2"], "ways_back": dict.fromkeys(("i-1", "i-2"), {"action": "stop", "number": None})}
    plan["result"] = {**PLAN["result"], "from": None}
    ends = {"i-1": {"outcome": "stopped", "failure": "x"}, "i-2": {**DONE, "running": 1}}
    seen = verdict.judge(plan, ends, {})
    assert seen["outcome"] == "failed" and seen["revert"] == []
    assert "i-1 had no older release: its service is stopped" in seen["result"]["message"]


def test_a_host_that_runs_something_else_is_no_success() -> None:
    ends = dict.fromkeys(PLAN["rolling"], DONE) | {"i-2": {**DONE, "running": 2}}
    seen = verdict.judge(PLAN, ends, {})
    assert seen["outcome"] == "failed" and "i-2 does not run release 3" in seen["result"]["message"]


def test_what_could_not_be_prepared_is_named() -> None:
    assert verdict.unprepared({"i-1": {"prepared": True}}) == ""
    text = verdict.unprepared({"i-1": {"prepared": True}, "i-2": {"message": "the registry did not answer"}, "i-3": {}})
    assert "i-2: the registry did not answer" in text and "i-3: the host did not answer" in text and "i-1" not in text and "Fix:" in text


def test_status_says_what_is_not_as_released() -> None:
    services = {
        "web": {
            "pointer": {"number": 2, "digest": "sha256:d", "tag": "v2", "who": "ann@ci", "when": None},
            "hosts": ["i-1", "i-2", "i-3"],
            "targets": {"i-1": {"state": "healthy"}, "i-2": {"state": "unhealthy", "reason": "Target.Timeout", "description": "Request timed out"}},
        }
    }
    running = {"release": 2, "digest": "sha256:d", "running": True, "unit": "active"}
    seen = {
        "i-1": {"reachable": True, "zone": "a", "services": {"web": running}},
        "i-2": {"reachable": True, "zone": "b", "services": {"web": running}},
        "i-3": {"reachable": False, "zone": "b", "services": {}},
    }
    rows = status.rows(services, seen)
    assert [(row["unit"], row["ok"]) for row in rows["web"]] == [("active", True), ("active", False), ("unreachable", False)]
    wrong = status.problems(services, rows, {"g": ["ReplaceUnhealthy"]}, None)
    text = status.page("hello", "local", services, rows, {"g": ["ReplaceUnhealthy"]}, None, wrong, datetime.now().astimezone())
    for word in (
        "release 2, v2",
        "ann@ci",
        "unreachable",
        "Request timed out",
        "i-2 not in service on release 2",
        "i-3 did not answer",
        "ReplaceUnhealthy",
        "lock: free",
    ):
        assert word in text


def test_the_exit_code_tells_rolled_back_from_needing_a_hand() -> None:
    back = {"outcome": "back", "failure": "x"}
    assert verdict.judge(PLAN, {"i-1": back}, {})["result"]["exit_code"] == 20
    kept = verdict.judge(PLAN, {"i-1": back, "i-2": {"outcome": "kept", "failure": "y"}}, {})["result"]
    assert (kept["exit_code"], kept["needs_hand"]) == (20, [])
    for outcome in ("out", "stopped", "left", "released"):
        seen = verdict.judge(PLAN, {"i-1": back, "i-2": {"outcome": outcome, "failure": "y", "stranded": "z"}}, {})["result"]
        assert (seen["exit_code"], seen["needs_hand"]) == (30, ["i-2"]), outcome


def test_a_migration_that_fails_leaves_every_host_as_it_was() -> None:
    seen = verdict.unmigrated(PLAN, "ended with code 1", 4.0)
    assert seen["result"]["outcome"] == "failed" and seen["result"]["exit_code"] == 20
    assert {row["outcome"] for row in seen["hosts"].values()} == {"untouched"}
    assert "before any host left service: ended with code 1" in seen["result"]["message"]


def test_a_failure_that_may_be_leaves_a_success_that_names_it() -> None:
    ends = dict.fromkeys(PLAN["rolling"], DONE) | {"i-2": {"outcome": "out", "failure": "timed out", "stranded": "it does not answer", "gone": True}}
    seen = verdict.judge({**PLAN, "max_failures": 1}, ends, {})
    assert (seen["outcome"], seen["revert"], seen["result"]["needs_hand"]) == ("succeeded", [], ["i-2"])
    for text in ("2 hosts", "max_failures = 1 allows", "i-2 is OUT OF SERVICE: it does not answer. To mend it: deploy.yml with the tag of release 3"):
        assert text in seen["result"]["message"]


def test_one_failure_too_many_takes_all_back_that_can_go() -> None:
    out = {"outcome": "out", "failure": "x", "stranded": "the release failed on it"}
    ends = {"i-1": out, "i-2": {**out, "gone": True}, "i-3": DONE}
    assert verdict.judge({**PLAN, "max_failures": 1}, ends, {})["revert"] == ["i-3", "i-1"]
    assert verdict.judge({**PLAN, "max_failures": 1, "auto_revert": False}, ends, {})["revert"] == ["i-1"]
    assert verdict.judge({**PLAN, "max_failures": 5}, dict.fromkeys(PLAN["rolling"], out), {})["outcome"] == "failed"


def test_so_many_hosts_may_be_missing_when_a_release_begins() -> None:
    ends = {"i-1": {"prepared": True}, "i-2": {"message": "disk full"}}
    assert verdict.unprepared(ends, 1) == ""
    assert verdict.unprepared({"i-2": {"message": "disk full"}}, 1) != ""


def test_a_host_that_was_born_meanwhile_is_told_of() -> None:
    ended = verdict.judge(PLAN, dict.fromkeys(PLAN["rolling"], DONE), {})
    assert verdict.accompanied(ended, {}) == ended
    seen = verdict.accompanied(ended, {"i-8": None, "i-9": "disk full"})
    assert seen["outcome"] == "succeeded" and seen["result"]["needs_hand"] == ["i-9"]
    assert seen["hosts"]["i-8"]["outcome"] == "joined" and seen["result"]["hosts"]["i-9"]["outcome"] == "unjoined"
    assert "i-8 was born during the release and has it too." in seen["result"]["message"]
    assert "i-9 was born during the release and could not be brought along: disk full" in seen["result"]["message"]
