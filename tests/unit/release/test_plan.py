"""What a release will do, from what was asked and what was seen."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest
from ansible_collections.flotilla.ec2.plugins.module_utils.release import plan, records
from ansible_collections.flotilla.ec2.plugins.module_utils.release.api import ReleaseError

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=timezone.utc)  # noqa: UP017
NEW, OLD = "sha256:" + "b" * 64, "sha256:" + "a" * 64
HEALTHY = {"state": "healthy", "reason": "", "description": ""}
GONE = {"state": "unused", "reason": "Target.NotRegistered", "description": ""}
DRAINING = {"state": "draining", "reason": "Target.DeregistrationInProgress", "description": ""}
SICK = {"state": "unhealthy", "reason": "Target.Timeout", "description": "Request timed out"}
SERVICE: dict[str, Any] = {
    "name": "web", "fleet": "web", "port": 8080, "container_port": 8080, "memory_mb": 256,
    "release": {"batches": ["1", "100%"], "canary": "1", "min_healthy": 1},
}  # fmt: skip


def host(release: int | None = 1, digest: str = OLD, target: dict[str, Any] | None = HEALTHY, **more: Any) -> dict[str, Any]:
    return {"reachable": True, "release": release, "digest": digest, "running": release is not None, "prepared": [1], "zone": "z", "target": target} | more


def request(**more: Any) -> dict[str, Any]:
    configuration = records.configuration(SERVICE, {"COLOUR": "red"})
    return {
        "verb": "deploy", "stack": "hello", "environment": "local", "service": SERVICE, "target_group": "arn", "numbers": [1], "unfinished": None,
        "from": {"number": 1, "digest": OLD, "tag": "v1", "configuration_checksum": records.checksum(configuration), "previous": None},
        "configuration_before": configuration,
        "to": {"number": None, "digest": NEW, "tag": "v2", "image": "x@" + NEW, "configuration": configuration,
               "configuration_checksum": records.checksum(configuration)},
    } | more  # fmt: skip


def test_a_host_that_a_release_knows_is_not_booting() -> None:
    """Records of runs that were refused, or were cut short, name no hosts."""
    recent = [{"hosts": {"i-1": {"outcome": "released"}}}, {"hosts": None}, {}, {"hosts": {"i-2": {"outcome": "failed"}}}]
    assert plan.strangers(["i-1", "i-2", "i-3"], recent) == ["i-3"]
    assert plan.strangers(["i-1"], []) == ["i-1"]


def test_a_new_digest_is_the_next_number_canary_first() -> None:
    made = plan.make(request(), {name: host() for name in ("i-1", "i-2", "i-3", "i-4")})
    assert made.problems == []
    assert made.number == 2
    assert made.batches == [["i-1"], ["i-2", "i-3", "i-4"]]


def test_who_leaves_is_on_the_page_and_gets_nothing() -> None:
    made = plan.make(request(), {"i-1": host(), "i-2": host()})
    made.leaving = {"i-3": "its Auto Scaling group is ending it (Terminating:Wait)"}
    assert "leaves        i-3  its Auto Scaling group is ending it (Terminating:Wait)" in plan.page(made, NOW)
    assert "i-3" not in made.steps


def test_what_runs_everywhere_and_serves_is_unchanged() -> None:
    asked = request()
    asked["to"] |= {"digest": OLD, "tag": "v1"}
    made = plan.make(asked, {"i-1": host(), "i-2": host()})
    assert made.unchanged and made.batches == [] and made.number == 1
    assert "Nothing to do" in plan.page(made, NOW)


def test_a_changed_setting_is_a_new_release_of_the_same_image() -> None:
    asked = request()
    configuration = records.configuration(SERVICE, {"COLOUR": "blue", "SHAPE": "round"})
    asked["to"] |= {"digest": OLD, "configuration": configuration, "configuration_checksum": records.checksum(configuration)}
    made = plan.make(asked, {"i-1": host()}, minimum=0)
    assert made.number == 2
    page = plan.page(made, NOW)
    assert "~ COLOUR" in page and "+ SHAPE" in page
    assert "blue" not in page and "red" not in page and "round" not in page


def test_the_first_release_goes_to_all_hosts_at_once() -> None:
    asked = request(**{"from": None, "numbers": [], "configuration_before": None})
    made = plan.make(asked, {"i-1": host(None, target=SICK), "i-2": host(None, target=SICK)})
    assert made.problems == [] and made.number == 1 and made.batches == [["i-1", "i-2"]]
    assert "first release" in plan.page(made, NOW)


@pytest.mark.parametrize(
    ("seen", "steps", "batches"),
    [
        pytest.param({"i-1": host(2, NEW, GONE), "i-2": host()}, {"i-1": "register", "i-2": "release"}, [["i-1"], ["i-2"]], id="killed before registering"),
        pytest.param(
            {"i-1": host(2, NEW, DRAINING), "i-2": host(2, NEW)}, {"i-1": "register", "i-2": "nothing"}, [["i-1"]], id="killed in the rollback's drain"
        ),
        pytest.param({"i-1": host(), "i-2": host(1, OLD, DRAINING)}, {"i-1": "release", "i-2": "release"}, [["i-2"], ["i-1"]], id="killed while draining"),
        pytest.param({"i-1": host(2, NEW), "i-2": host()}, {"i-1": "nothing", "i-2": "release"}, [["i-2"]], id="killed between two hosts"),
        pytest.param({"i-1": host(2, NEW, SICK), "i-2": host()}, {"i-1": "release", "i-2": "release"}, [["i-1"], ["i-2"]], id="new release is sick"),
    ],
)
def test_a_killed_release_is_finished_with_its_number(seen: dict[str, Any], steps: dict[str, str], batches: list[list[str]]) -> None:
    asked = request(numbers=[1, 2])
    asked["unfinished"] = {**asked["to"], "number": 2, "outcome": "started", "who": "me", "when": NOW.isoformat()}
    made = plan.make(asked, seen)
    assert (made.problems, made.number, made.steps, made.batches) == ([], 2, steps, batches)
    assert "is finished by this run" in plan.page(made, NOW)


def test_another_image_gives_the_unfinished_release_up() -> None:
    asked = request(
        numbers=[1, 2], unfinished={"number": 2, "digest": "sha256:c", "configuration_checksum": "x", "tag": "v9", "who": "me", "when": NOW.isoformat()}
    )
    made = plan.make(asked, {"i-1": host(2, "sha256:c", GONE), "i-2": host()})
    assert made.number == 3
    assert made.batches == [["i-1"], ["i-2"]]
    assert "is given up" in plan.page(made, NOW)


def test_a_new_host_is_brought_along_with_the_current_release() -> None:
    asked = request()
    asked["to"] |= {"digest": OLD, "tag": "v1"}
    made = plan.make(asked, {"i-1": host(), "i-2": host(None, target=SICK, prepared=[])})
    assert (made.number, made.batches, made.unchanged) == (1, [["i-2"]], False)


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        pytest.param({}, ["no running host", "provision.yml"], id="no host"),
        pytest.param(
            {"i-1": host(), "i-2": host(reachable=False, message="timed out")}, ["i-2 does not answer: timed out", "terminate-instances"], id="dead host"
        ),
        pytest.param({"i-1": host()}, ["fewer than min_healthy = 1 of 1", "release_min_healthy=0"], id="one host alone"),
        pytest.param({"i-1": host(target=SICK), "i-2": host(target=SICK)}, ["only 0 of 2", "Target.Timeout", "release_min_healthy=0"], id="outage"),
    ],
)
def test_it_is_refused_with_the_fix(seen: dict[str, Any], words: list[str]) -> None:
    made = plan.make(request(), seen)
    text = plan.page(made, NOW)
    for word in [*words, "refused", "Fix:"]:
        assert word in text


def test_an_outage_can_be_released_into() -> None:
    made = plan.make(request(), {"i-1": host(target=SICK), "i-2": host(target=SICK)}, minimum=0)
    assert made.problems == [] and made.batches == [["i-1"], ["i-2"]]


@pytest.mark.parametrize(
    ("sizes", "minimum", "batches"),
    [
        (["1", "100%"], 3, [["a"], ["b"], ["c"], ["d"]]),
        (["1", "100%"], 2, [["a"], ["b", "c"], ["d"]]),
        (["25%"], 0, [["a"], ["b"], ["c"], ["d"]]),
        (["50%"], 0, [["a", "b"], ["c", "d"]]),
        ([1, 2], 0, [["a"], ["b", "c"], ["d"]]),
    ],
)
def test_no_batch_takes_too_many_hosts_out(sizes: list[Any], minimum: int, batches: list[list[str]]) -> None:
    assert plan.divide(dict.fromkeys("abcd", "release"), set("abcd"), sizes, None, minimum, False) == (batches, [])


def test_the_way_back_is_the_pointers_release_if_it_lies_ready() -> None:
    pointer = {"number": 2}
    assert plan.way_back(host(2, prepared=[1, 2, 3]), 3, pointer) == {"action": "activate", "number": 2}
    assert plan.way_back(host(3, prepared=[2, 3]), 3, pointer) == {"action": "activate", "number": 2}  # a broken release, killed, tried again
    assert plan.way_back(host(None, prepared=[3]), 3, pointer) == {"action": "stop", "number": None}
    assert plan.way_back(host(None, prepared=[2]), 2, pointer) == {"action": "leave", "number": None}
    assert plan.way_back(host(None, prepared=[]), 1, None) == {"action": "stop", "number": None}


def test_rollback_without_a_number() -> None:
    pointer = {"number": 3, "previous": 2}
    assert plan.rollback_number(pointer, None, None, "web") == 2
    assert plan.rollback_number(pointer, {"number": 4}, None, "web") == 3
    assert plan.rollback_number(pointer, None, 1, "web") == 1
    with pytest.raises(ReleaseError, match="no release before 1"):
        plan.rollback_number({"number": 1, "previous": None}, None, None, "web")
    with pytest.raises(ReleaseError, match="never been released"):
        plan.rollback_number(None, None, None, "web")


def test_a_missing_tag_names_the_newest() -> None:
    newest = [{"tags": ["v2", "latest"], "pushed_at": "2026-03-01T11:50:00+00:00", "digest": NEW}]
    text = plan.missing_tag("hello/web", "v3", newest, NOW)
    assert "no image hello/web:v3" in text and "v2, latest (pushed 10 min ago)" in text and "Fix:" in text
    assert "nothing has been pushed" in plan.missing_tag("hello/web", "v3", [], NOW)


def test_a_service_must_be_named_where_there_are_several() -> None:
    services = [{"name": "api"}, {"name": "client"}]
    assert plan.choose_service(services, "api") == {"name": "api"}
    for wanted, word in ((None, "2 services (api, client)"), ("ap", "no service 'ap'; it has: api, client")):
        with pytest.raises(ReleaseError) as refused:
            plan.choose_service(services, wanted)
        assert word in str(refused.value)


def test_hosts_of_a_fleet_are_those_of_this_stack() -> None:
    groups = {"stack_my_shop": ["i-2", "i-1"], "fleet_web": ["i-1", "i-2", "i-9"], "fleet_api": ["i-9"]}
    assert plan.hosts_of(groups, "my-shop", "web") == ["i-1", "i-2"]
    assert plan.hosts_of(groups, "my-shop", "api") == []
    assert plan.hosts_of({}, "my-shop", "web") == []


def test_a_fleet_without_hosts_never_borrows_those_of_another() -> None:
    assert plan.hosts_of({"stack_shop": ["i-1"], "fleet_web": ["i-1"]}, "shop", "api") == []


def test_a_singleton_that_is_recreated_is_away_for_a_moment_and_the_plan_says_so() -> None:
    asked = request()
    asked["service"] = SERVICE | {"strategy": "recreate", "grace_seconds": 10}
    made = plan.make(asked, {"i-1": host()})
    assert (made.problems, made.batches, made.minimum) == ([], [["i-1"]], 0)
    page = plan.page(made, NOW)
    assert "outage" in page and "in service" not in page


def test_a_restart_is_the_same_release_on_every_host() -> None:
    asked = request(verb="restart")
    asked["to"] |= {"number": 1, "digest": OLD, "tag": "v1"}
    made = plan.make(asked, {"i-1": host(), "i-2": host()})
    assert (made.number, made.batches, made.unchanged) == (1, [["i-1"], ["i-2"]], False)
    assert "Restart of web" in plan.page(made, NOW) and "release 1 again" in plan.page(made, NOW)
    assert plan.restart_number({"number": 1}, None, "web") == 1
    for pointer, unfinished, words in ((None, None, "never been released"), ({"number": 1}, {"number": 2, "tag": "v2"}, "begun and never ended")):
        with pytest.raises(ReleaseError, match=words):
            plan.restart_number(pointer, unfinished, "web")


MIGRATION = {"command": ["migrate", "up"], "timeout_seconds": 60}


def migrating(**more: Any) -> tuple[dict[str, Any], plan.Plan]:
    asked = request(**more)
    asked["to"]["configuration"] = asked["to"]["configuration"] | {"migration": MIGRATION}
    return asked, plan.make(asked, {"i-1": host(), "i-2": host()})


def migration_of(asked: dict[str, Any], made: plan.Plan) -> dict[str, Any] | None:
    return plan.migration_of(asked, made.number, made.steps, made.acting)


def test_a_new_release_migrates_once_on_its_first_host() -> None:
    asked, made = migrating()
    assert migration_of(asked, made) == {"host": "i-1", "done": False, **MIGRATION}
    assert "migrate up  runs once on i-1, before any host leaves service" in plan.page(made, NOW)


@pytest.mark.parametrize(
    ("noted", "host_of", "done"),
    [
        ({}, "i-1", False),
        ({"outcome": "started", "host": "i-2"}, "i-2", False),
        ({"outcome": "started", "host": "i-9"}, "i-1", False),
        ({"outcome": "succeeded", "host": "i-2"}, "i-2", True),
    ],
)
def test_a_release_that_was_cut_off_repeats_only_a_migration_that_has_not_ended(noted: dict[str, str], host_of: str, done: bool) -> None:
    asked, _made = migrating(numbers=[1, 2])
    asked["unfinished"] = {**asked["to"], "number": 2, "who": "me", "when": NOW.isoformat(), "migration": noted}
    made = plan.make(asked, {"i-1": host(), "i-2": host()})
    assert made.number == 2
    seen = migration_of(asked, made)
    assert seen and (seen["host"], seen["done"]) == (host_of, done)
    assert ("has been run already" in plan.page(made, NOW)) == done


def test_neither_a_way_back_nor_a_new_host_migrates() -> None:
    for verb in ("rollback", "restart"):
        asked, made = migrating(verb=verb)
        assert migration_of(asked, made) is None
    asked, made = migrating()
    asked["from"]["number"] = made.number
    assert migration_of(asked, made) is None


def test_a_silent_host_is_done_without_when_max_failures_allows_it() -> None:
    allowing = {**SERVICE, "release": {**SERVICE["release"], "max_failures": 1}}
    seen = {"i-1": host(), "i-2": host(reachable=False, message="timed out"), "i-3": host()}
    made = plan.make(request(service=allowing), seen)
    assert (made.problems, made.batches, made.lost) == ([], [["i-2"], ["i-1"], ["i-3"]], {"i-2": "timed out"})
    assert "i-2  z  does not answer; taken out of service, as max_failures = 1 allows" in plan.page(made, NOW)
    assert any("i-2 does not answer" in text for text in plan.make(request(), seen).problems)
    two = {**seen, "i-3": host(reachable=False)}
    assert len(plan.make(request(service=allowing), two).problems) == 2


def test_a_silent_host_is_a_refusal_when_nothing_else_is_to_be_done() -> None:
    asked = request(service={**SERVICE, "release": {**SERVICE["release"], "max_failures": 1}})
    asked["to"] |= {"digest": OLD, "tag": "v1"}
    made = plan.make(asked, {"i-1": host(), "i-2": host(reachable=False)})
    assert len(made.problems) == 1 and not made.unchanged


def test_all_but_the_last_batch_are_watched_for_the_pause() -> None:
    assert plan.pauses([["i-1"], ["i-2", "i-3"]], 30) == {"i-1": 30, "i-2": 0, "i-3": 0}


@pytest.mark.parametrize(("wanted", "number"), [(None, None), ("", None), ("3", 3), (3, 3)])
def test_a_release_number_is_read(wanted: Any, number: int | None) -> None:
    assert plan.asked_number(wanted, [1, 2], "web") == number


def test_a_release_number_that_is_none_is_refused() -> None:
    with pytest.raises(ReleaseError, match="'banana' is no release number; web has: 1, 2. Fix: -e to="):
        plan.asked_number("banana", [1, 2], "web")


def final(**more: Any) -> dict[str, Any]:
    asked = request(**{"irreversible": True, "database": "hello-local"} | more)
    asked["to"]["configuration"] = {**asked["to"]["configuration"], "migration": {"command": ["migrate"], "timeout_seconds": 60}}
    return asked


def test_a_migration_that_cannot_be_undone_is_preceded_by_a_snapshot() -> None:
    made = plan.make(final(), {"i-1": host(), "i-2": host()})
    assert made.problems == []
    assert "cannot be undone; before it, the database's snapshot hello-local-release-2" in plan.page(made, NOW)
    again = {**final()["to"], "number": 2, "who": "me", "when": NOW.isoformat(), "irreversible": {"snapshot": "s"}}
    assert plan.irreversible(final(unfinished=again, irreversible=False), 2, None) == {"snapshot": "s"}
    assert plan.irreversible(request(), 2, {"host": "i-1"}) == {}


def test_what_has_no_migration_cannot_be_irreversible() -> None:
    made = plan.make(request(irreversible=True), {"i-1": host(), "i-2": host()})
    assert any("runs no migration" in text for text in made.problems)


@pytest.mark.parametrize(
    ("record", "target", "barred"),
    [
        ({"number": 3, "outcome": "succeeded"}, 2, True),
        ({"number": 3, "outcome": "succeeded"}, 3, False),
        ({"number": 4, "outcome": "failed"}, 2, True),  # it failed after its migration
        ({"number": 4, "outcome": "succeeded"}, 2, False),  # gone back from already
        ({"number": 3, "outcome": "succeeded", "irreversible": None}, 2, False),
        ({"number": 4, "outcome": "failed", "migration": {"outcome": "failed"}}, 2, False),
    ],
)
def test_nobody_goes_back_past_it(record: dict[str, Any], target: int, barred: bool) -> None:
    kept = {"irreversible": {"snapshot": "hello-release-3"}, "migration": {"outcome": "succeeded"}} | record
    text = plan.barrier(target, {"number": 3}, [kept], "web")
    assert bool(text) is barred
    if barred:
        assert "hello-release-3" in text and "release_past_irreversible=true" in text and "deploy.yml" in text


@pytest.mark.parametrize(
    ("barring", "irreversible", "ways"),
    [
        (None, False, ["activate", "activate"]),
        (2, False, ["barred", "activate"]),  # release 2 has run its migration and failed; i-2 works with it
        (1, False, ["activate", "activate"]),
        (None, True, ["barred", "barred"]),
    ],
)
def test_nobody_goes_back_past_it_by_itself_either(barring: int | None, irreversible: bool, ways: list[str]) -> None:
    """Neither in the release that has run it, nor in the one that is to mend what that has left."""
    asked = final(irreversible=irreversible, barring=barring, numbers=[1, 2])
    made = plan.make(asked, {"i-1": host(), "i-2": host(2, "sha256:c", prepared=[2])})
    migration = plan.migration_of(asked, made.number, made.steps, made.acting)
    found = plan.ways_back(made, set(made.acting), plan.irreversible(asked, made.number, migration))
    assert [found[name]["action"] for name in ("i-1", "i-2")] == ways
    page = plan.page(made, NOW)
    assert ("every host goes back" in page) == ("barred" not in ways)
    assert ("that host stays out of service" in page) == ("barred" in ways)
    if barring == 2:
        assert "nothing older knows the database after the migration of release 2" in page


def test_which_release_bars_the_way() -> None:
    def record(number: int, outcome: str, **more: Any) -> dict[str, Any]:
        return {"number": number, "outcome": outcome, "irreversible": {"snapshot": "s"}, "migration": {"outcome": "succeeded"}} | more

    failed, gone_back_from = record(4, "failed"), record(5, "succeeded")
    found = plan.barring({"number": 3}, [gone_back_from, failed, record(2, "succeeded"), {}])
    assert found and found["number"] == 4
    harmless = [record(4, "failed", migration={"outcome": "failed"}), record(2, "succeeded", irreversible=None)]
    assert plan.barring({"number": 3}, [gone_back_from, *harmless]) is None


def test_two_colours_do_not_go_with_what_cannot_be_undone() -> None:
    coloured = {
        **SERVICE,
        "colours": {"blue": {"instance": "web", "port": 8080}, "green": {"instance": "web-green", "port": 8081}},
        "release": {**SERVICE["release"], "weights": [100], "bake_seconds": 0, "retire_after_seconds": None, "alarms": []},
    }
    outputs = {"target_groups": {"web": "b", "web-green": "g"}, "rules": {"web": "r"}}
    seen = {"i-1": host(), "i-2": host()}
    assert any("strategy: rolling" in text for text in plan.make(final(service=coloured, weights={"b": 100}, outputs=outputs), seen).problems)
    assert plan.make(final(service=coloured, weights={"b": 100}, outputs=outputs, irreversible=False), seen).problems == []


def test_a_link_that_a_killed_run_has_moved_is_put_right() -> None:
    """The container is the old release's still; a reboot would start the new one."""
    asked = request(unfinished={"number": 2, "digest": NEW, "tag": "v2"})
    asked["to"] |= {"number": 1, "digest": OLD, "tag": "v1"}
    assert plan.make(asked, {"i-1": host(current=2), "i-2": host(current=1)}).steps == {"i-1": "release", "i-2": "nothing"}


def test_which_hosts_a_colour_is_started_on() -> None:
    """Where it does not run, and where a warm one is about to be stopped or would not come back."""
    colours = {"blue": {"instance": "web", "port": 8080}, "green": {"instance": "web-green", "port": 8081}}
    asked = request(verb="rollback", weights={"b": 0, "g": 100})
    asked["from"] |= {"number": 2, "colour": "green"}
    asked["to"] |= {"number": 1, "digest": OLD}
    asked["outputs"] = {"target_groups": {"web": "b", "web-green": "g"}, "rules": {"web": "rule"}}
    asked["service"] = {**SERVICE, "colours": colours, "release": {"weights": [100], "bake_seconds": 0}}
    seen = {"i-1": host(settled=True), "i-2": host(settled=False), "i-3": host(None), "i-4": host(settled=True, target=GONE)}
    made = plan.make(asked, seen)
    assert made.steps == {"i-1": "nothing", "i-2": "nothing", "i-3": "release", "i-4": "register"}
    assert made.starting == ["i-2", "i-3"] and made.traffic and made.traffic["shares"] == [100]
    assert plan.make(request(), {"i-1": host()}).starting == [], "of a service without colours"
