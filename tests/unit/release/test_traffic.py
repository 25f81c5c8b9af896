"""The traffic of a release with two colours: what is decided, what is watched, and that it goes back when a limit is passed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import botocore.exceptions
import botocore.session
import pytest
from ansible_collections.flotilla.ec2.plugins.filter import release
from ansible_collections.flotilla.ec2.plugins.module_utils.release import colours, traffic
from ansible_collections.flotilla.ec2.plugins.module_utils.release.api import ReleaseError
from ansible_collections.flotilla.ec2.plugins.module_utils.release.lock import LockLost
from ansible_collections.flotilla.ec2.plugins.module_utils.release.traffic import Shift, Wall
from botocore.stub import ANY, Stubber

RULE = "arn:aws:elasticloadbalancing:eu-central-1:123456789012:listener-rule/app/shop/50dc6c495c0c9188/f2f7dc8efc522ab2/9683b2d02a6cabee"
GROUPS = {
    "blue": "arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/shop-web/73e2d6bc24d8a067",
    "green": "arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/shop-web-green/1a2b3c4d5e6f7a8b",
}
RELEASE = {"weights": [10, 50, 100], "bake_seconds": 60, "max_5xx_percent": 1, "max_latency_percent": 200, "alarms": [], "retire_after_seconds": None}
SERVICE = {
    "name": "web",
    "colours": {"blue": {"instance": "web", "port": 8080}, "green": {"instance": "web-green", "port": 8081}},
    "release": RELEASE,
}
HOSTS = ["i-1", "i-2"]
MINUTE = 1_800_000_000.0 - 1_800_000_000.0 % 60


# ---- decisions


def request(verb: str = "deploy", pointer: dict[str, Any] | None = None, **keys: Any) -> dict[str, Any]:
    outputs = {"target_groups": {"web": GROUPS["blue"], "web-green": GROUPS["green"]}, "rules": {"web": RULE}}
    return {"verb": verb, "from": pointer, "outputs": outputs, "service": {**SERVICE, "release": {**RELEASE, **keys}}}


def decided(number: int, green: int, steps: str = "release", **given: Any) -> dict[str, Any]:
    weights = {GROUPS["blue"]: 100 - green, GROUPS["green"]: green}
    return colours.traffic(request(**given), number, weights, dict.fromkeys(HOSTS, steps))


BLUE, GREEN = {"number": 3, "colour": None, "previous": 2}, {"number": 4, "colour": "green", "previous": 3}


@pytest.mark.parametrize(
    ("what", "found", "colour", "shares"),
    [
        ("the first release", decided(1, 0), "blue", []),
        ("a new release goes to the idle colour", decided(4, 0, pointer=BLUE), "green", [10, 50, 100]),
        ("the next one back to blue", decided(5, 100, pointer=GREEN), "blue", [10, 50, 100]),
        ("a killed one goes on with the share that it has", decided(4, 50, "nothing", pointer=BLUE), "green", [50, 100]),
        ("killed before its end", decided(4, 100, "nothing", pointer=BLUE), "green", [100]),
        ("a rollback is one change", decided(3, 100, "nothing", verb="rollback", pointer=GREEN), "blue", [100]),
        ("a rollback of what never ended", decided(3, 50, "nothing", verb="rollback", pointer=BLUE), "blue", [100]),
        ("the current one again", decided(4, 100, "nothing", pointer=GREEN), "green", []),
        ("hosts that are new", decided(4, 100, "release", pointer=GREEN), "green", []),
        ("a restart goes to the other colour", decided(4, 100, verb="restart", pointer=GREEN), "blue", [10, 50, 100]),
    ],
    ids=lambda value: value if isinstance(value, str) and " " in value else "",
)
def test_which_colour_and_which_shares(what: str, found: dict[str, Any], colour: str, shares: list[int]) -> None:
    assert (found["colour"], found["shares"]) == (colour, shares), what


def test_what_is_watched_and_what_is_not() -> None:
    assert decided(4, 0, pointer=BLUE)["watched"] and decided(4, 0, pointer=BLUE)["bake_seconds"] == 60
    for found in (decided(1, 0), decided(3, 100, verb="rollback", pointer=GREEN), decided(4, 100, pointer=GREEN)):
        assert not found["watched"] and found["bake_seconds"] == 0


def test_traffic_of_a_release_that_was_given_up_goes_back_before_its_colour_is_started_anew() -> None:
    found = decided(5, 50, pointer=BLUE)
    assert (found["occupied"], found["shares"], found["free"]) == (True, [10, 50, 100], HOSTS)
    assert not decided(4, 50, "nothing", pointer=BLUE)["occupied"]
    assert not decided(4, 100, pointer=GREEN)["occupied"], "hosts that are new leave the others alone"


def test_the_plan_says_where_the_traffic_goes_and_when_back() -> None:
    rows = dict(colours.rows(decided(4, 0, pointer=BLUE, alarms=["a"])))
    assert rows["traffic"] == "blue → green, when all hosts are healthy: 10 % → 50 % → 100 %, each watched for 60 s"
    assert "alarm a" in rows["back if"] and rows["blue"] == "stays warm until the next release"
    assert dict(colours.rows(decided(3, 100, "nothing", verb="rollback", pointer=GREEN)))["traffic"].endswith("100 %, at once")


def test_a_service_keeps_its_colours_while_green_serves() -> None:
    plain = {"name": "web", "strategy": "rolling", "colours": None}
    assert "release once more with strategy: blue_green" in colours.stranded(plain, "green")
    assert colours.stranded(plain, "blue") == colours.stranded(plain, None) == colours.stranded(SERVICE, "green") == ""


# ---- figures


def row(requests: int, errors: int = 0, latency: float | None = 0.1) -> dict[str, Any]:
    return {"requests": requests, "errors": errors, "latency": latency}


@pytest.mark.parametrize(
    ("new", "old", "text"),
    [
        (row(100), row(900), ""),
        (row(100, 1), row(900), ""),
        (row(100, 3), row(900), "3.0 percentage points more, max_5xx_percent is 1"),
        (row(100, 3), row(900, 27), ""),
        (row(10, 2), row(900), ""),
        (row(10, 10), row(900), "100.0 % of its answers are 5xx (10 of 10)"),
        (row(10, 3), row(900, 180), ""),
        (row(100, latency=0.19), row(900), ""),
        (row(100, latency=0.21), row(900), "210 %, max_latency_percent is 200"),
        (row(99, latency=9.0), row(900), ""),
        (row(900, latency=9.0), row(99), ""),
        (row(100, latency=0.04), row(900, latency=0.005), ""),
        (row(100, latency=9.0), row(0, latency=None), ""),
    ],
)
def test_when_figures_are_beyond_the_limits(new: dict[str, Any], old: dict[str, Any], text: str) -> None:
    found = traffic.beyond(new, old, RELEASE)
    assert text in found and bool(text) == bool(found)


def test_figures_are_asked_for_by_minute_and_summed_over_those_that_count() -> None:
    client = botocore.session.Session().create_client(
        "cloudwatch", region_name="eu-central-1", endpoint_url="https://unit.test", aws_access_key_id="unit", aws_secret_access_key="of-no-account"
    )
    first, second = (datetime.fromtimestamp(MINUTE + 60 * n, UTC) for n in range(2))
    results = [
        {"Id": "requests_green", "Label": "x", "Timestamps": [first, second], "Values": [10.0, 30.0], "StatusCode": "Complete"},
        {"Id": "errors_green", "Label": "x", "Timestamps": [second], "Values": [3.0], "StatusCode": "Complete"},
        {"Id": "latency_green", "Label": "x", "Timestamps": [first, second], "Values": [0.1, 0.2], "StatusCode": "Complete"},
        {"Id": "requests_blue", "Label": "x", "Timestamps": [], "Values": [], "StatusCode": "Complete"},
    ]
    with Stubber(client) as stubber:
        wanted = {"MetricDataQueries": traffic.queries(RULE, GROUPS), "StartTime": ANY, "EndTime": ANY}
        stubber.add_response("get_metric_data", {"MetricDataResults": results}, wanted)
        found = traffic.figures(client, RULE, GROUPS, MINUTE, MINUTE + 120)
    assert traffic.summed(found["green"], MINUTE) == {"requests": 40, "errors": 3, "latency": pytest.approx(0.175)}
    assert traffic.summed(found["green"], MINUTE + 60) == {"requests": 30, "errors": 3, "latency": pytest.approx(0.2)}
    assert traffic.summed(found["blue"], 0) == {"requests": 0, "errors": 0, "latency": None}
    metric = wanted["MetricDataQueries"][0]["MetricStat"]
    assert metric["Period"] == 60 and metric["Metric"]["Dimensions"] == [
        {"Name": "LoadBalancer", "Value": "app/shop/50dc6c495c0c9188"},
        {"Name": "TargetGroup", "Value": "targetgroup/shop-web/73e2d6bc24d8a067"},
    ]


def test_what_a_colour_did_for_a_former_release_does_not_count() -> None:
    paper = Paper()
    paper.served.append((-5.0, "green", 1000.0))
    paper.error_rate = 1.0
    watch = traffic.Watch(shift(paper))
    watch.begin()
    assert watch.sums()[0] == {"requests": 0, "errors": 0, "latency": None}
    paper.error_rate = 0.5  # of the old ones too, on paper: 500 less
    paper.served.append((1.0, "green", 100.0))
    watch.base["errors"] = 500.0
    watch.measure()
    assert watch.sums()[0] == {"requests": 100, "errors": 50, "latency": None}
    late = Paper(delay=10.0)
    late.served.append((-40.0, "green", 1000.0))
    watch = traffic.Watch(shift(late))
    watch.begin()
    assert watch.began == MINUTE + 60, "the running minute is not known yet, and the one before had requests"


def test_an_alarm_that_is_missing_or_rings_lets_no_release_begin() -> None:
    states = {"a": {"state": "OK", "reason": ""}, "b": {"state": "ALARM", "reason": "Threshold Crossed"}}
    assert [text.partition(".")[0] for text in traffic.alarm_problems(["a", "b", "c"], states)] == [
        "there is no alarm c in CloudWatch",
        "the alarm b rings: Threshold Crossed",
    ]


def test_a_host_that_fails_in_both_colours_is_not_the_releases_fault() -> None:
    bad = {"state": "unhealthy", "reason": "Target.Timeout", "description": ""}
    good = {"state": "healthy", "reason": "", "description": ""}
    assert "i-1 is unhealthy" in traffic.sick({"i-1": bad, "i-2": good}, {"i-1": good, "i-2": good}, HOSTS)
    assert traffic.sick({"i-1": bad, "i-2": good}, {"i-1": bad, "i-2": good}, HOSTS) == ""


# ---- the shift, on a load balancer of paper


class Paper:
    """Time, a load balancer and CloudWatch; `events` maps seconds to what happens then."""

    exceptions = type("Exceptions", (), {"RuleNotFoundException": LookupError})

    def __init__(self, **events: Any) -> None:
        self.seconds, self.green = 0.0, 0
        self.weights: list[tuple[float, int]] = []
        self.states = {colour: dict.fromkeys(HOSTS, "healthy") for colour in GROUPS}
        self.registered: list[str] = []
        self.error_rate, self.errors_from = events.get("error_rate", 0.0), events.get("errors_from", float("-inf"))
        self.blind_from = events.get("blind_from", float("inf"))
        self.sick_at = events.get("sick_at")
        self.alarm_at = events.get("alarm_at")
        self.delay = events.get("delay", 0.0)
        self.refusing, self.refused = events.get("refusing", 0), events.get("refused")
        self.served: list[tuple[float, str, float]] = [(-120.0 + n, "blue", 50.0) for n in range(120)]

    def clock(self) -> Wall:
        return Wall(lambda: self.seconds, self.sleep, lambda: MINUTE + 30 + self.seconds)

    def sleep(self, seconds: float) -> None:
        for colour, share in (("green", self.green), ("blue", 100 - self.green)):
            self.served.append((self.seconds, colour, share * seconds / 2))
        self.seconds += seconds

    def describe_rules(self, RuleArns: list[str]) -> dict[str, Any]:
        groups = [{"TargetGroupArn": GROUPS["blue"], "Weight": 100 - self.green}, {"TargetGroupArn": GROUPS["green"], "Weight": self.green}]
        return {"Rules": [{"RuleArn": RuleArns[0], "Actions": [{"Type": "forward", "ForwardConfig": {"TargetGroups": groups}}]}]}

    def modify_rule(self, RuleArn: str, Actions: list[dict[str, Any]]) -> None:
        weight = Actions[0]["ForwardConfig"]["TargetGroups"][1]["Weight"]
        if (weight < self.green and self.refusing > self.seconds) or weight == self.refused:
            raise botocore.exceptions.ClientError({"Error": {"Code": "ServiceUnavailable", "Message": "busy"}}, "ModifyRule")
        self.green = weight
        self.weights.append((self.seconds, weight))

    def describe_target_health(self, TargetGroupArn: str) -> dict[str, Any]:
        colour = next(one for one, arn in GROUPS.items() if arn == TargetGroupArn)
        sick = colour == "green" and self.sick_at is not None and self.seconds >= self.sick_at
        rows = [
            {"Target": {"Id": host, "Port": 1}, "TargetHealth": {"State": "unhealthy" if sick and host == "i-2" else state}}
            for host, state in self.states[colour].items()
        ]
        return {"TargetHealthDescriptions": rows}

    def register_targets(self, TargetGroupArn: str, Targets: list[dict[str, Any]]) -> None:
        self.registered += [one["Id"] for one in Targets]
        self.states["green"].update(dict.fromkeys([one["Id"] for one in Targets], "healthy"))

    def deregister_targets(self, TargetGroupArn: str, Targets: list[dict[str, Any]]) -> None:
        for one in Targets:
            self.states["green"].pop(one["Id"])

    def get_paginator(self, operation: str) -> Any:
        return type("Pages", (), {"paginate": lambda _self, **given: [getattr(self, operation)(**given)]})()

    def describe_alarms(self, **_given: Any) -> dict[str, Any]:
        rings = self.alarm_at is not None and self.seconds >= self.alarm_at
        return {"MetricAlarms": [{"AlarmName": "shop", "StateValue": "ALARM" if rings else "OK", "StateReason": "Threshold Crossed"}]}

    def get_metric_data(self, StartTime: datetime, **_given: Any) -> dict[str, Any]:
        """By minute; a minute is known `delay` seconds after its end, with no delay at once."""
        if self.seconds >= self.blind_from:
            raise botocore.exceptions.ClientError({"Error": {"Code": "AccessDenied", "Message": "not allowed"}}, "GetMetricData")
        rows: dict[str, dict[datetime, float]] = {}
        for second, colour, count in self.served:
            moment = MINUTE + 30 + second
            minute = moment - moment % 60
            if minute < StartTime.timestamp() or (self.delay and minute + 60 + self.delay > MINUTE + 30 + self.seconds) or not count:
                continue
            key = datetime.fromtimestamp(minute, UTC)
            errors = count * self.error_rate if colour == "green" and second >= self.errors_from else 0.0
            for name, value in (("requests", count), ("errors", errors)):
                rows.setdefault(f"{name}_{colour}", {}).setdefault(key, 0.0)
                rows[f"{name}_{colour}"][key] += value
        return {"MetricDataResults": [{"Id": name, "Timestamps": list(known), "Values": list(known.values())} for name, known in rows.items()]}


def shift(paper: Paper, held: Any = lambda: None, **keys: Any) -> Shift:
    return Shift(paper, paper, decided(4, paper.green, "nothing", pointer=BLUE, **keys), HOSTS, held=held, clock=paper.clock())


def test_shares_rise_and_each_bakes_for_its_time() -> None:
    paper = Paper()
    outcome = shift(paper).run()
    assert outcome["outcome"] == "shifted"
    assert [weight for _, weight in paper.weights] == [10, 50, 100]
    assert [after - before for (before, _), (after, _) in zip(paper.weights, paper.weights[1:], strict=False)] == [pytest.approx(60, abs=1.5)] * 2
    assert [step["share"] for step in outcome["steps"]] == [10, 50, 100]


def test_errors_put_all_of_it_back_with_the_evidence() -> None:
    paper = Paper(error_rate=0.5)
    outcome = shift(paper).run()
    assert (outcome["outcome"], outcome["back_seconds"]) == ("breached", 0.0)
    assert "50.0 % of its answers are 5xx" in outcome["reason"] and "green" in outcome["evidence"][0]
    assert [weight for _, weight in paper.weights] == [10, 0] and paper.weights[-1][0] < 15


def test_a_share_waits_for_its_first_figures_where_they_come_late() -> None:
    """As on AWS: a minute is known two minutes after its end."""
    paper = Paper(error_rate=0.5, delay=120.0)
    outcome = shift(paper).run()
    assert outcome["outcome"] == "breached" and [weight for _, weight in paper.weights] == [10, 0]
    assert 120 < paper.weights[-1][0] < 250


def test_no_traffic_is_not_waited_for() -> None:
    paper = Paper(delay=120.0)
    paper.served.clear()
    paper.sleep = lambda seconds: setattr(paper, "seconds", paper.seconds + seconds)  # type: ignore[method-assign]
    assert shift(paper).run()["outcome"] == "shifted" and paper.seconds < 200


def test_traffic_that_has_ended_is_waited_for_in_one_share_only() -> None:
    paper = Paper()
    paper.sleep = lambda seconds: setattr(paper, "seconds", paper.seconds + seconds)  # type: ignore[method-assign]
    assert shift(paper).run()["outcome"] == "shifted"
    first, second, third = (moment for moment, _ in paper.weights)
    assert second - first == pytest.approx(60 + traffic.FIGURES_SECONDS, abs=2) and third - second == pytest.approx(60, abs=2)


def test_an_unhealthy_target_puts_all_of_it_back_within_a_second() -> None:
    paper = Paper(sick_at=70.0)
    outcome = shift(paper).run()
    assert outcome["outcome"] == "breached" and "i-2 is unhealthy" in outcome["reason"]
    assert paper.weights[-1][1] == 0 and 70 <= paper.weights[-1][0] <= 72


def test_an_alarm_puts_all_of_it_back() -> None:
    paper = Paper(alarm_at=20.0)
    outcome = shift(paper, alarms=["shop"]).run()
    assert outcome["outcome"] == "breached" and "alarm shop rings: Threshold Crossed" in outcome["reason"]
    assert paper.green == 0


def test_it_is_put_back_as_soon_as_the_api_takes_it_and_told_when_never() -> None:
    paper = Paper(error_rate=0.5, refusing=20.0)
    assert shift(paper).run()["outcome"] == "breached" and paper.green == 0
    paper = Paper(error_rate=0.5, refusing=1000.0)
    outcome = shift(paper).run()
    assert outcome["outcome"] == "stuck" and "could not be put back" in outcome["reason"]


def test_a_lost_lock_leaves_the_traffic_to_whoever_has_it() -> None:
    paper = Paper()

    def held() -> None:
        if paper.seconds >= 20:
            raise LockLost("the lock was taken")

    outcome = shift(paper, held).run()
    assert (outcome["outcome"], outcome["reason"]) == ("stuck", "the lock was taken")
    assert [weight for _, weight in paper.weights] == [10] and 20 <= paper.seconds < 25, "it was asked for between two shares only"


def test_a_lock_that_cannot_be_asked_for_while_a_share_bakes_says_nothing() -> None:
    paper = Paper()

    def held() -> None:
        if paper.seconds % 60 > 5:
            raise botocore.exceptions.EndpointConnectionError(endpoint_url="https://ssm")

    assert shift(paper, held).run()["outcome"] == "shifted"


def test_what_cannot_be_watched_gets_no_traffic() -> None:
    paper = Paper(blind_from=0.0)
    outcome = shift(paper).run()
    assert outcome["outcome"] == "breached" and "CloudWatch cannot be asked" in outcome["reason"] and "not allowed" in outcome["reason"]
    assert paper.weights == [] and outcome["steps"] == []
    paper = Paper(blind_from=10.0)
    assert shift(paper).run()["outcome"] == "shifted", "figures that were had once may be late"


def test_a_share_that_the_api_refuses_takes_all_of_it_back() -> None:
    """No share stays with a colour that nobody watches any more."""
    paper = Paper(refused=50)
    outcome = shift(paper).run()
    assert outcome["outcome"] == "breached" and "busy" in outcome["reason"]
    assert [weight for _, weight in paper.weights] == [10, 0]


def test_errors_late_in_a_long_shift_are_seen_in_minutes() -> None:
    """Five of a hundred, after twenty minutes of good answers: of all of them they are one percent five minutes later only."""
    paper = Paper(error_rate=0.05, errors_from=1200.0)
    outcome = shift(paper, weights=[10, 100], bake_seconds=2400).run()
    assert outcome["outcome"] == "breached" and 1200 < paper.seconds < 1200 + 120
    assert "percentage points more" in outcome["reason"]
    assert [step["share"] for step in outcome["steps"]] == [10], "the share in which it was seen is told"
    assert outcome["steps"][0]["seconds"] == pytest.approx(paper.seconds, abs=1) and outcome["steps"][0]["at"] == MINUTE + 30


def test_one_error_in_some_minutes_of_a_long_shift_is_none_too_many() -> None:
    watch = traffic.Watch(shift(Paper()), began=MINUTE)
    watch.shift.clock.today = lambda: MINUTE + 3630
    green = {MINUTE + 60.0 * n: {"requests": 8.0, "errors": 0.0} for n in range(60)} | {MINUTE + 3600: {"requests": 8.0, "errors": 1.0}}
    watch.minutes = {"green": green, "blue": {moment: {"requests": 36.0} for moment in green}}
    assert watch.wrong() == ("", [])
    green[MINUTE + 3600]["errors"] = 3.0
    assert "(3 of 48)" in watch.wrong()[0] and "48 requests" in watch.wrong()[1][0]


def test_a_colour_that_is_started_anew_is_judged_anew() -> None:
    paper = Paper()
    paper.green = 50
    one = Shift(paper, paper, decided(5, 50, pointer=BLUE), HOSTS, clock=paper.clock())
    one.clear(7.0)
    assert (paper.green, paper.seconds, paper.states["green"]) == (0, 7.0, {})
    one.serve(60, 3)
    assert paper.registered == HOSTS and paper.seconds >= 10


def test_traffic_does_not_go_back_to_a_colour_that_is_gone() -> None:
    paper = Paper()
    paper.green = 100
    paper.states["blue"]["i-1"] = "unhealthy"
    with pytest.raises(ReleaseError, match="green has traffic of a release that was given up, and blue, .* is not healthy on i-1"):
        Shift(paper, paper, decided(5, 100, pointer=BLUE), HOSTS, clock=paper.clock()).clear(7.0)
    assert (paper.green, len(paper.states["green"])) == (100, 2)


def test_targets_that_do_not_become_healthy_are_named() -> None:
    paper = Paper()
    paper.states["green"]["i-2"] = "unhealthy"
    with pytest.raises(ReleaseError, match=r"not all targets of green became healthy within 30 s: i-2 is unhealthy"):
        shift(paper).serve(30, 3)


def leaving(paper: Paper, host: str, of: str = "green") -> Shift:
    """A shift one of whose hosts is being ended by its group."""
    paper.states[of][host] = "draining"
    made = shift(paper)
    made.leaving = lambda hosts: [one for one in hosts if one == host]
    return made


def test_a_host_that_leaves_is_not_put_back_into_service() -> None:
    paper = Paper()
    made = leaving(paper, "i-2")
    made.serve(30, 3)
    assert (made.departed, made.hosts, paper.registered) == (["i-2"], ["i-1"], [])
    assert made.run()["outcome"] == "shifted"


def test_a_host_that_begins_to_leave_is_waited_for_no_longer() -> None:
    paper = Paper()
    paper.states["green"]["i-2"] = "unhealthy"
    made = shift(paper)
    made.leaving = lambda hosts: [one for one in hosts if paper.seconds > 12]
    made.serve(30, 0)
    assert made.departed == ["i-2"] and 12 <= paper.seconds <= 18


def test_a_host_that_leaves_the_new_colour_first_is_no_breach() -> None:
    paper = Paper()
    made = leaving(paper, "i-2")
    assert made.run()["outcome"] == "shifted" and made.departed == ["i-2"]
    assert paper.green == 100


def test_a_host_that_leaves_in_the_middle_of_a_shift_has_departed_at_its_end() -> None:
    paper = Paper()
    made = leaving(paper, "i-2")
    paper.states["blue"]["i-2"] = "draining"
    assert made.run()["outcome"] == "shifted" and made.departed == ["i-2"]


def test_a_target_that_somebody_took_out_is_a_breach_still() -> None:
    paper = Paper()
    paper.states["green"]["i-2"] = "draining"
    assert shift(paper).run()["outcome"] == "breached"


def test_nothing_is_shifted_when_every_host_leaves() -> None:
    made = leaving(Paper(), "i-2")
    made.hosts = ["i-2"]
    with pytest.raises(ReleaseError, match="every host is being ended by its Auto Scaling group"):
        made.serve(30, 3)


# ---- what became of it


def judged(outcome: dict[str, Any], ends: dict[str, dict[str, Any]], **given: Any) -> dict[str, Any]:
    found = decided(given.pop("number", 4), 0, pointer=given.pop("pointer", BLUE), **given)
    plan = {"number": 4, "rolling": HOSTS, "traffic": found, "result": {"service": "web", "tag": "v4", "from": 3}}
    return colours.judge(plan, ends, outcome, {"look": 1.0, "roll": 9.0})


def test_a_release_that_has_all_the_traffic_has_succeeded() -> None:
    ends = {host: {"running": 4, "seconds": 3.1, "steps": {"start": 3.0}} for host in HOSTS}
    found = judged({"outcome": "shifted", "steps": [{"share": 100, "seconds": 4.0}]}, ends)
    assert found["hosts"] == found["result"]["hosts"] == {host: {"outcome": "released", "seconds": 3.1, "steps": {"start": 3.0}} for host in HOSTS}
    assert found["outcome"] == "succeeded" and found["phases"] == {"look": 1.0, "roll": 9.0, "100 %": 4.0}
    assert "on release 4 (v4), green: 2 hosts in 10 s, all healthy. blue stays warm" in found["result"]["message"]


@pytest.mark.parametrize(
    ("outcome", "end", "code", "text"),
    [
        (
            {"outcome": "breached", "reason": "too many errors", "back_seconds": 0.2, "evidence": ["green 9"]},
            "kept",
            21,
            "went back to blue 0.20 s after",
        ),
        ({"outcome": "failed", "reason": "i-2 is unhealthy"}, "kept", 20, "failed: i-2 is unhealthy"),
        ({"outcome": "stuck", "reason": "no answer"}, "kept", 30, "The weights of the load balancer are not known"),
        ({}, "untouched", 30, "The weights of the load balancer are not known"),
    ],
)
def test_a_release_that_failed_says_so_by_its_code(outcome: dict[str, Any], end: str | None, code: int, text: str) -> None:
    found = judged(outcome, {host: {"running": 3, "logs": ["boom"]} for host in HOSTS})
    assert {row["outcome"] for row in found["hosts"].values()} == {end}
    assert (found["outcome"], found["result"]["exit_code"], found["revert"]) == ("failed", code, [])
    assert text in found["result"]["message"] and "| boom" in found["result"]["message"]
    assert bool(found["result"]["needs_hand"]) == (code == 30)


def test_a_host_on_which_it_did_not_start_is_named_with_its_words() -> None:
    ends = {"i-1": {}, "i-2": {"failure": "it exited with code 3. Last lines of its log:\n  | no"}}
    found = judged({"outcome": "failed", "reason": ""}, ends)
    assert found["result"]["exit_code"] == 20 and "failed on i-2: it exited with code 3" in found["result"]["message"]
    assert "i-1 serves as before, on blue." in found["result"]["message"]


def test_a_host_that_left_meanwhile_does_not_fail_a_release() -> None:
    ends: dict[str, dict[str, Any]] = {"i-1": {"running": 4}, "i-2": {"failure": "it has ceased to answer: no route", "stranded": "no route", "running": 3}}
    found = judged({"outcome": "shifted", "steps": [{"share": 100, "seconds": 4.0}], "departed": ["i-2"]}, ends)
    assert (found["outcome"], {host: row["outcome"] for host, row in found["hosts"].items()}) == ("succeeded", {"i-1": "released", "i-2": "departed"})
    message = found["result"]["message"]
    assert "1 host in 10 s" in message and "i-2 is being ended by its Auto Scaling group and was left out." in message and "needs a hand" not in message
    failed = judged({"outcome": "breached", "reason": "too many errors", "evidence": [], "departed": ["i-2"]}, ends)
    assert (failed["result"]["exit_code"], failed["result"]["needs_hand"], failed["hosts"]["i-2"]["outcome"]) == (21, [], "departed")


def test_what_the_hosts_said_is_in_the_verdict() -> None:
    """By the variables that the plays leave behind."""
    found = decided(4, 0, pointer=BLUE)
    plan = {"number": 4, "rolling": HOSTS, "starting": HOSTS, "traffic": found, "instance": "web-green", "result": {"service": "web", "tag": "v4", "from": 3}}
    hostvars: dict[str, dict[str, Any]] = {
        "localhost": {"__release_shifted": {"shift": {"outcome": "failed", "reason": "", "steps": []}, "at": 3.0}},
        "i-1": {"__release_activated": {"changed": True}, "__release_retired": {"changed": False, "failed_when_result": False, "msg": "systemd is away"}},
        "i-2": {"__release_activated": {"unreachable": True, "msg": "no route"}, "__release_logs": {"stdout_lines": ["boom"]}},
    }
    assert release.release_failures(HOSTS, hostvars) == {"i-2": "it has ceased to answer: no route"}
    message = release.release_verdict(plan, hostvars)["result"]["message"]
    for text in ("failed on i-2: it has ceased to answer: no route", "| boom", "i-1 serves as before, on blue. systemd is away"):
        assert text in message, message


def test_which_hosts_the_plays_are_for() -> None:
    """No play is for a host that it would do nothing with."""
    stages = ("start", "start_hooked", "settle", "hooked", "failed")

    def hosts(hooked: list[str], shifted: dict[str, Any] | None) -> list[list[str]]:
        plan = {"starting": ["i-2"], "colouring": HOSTS, "hooked": hooked}
        control = {"__release_made": {"plan": plan}} | ({} if shifted is None else {"__release_shifted": shifted})
        return [release.release_colouring(control, stage) for stage in stages]

    assert hosts(["before_lock"], {"shift": {"outcome": "shifted"}}) == [["i-2"], [], HOSTS, [], []]
    assert hosts(["after_host", "before_host"], {"shift": {"outcome": "shifted"}}) == [[], ["i-2"], HOSTS, HOSTS, []]
    for shifted in (None, {}, {"shift": {"outcome": "breached"}}):
        assert hosts(["after_host", "before_host"], shifted) == [[], ["i-2"], [], [], HOSTS]
    assert not any(release.release_colouring({}, stage) for stage in stages)


def test_which_colour_is_stopped_and_when() -> None:
    kept, going = decided(4, 0, pointer=BLUE), decided(4, 0, pointer=BLUE, retire_after_seconds=600)
    assert colours.doomed(kept, {"outcome": "shifted"}, 30) == {}
    assert colours.doomed(going, {"outcome": "shifted"}, 30) == {"instance": "web", "after_seconds": 600}
    assert colours.doomed(kept, {"outcome": "breached"}, 30) == {"instance": "web-green", "after_seconds": 30}
    assert colours.doomed(kept, {"outcome": "failed"}, 30) == {"instance": "web-green", "after_seconds": 0}
    assert colours.doomed(kept, {"outcome": "stuck"}, 30) == {}
    restart = decided(4, 100, verb="restart", pointer=GREEN)
    assert colours.doomed(restart, {"outcome": "shifted"}, 30) == {"instance": "web-green", "after_seconds": 30}
    brought_along = decided(4, 100, pointer=GREEN)
    assert colours.doomed(brought_along, {"outcome": "failed"}, 30) == colours.doomed(brought_along, {"outcome": "shifted"}, 30) == {}
    assert colours.end(brought_along, {"outcome": "failed"}, "no") == "left"
