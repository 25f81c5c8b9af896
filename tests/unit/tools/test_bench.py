"""What a bench makes of its runs."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

from tests.bench import figures

OUTPUT = """
Saturday 21 November 2026  10:00:00 +0000 (0:00:01.000)       0:00:30.000 *****
===============================================================================
flotilla.ec2.release : Roll | Drain ------------------------------------- 8.52s
flotilla.ec2.release : Roll | Start the new release --------------------- 2.01s
"""


def run(what: str, seconds: float, **more: Any) -> dict[str, Any]:
    return {"strategy": "rolling", "what": what, "hosts": 2, "seconds": seconds, "phases": {"roll": 20.0}, "tasks": figures.tasks(OUTPUT)} | more


RUNS = [run("deploy", 30.0), run("deploy", 50.0), run("deploy", 31.0), run("warm up", 5.0)]


def test_the_tasks_of_a_run_are_read() -> None:
    assert figures.tasks(OUTPUT) == {"flotilla.ec2.release : Roll | Drain": 8.52, "flotilla.ec2.release : Roll | Start the new release": 2.01}


def test_the_overhead_is_what_is_beyond_the_floor() -> None:
    hosts = {"i-1": {"seconds": 22.0, "steps": {"drain": 8.0, "start": 2.0}}, "i-2": {"seconds": None}}
    assert figures.overhead(hosts, 10) == 10.0
    assert figures.overhead({}, 10) is None


def test_medians_stand_beside_kamals() -> None:
    text = figures.table(RUNS)
    assert "| rolling | deploy | 31.0 | 8.6 |" in text and "| rolling | warm up | 5.0 | – |" in text
    assert "Roll: Drain 8.52" in figures.split(RUNS) and "roll 20" in figures.split(RUNS)
    assert len(ElementTree.fromstring(figures.chart(RUNS)).findall("{http://www.w3.org/2000/svg}rect")) == 3


def test_what_a_deploy_takes_besides_the_wait_for_health_is_told() -> None:
    tasks = {"flotilla.ec2.release : Shift | Wait for health and shift the traffic": 2.5, "flotilla.ec2.release : Look | Ask": 0.04}
    coloured = [run("deploy", seconds, strategy="blue_green", hosts=8, tasks=tasks) for seconds in (14.0, 13.0, 20.0)]
    assert figures.without_health([*RUNS, *coloured]) == "8 hosts 11.5 s"
    assert figures.without_health(RUNS) == "not measured"
    kept = figures.brief({"rate": 25, "runs": coloured})
    assert kept["rate"] == 25 and list(kept["runs"][0]["tasks"].values()) == [2.5]


def test_the_page_says_when_the_application_answers() -> None:
    hosts = {"i-1": {"seconds": 22.0, "steps": {"drain": 8.0, "start": 2.0}}, "i-2": {"seconds": 9.0, "steps": {"start": 3.0}}}
    assert figures.starts(hosts) == 2.5 and figures.starts({}) is None
    alone = run("one by one", 30.0, overhead_percent=18.0, start_seconds=2.5, requests_sent=10, requests_failed=0)
    page = figures.page({"when": "2026-01-01", "machine": "2 cores", "rate": 25, "floor": "a good check", "runs": [alone]})
    assert "answers 2.5 s after its start was asked for" in page and "`min_healthy_seconds`): 18 % (median)" in page
