"""The page that a release leaves."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from ansible_collections.flotilla.ec2.plugins.filter import release
from ansible_collections.flotilla.ec2.plugins.module_utils.release import figures, report

RECORD = {"service": "web", "number": 3, "verb": "deploy", "tag": "v3", "digest": "sha256:d", "who": "ann@ci", "where": "https://ci/1",
          "when": "2026-03-01T12:00:00+00:00"}  # fmt: skip
PLAN: dict[str, Any] = {"record": RECORD, "batches": [["i-1"], ["i-2"]], "lost": {}, "given_up": 2}


def story(**more: Any) -> dict[str, Any]:
    bars = [{"lane": "release", "what": "look", "from": 100.0, "to": 103.0}, *report.bars_of("i-1", {"drain": {"at": 110.0, "seconds": 5.0}})]
    hosts = {"i-1": {"outcome": "back", "seconds": 9.0, "steps": {"drain": 5.0}}}
    told = {"message": "boom <script>", "plan": "the plan", "decisions": ["i-1 failed: boom"]}
    return {"stack": "hello", "environment": "local", "record": RECORD, "outcome": "failed", "timeline": bars, "hosts": hosts} | told | more


def test_the_page_tells_the_failure_first_and_runs_nothing() -> None:
    page = report.render(story())
    assert page.index("boom &lt;script&gt;") < page.index("ann@ci") < page.index("Timeline") < page.index("Decisions")
    assert "<script" not in page and "src=" not in page and "href=" not in page
    for text in ("deploy of web to release 3: failed", "https://ci/1", "i-1: drain, 5.0 s from 00:01:45", "drain 5", "the plan"):
        assert text in page
    assert "<h2>Requests" not in page


def test_a_start_lies_between_drain_and_health() -> None:
    done = {"drain": {"at": 10.0, "seconds": 5.0}, "start": {"at": 13.0, "seconds": 2.0}, "healthy": {"at": 20.0, "seconds": 7.0}}
    bars = [(bar["what"], bar["from"], bar["to"]) for bar in report.bars_of("i-1", done)]
    assert bars == [("drain", 5.0, 10.0), ("start", 10.0, 13.0), ("healthy", 13.0, 20.0)]


def test_a_colour_has_its_start_and_its_shares_of_the_traffic() -> None:
    """No host leaves service, and the share in which a limit was passed is there too."""
    assert report.bars_of("i-1", {"start": {"at": 13.0, "seconds": 2.0}}) == [{"lane": "i-1", "what": "start", "from": 11.0, "to": 13.0}]
    shifted = {"outcome": "breached", "steps": [{"share": 10, "at": 20.0, "seconds": 6.0}, {"share": 50, "at": 26.0, "seconds": 1.5}]}
    bars = [(bar["lane"], bar["what"], bar["from"], bar["to"]) for bar in report.shares_of(shifted)]
    assert bars == [("traffic", "10 %", 20.0, 26.0), ("traffic", "50 %", 26.0, 27.5)]
    assert report.shares_of({}) == []
    page = report.render(story(timeline=report.shares_of(shifted), figures=[{"title": "Requests", "unit": "/s", "lines": {"x": [[19.0, 1.0], [27.0, 2.0]]}}]))
    assert "traffic: 10 %, 6.0 s from 00:00:20" in page and page.count("stroke-dasharray") == 2


def test_figures_are_told_by_release() -> None:
    groups = {"blue": "b", "green": "g"}
    assert report.by_release(groups, {**RECORD, "colour": "green"}, 2) == {"release 2 (blue)": "b", "release 3 (green)": "g"}
    assert report.by_release(groups, {**RECORD, "colour": "blue"}, None) == {"release 3 (blue)": "b", "green": "g"}
    assert report.by_release({"web": "w"}, {**RECORD, "colour": None}, 2) == {"web": "w"}


def test_decisions_follow_the_batches() -> None:
    ends = {"i-1": {"outcome": "released"}, "i-2": {"outcome": "back", "failure": "unhealthy\nmore"}}
    told = report.decisions(PLAN, ends, {"steps": [{"share": 10, "seconds": 5.0}]})
    assert told == [
        "Release 2, which was begun and never ended, was given up.", "Batch 1: i-1.", "Batch 2: i-2.", "i-2 failed: unhealthy",
        "10 % of the traffic for 5 s.", "Back on the release before: i-2.",
    ]  # fmt: skip


def test_figures_become_charts() -> None:
    moment = datetime(2026, 3, 1, 12, tzinfo=UTC)
    arn = "arn:aws:elasticloadbalancing:eu-central-1:1:targetgroup/hello-web/0f"
    asked = figures.queries("arn:aws:elasticloadbalancing:eu-central-1:1:loadbalancer/app/hello/50", {"web": arn})
    assert asked[0]["MetricStat"]["Metric"]["Dimensions"] == [
        {"Name": "LoadBalancer", "Value": "app/hello/50"}, {"Name": "TargetGroup", "Value": "targetgroup/hello-web/0f"}
    ]  # fmt: skip
    shaped = figures.shaped([{"Id": "requests_0", "Timestamps": [moment], "Values": [600.0]}, {"Id": "errors_0", "Timestamps": [], "Values": []}], ["web"])
    assert shaped == [{"title": "Requests a second", "unit": "/s", "lines": {"web": [[moment.timestamp(), 10.0]]}}]
    assert "Requests a second" in report.render(story(figures=shaped))


def test_what_a_host_has_cost_goes_from_its_drain_to_its_health_or_to_the_start_that_failed() -> None:
    drained, served = {"at": 110.0, "seconds": 10.0}, {"at": 120.0, "seconds": 5.0}
    plan = {"rolling": ["i-1", "i-2", "i-3"], "instance": "web", "starting": []}
    hostvars: dict[str, dict[str, Any]] = {
        "localhost": {},
        "i-1": {"__release_drained": drained, "__release_activated": {"at": 114.0, "seconds": 2.0}, "__release_served": served},
        "i-2": {"__release_drained": drained, "__release_activated": {"at": 113.5, "failed": True, "msg": "exited with code 3"}},
        "i-3": {"__release_activated": {"skipped": True}},
    }
    assert [end["seconds"] for end in release._ends(plan, hostvars).values()] == [20.0, 13.5, None]
    bars = [(bar["lane"], bar["what"], bar["from"], bar["to"]) for bar in release.release_story({**PLAN, **plan}, hostvars)["timeline"]]
    assert ("i-2", "start", 110.0, 113.5) in bars and ("i-1", "healthy", 115.0, 120.0) in bars
