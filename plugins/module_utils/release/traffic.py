# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Shifting a service's requests from one colour to the other, share by share, under watch.

What is watched: the new colour's targets (each second), the alarms that the stack names (each second), and CloudWatch's figures of both target
groups. An Application Load Balancer publishes these "in 60-second intervals", and a minute is known some time after its end ("CloudWatch metrics for
your Application Load Balancer"): a share is not left before its first figures are there, if there were requests before.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from ansible_collections.flotilla.ec2.plugins.module_utils.aws import listener
from ansible_collections.flotilla.ec2.plugins.module_utils.release import api, colours
from ansible_collections.flotilla.ec2.plugins.module_utils.release.api import Document, ReleaseError
from ansible_collections.flotilla.ec2.plugins.module_utils.release.lock import LockLost
from ansible_collections.flotilla.ec2.plugins.module_utils.release.targets import NOT_REGISTERED, Clock, sentence

POLL_SECONDS = 1.0
METRICS_SECONDS = 2.0  # between two looks at CloudWatch's figures
PERIOD = 60  # of the load balancer's metrics
FIGURES_SECONDS = 180.0  # how much longer than its bake time a share waits for its first figures
ASK_SECONDS = 5.0  # between two questions whether a host that is not healthy is on its way out
BLIND_SECONDS = 30.0  # how long targets and alarms may not be seen
BEFORE_SECONDS = 300.0  # what the old colour did before counts where it has nothing over the same time
ENOUGH = 20  # requests that a judgement needs
ENOUGH_FOR_LATENCY = 100  # and one by latency, of either colour: what 95 % are faster than is the word of five requests then
FEW = 3  # errors that need no more requests: were all that are missing good, they would still be too many
LATELY_SECONDS = 300.0  # over so long figures are judged by themselves, too: in those of a long shift what begins late would be seen late
NOTICEABLE_SECONDS = 0.05  # a difference in latency below this is none


def dimension(arn: str) -> str:
    """A load balancer or target group as CloudWatch names it, from its ARN or from a rule's."""
    resource = arn.split(":", 5)[5]
    kind, _, rest = resource.partition("/")
    return "/".join(rest.split("/")[:3]) if kind in ("listener-rule", "listener", "loadbalancer") else resource


def queries(rule: str, groups: Mapping[str, str]) -> list[Document]:
    """GetMetricData's queries for requests, 5xx answers and latency of each colour."""
    wanted = (("requests", "RequestCount", "Sum"), ("errors", "HTTPCode_Target_5XX_Count", "Sum"), ("latency", "TargetResponseTime", "p95"))
    return [
        {
            "Id": f"{key}_{colour}",
            "MetricStat": {
                "Metric": {
                    "Namespace": "AWS/ApplicationELB",
                    "MetricName": name,
                    "Dimensions": [{"Name": "LoadBalancer", "Value": dimension(rule)}, {"Name": "TargetGroup", "Value": dimension(arn)}],
                },
                "Period": PERIOD,
                "Stat": statistic,
            },
        }
        for colour, arn in groups.items()
        for key, name, statistic in wanted
    ]


def figures(cloudwatch: Any, rule: str, groups: Mapping[str, str], start: float, end: float) -> dict[str, dict[float, Document]]:
    """Colour → minute (seconds since 1970) → {requests, errors, latency}."""
    found: dict[str, dict[float, Document]] = {colour: {} for colour in groups}
    span = {"StartTime": datetime.fromtimestamp(start, UTC), "EndTime": datetime.fromtimestamp(end, UTC)}
    pages = cloudwatch.get_paginator("get_metric_data").paginate(MetricDataQueries=queries(rule, groups), **span)
    for page in pages:
        for row in page["MetricDataResults"]:
            key, _, colour = row["Id"].partition("_")
            for moment, value in zip(row["Timestamps"], row["Values"], strict=True):
                found[colour].setdefault(moment.timestamp(), {})[key] = value
    return found


def summed(minutes: Mapping[float, Document], since: float) -> Document:
    """{requests, errors, latency} over the minutes from since on; latency is the mean of the minutes' by their requests, None without any."""
    rows = [row for moment, row in minutes.items() if moment >= since and row.get("requests")]
    requests = sum(row["requests"] for row in rows)
    timed = [row for row in rows if row.get("latency") is not None]
    weight = sum(row["requests"] for row in timed)
    latency = sum(row["latency"] * row["requests"] for row in timed) / weight if weight else None
    return {"requests": int(requests), "errors": int(sum(row.get("errors") or 0 for row in rows)), "latency": latency}


def less(minutes: Mapping[float, Document], minute: float, base: Document) -> dict[float, Document]:
    """The minutes without what one of them had before. A latency cannot be taken apart, and is left out there."""
    known = minutes.get(minute)
    if not base or not known:
        return dict(minutes)
    kept = {key: (known.get(key) or 0) - (base.get(key) or 0) for key in ("requests", "errors")}
    return {**minutes, minute: kept}


def rate(row: Document) -> float:
    """5xx answers in percent."""
    return 100.0 * row["errors"] / row["requests"] if row["requests"] else 0.0


def beyond(new: Document, old: Document, limits: Mapping[str, Any]) -> str:
    """Why these figures are beyond the limits, or an empty text. Too few requests say nothing, but for errors enough."""
    missing = max(ENOUGH - new["requests"], 0)
    if missing and new["errors"] < FEW:
        return ""
    more = rate(new) - rate(old)
    if rate({**new, "requests": new["requests"] + missing}) - rate(old) > limits["max_5xx_percent"]:
        return (
            f"{rate(new):.1f} % of its answers are 5xx ({new['errors']} of {new['requests']}), {rate(old):.1f} % of the old colour's: "
            f"{more:.1f} percentage points more, max_5xx_percent is {limits['max_5xx_percent']}"
        )
    if min(new["requests"], old["requests"]) >= ENOUGH_FOR_LATENCY and new["latency"] is not None and old["latency"]:
        allowed = max(old["latency"] * limits["max_latency_percent"] / 100, old["latency"] + NOTICEABLE_SECONDS)
        if new["latency"] > allowed:
            return (
                f"its latency is {1000 * new['latency']:.0f} ms (95 % are faster), the old colour's {1000 * old['latency']:.0f} ms: "
                f"{100 * new['latency'] / old['latency']:.0f} %, max_latency_percent is {limits['max_latency_percent']}"
            )
    return ""


def sick(new: Mapping[str, Document], old: Mapping[str, Document], hosts: Iterable[str]) -> str:
    """Which targets are unhealthy in the new colour and not in the old one, or an empty text. A host that fails in both is not the release's fault."""
    rows = []
    for host in hosts:
        health = new.get(host, NOT_REGISTERED)
        if health["state"] in ("unhealthy", "unused", "draining") and (old.get(host) or {}).get("state") == "healthy":
            rows.append(f"{host} is {sentence(health)}")
    return "; ".join(rows)


def told(title: str, row: Document) -> str:
    """Figures as a line of evidence."""
    latency = "no latency" if row["latency"] is None else f"{1000 * row['latency']:.0f} ms (p95)"
    return f"{title:<6} {row['requests']} requests, {row['errors']} answered with 5xx ({rate(row):.1f} %), {latency}"


def alarm_states(cloudwatch: Any, names: list[str]) -> dict[str, Document]:
    """Alarm → {state, reason} of those that exist."""
    if not names:
        return {}
    pages = cloudwatch.get_paginator("describe_alarms").paginate(AlarmNames=names, AlarmTypes=["MetricAlarm", "CompositeAlarm"])
    rows = [row for page in pages for key in ("MetricAlarms", "CompositeAlarms") for row in page.get(key, [])]
    return {row["AlarmName"]: {"state": row["StateValue"], "reason": row.get("StateReason") or ""} for row in rows}


def alarm_problems(names: list[str], states: Mapping[str, Document]) -> list[str]:
    """Why the named alarms let no release begin."""
    missing = [f"there is no alarm {name} in CloudWatch. Fix: make it, or take it out of release.alarms" for name in names if name not in states]
    return missing + [f"the {ringing(name, row)}. Fix: see to it first" for name, row in states.items() if row["state"] == "ALARM"]


def ringing(name: str, row: Document) -> str:
    return f"alarm {name} rings: {row['reason'] or 'no reason given'}"


class Breach(Exception):
    """What was watched is beyond its limits; the text says what, evidence has more."""

    def __init__(self, reason: str, evidence: list[str]) -> None:
        super().__init__(reason)
        self.evidence = evidence


@dataclass
class Wall(Clock):
    """Time as it passes, and the time of day, by which CloudWatch counts."""

    today: Callable[[], float] = time.time


@dataclass
class Shift:
    """The traffic of one release. `traffic` is what `colours.traffic` found; `say` tells people; `held` raises when the lock is lost; `leaving` tells of
    hosts which of them their Auto Scaling group is ending: these are neither waited for nor put back into service, and are `departed` then."""

    elbv2: Any
    cloudwatch: Any
    traffic: Document
    hosts: list[str]
    say: Callable[[str], None] = lambda _text: None
    held: Callable[[], None] = lambda: None
    clock: Wall = field(default_factory=Wall)
    steps: list[Document] = field(default_factory=list)
    leaving: Callable[[list[str]], Iterable[str]] = lambda _hosts: ()
    departed: list[str] = field(default_factory=list)

    @property
    def group(self) -> str:
        return str(self.traffic["groups"][self.traffic["colour"]])

    def weights(self, share: int) -> dict[str, int]:
        """Target group → weight that gives the new colour this share, blue first as in the rule."""
        colour = self.traffic["colour"]
        return {arn: share if one == colour else 100 - share for one, arn in self.traffic["groups"].items()}

    def set(self, weights: dict[str, int]) -> bool:
        try:
            return listener.shift(self.elbv2, self.traffic["rule"], weights)[0]
        except ValueError as error:
            raise ReleaseError(str(error)) from error

    def back(self) -> bool:
        """All weight to the live colour."""
        return self.set(self.weights(100 if self.traffic["colour"] == self.traffic["live"] else 0))

    def part(self, hosts: Iterable[str]) -> None:
        """Have no more to do with those of these hosts that leave. ReleaseError when none is left then."""
        asked = sorted(set(hosts) & set(self.hosts))
        gone = sorted(set(self.leaving(asked))) if asked else []
        for host in gone:
            self.say(f"{host} is being ended by its Auto Scaling group and is left out")
        self.departed += gone
        self.hosts = [host for host in self.hosts if host not in gone]
        if not self.hosts:
            raise ReleaseError("every host is being ended by its Auto Scaling group. Fix: the same command again, when the group has launched others.")

    def rows(self, hosts: list[str]) -> list[Document]:
        port = int(self.traffic["ports"][self.traffic["colour"]])
        return [{"Id": host, "Port": port} for host in hosts]

    def clear(self, drain_seconds: float) -> bool:
        """Before the colour is started anew on some hosts: no traffic of a former release, and no health of a former one."""
        changed = False
        if self.traffic["occupied"]:
            live = self.traffic["live"]
            seen = api.target_health(self.elbv2, self.traffic["groups"][live])
            if wrong := sorted(host for host in self.hosts if seen.get(host, NOT_REGISTERED)["state"] != "healthy"):
                raise ReleaseError(
                    f"{self.traffic['colour']} has traffic of a release that was given up, and {live}, where it would go back to, is not healthy on "
                    f"{', '.join(wrong)}. Fix: finish that release with its own command, or go back with rollback.yml; then this one."
                )
            changed = self.back()
            self.clock.sleep(drain_seconds)
        if self.traffic["free"]:
            self.elbv2.deregister_targets(TargetGroupArn=self.group, Targets=self.rows(self.traffic["free"]))
        return changed

    def serve(self, deadline_seconds: float, healthy_seconds: float) -> None:
        """Register the colour's targets and wait until all have been healthy for healthy_seconds on end. ReleaseError names those that are not."""
        began = asked = self.clock.now()
        seen = api.target_health(self.elbv2, self.group)
        absent = [host for host in self.hosts if seen.get(host, NOT_REGISTERED)["state"] in ("unused", "draining")]
        self.part(absent)
        missing = [host for host in absent if host in self.hosts]
        if missing:
            self.elbv2.register_targets(TargetGroupArn=self.group, Targets=self.rows(missing))
        since: float | None = began - healthy_seconds if not missing else None
        while True:
            seen = api.target_health(self.elbv2, self.group)
            wrong = {host: seen.get(host, NOT_REGISTERED) for host in self.hosts if seen.get(host, NOT_REGISTERED)["state"] != "healthy"}
            moment = self.clock.now()
            if not wrong:
                since = moment if since is None else since
                if moment - since >= healthy_seconds:
                    return
            else:
                since = None
                if moment - asked >= ASK_SECONDS:
                    asked = moment
                    self.part(wrong)
                    continue
                if moment - began >= deadline_seconds:
                    rows = "; ".join(f"{host} is {sentence(health)}" for host, health in sorted(wrong.items()))
                    raise ReleaseError(f"not all targets of {self.traffic['colour']} became healthy within {deadline_seconds:.0f} s: {rows}")
            # Not half a second beyond what was asked for.
            self.clock.sleep(0.5 if since is None else min(0.5, max(healthy_seconds - (moment - since), 0.01)))

    def run(self) -> Document:
        """Share by share to the end, or all back. {outcome: shifted, breached or stuck, reason, evidence, steps, back_seconds}."""
        watch = Watch(self)
        try:
            # What cannot be watched gets no traffic.
            if watch.bake:
                watch.begin()
            for share in self.traffic["shares"]:
                self.held()
                self.bake(share, watch)
        except Breach as breach:
            return self.breached(str(breach), breach.evidence)
        except LockLost as lost:
            return {"outcome": "stuck", "reason": str(lost), "evidence": [], "steps": self.steps}
        except Exception as error:
            if not isinstance(error, ReleaseError | api.botocore.exceptions.BotoCoreError | api.botocore.exceptions.ClientError):
                raise
            # No share stays with a colour that nobody watches any more.
            return self.breached(str(error), watch.evidence())
        # Who has begun to leave meanwhile need not be told which colour serves.
        with contextlib.suppress(ReleaseError, api.botocore.exceptions.BotoCoreError, api.botocore.exceptions.ClientError):
            seen = api.target_health(self.elbv2, self.group)
            self.part(host for host in self.hosts if seen.get(host, NOT_REGISTERED)["state"] in ("unused", "draining"))
        return {"outcome": "shifted", "reason": "", "evidence": [], "steps": self.steps}

    def bake(self, share: int, watch: Watch) -> None:
        """One share, for its time. It is among the steps however it ends, C(at) by the time of day."""
        began, at = self.clock.now(), self.clock.today()
        self.set(self.weights(share))
        self.say(f"{self.traffic['colour']} gets {share} %" + (f", watched for {self.traffic['bake_seconds']} s" if watch.bake else ""))
        try:
            if self.traffic["watched"]:
                watch.bake_for(self.traffic["bake_seconds"])
        finally:
            self.steps.append({"share": share, "at": round(at, 1), "seconds": round(self.clock.now() - began, 1), **watch.summary()})

    def ours(self) -> None:
        """LockLost when somebody else has the lock; that it cannot be asked for says nothing."""
        try:
            self.held()
        except (api.botocore.exceptions.BotoCoreError, api.botocore.exceptions.ClientError):
            return

    def breached(self, reason: str, evidence: list[str]) -> Document:
        """Put all weight back at once; tried again for half a minute where the API refuses."""
        seen = self.clock.now()
        while True:
            try:
                self.back()
                break
            except (api.botocore.exceptions.BotoCoreError, api.botocore.exceptions.ClientError) as error:
                if self.clock.now() - seen > BLIND_SECONDS:
                    return {
                        "outcome": "stuck",
                        "reason": f"{reason}; and the traffic could not be put back: {error}",
                        "evidence": evidence,
                        "steps": self.steps,
                    }
                self.clock.sleep(0.5)
        seconds = round(self.clock.now() - seen, 2)
        self.say(f"{reason}. All traffic is back with {self.traffic['live']} ({seconds:.2f} s)")
        return {"outcome": "breached", "reason": reason, "evidence": evidence, "steps": self.steps, "back_seconds": seconds}


@dataclass
class Watch:
    """What is looked at while a share bakes."""

    shift: Shift
    minutes: dict[str, dict[float, Document]] = field(default_factory=dict)
    began: float = 0.0  # time of day from which the new colour's figures count
    base: Document = field(default_factory=dict)  # what it had done in that minute before
    looked: float | None = None
    in_vain: bool = False  # a share has waited for its first figures as long as it may
    seen: float | None = None

    @property
    def bake(self) -> bool:
        return bool(self.shift.traffic["watched"] and self.shift.traffic["bake_seconds"])

    def begin(self) -> None:
        """From now on. What the colour has done for a former release in this very minute does not count."""
        today = self.shift.clock.today()
        self.began = today - today % PERIOD
        self.measure()
        served = self.minutes[self.shift.traffic["colour"]]
        self.base = served.get(self.began) or {}
        # Where a minute is known after its end only, nobody knows yet what this one had.
        if not self.base and summed(served, self.began - PERIOD)["requests"]:
            self.began += PERIOD

    def measure(self) -> None:
        """Ask for the figures; what cannot be had now is had later."""
        shift, today = self.shift, self.shift.clock.today()
        start = (self.began or today) - BEFORE_SECONDS
        try:
            self.minutes = figures(shift.cloudwatch, shift.traffic["rule"], shift.traffic["groups"], start - start % PERIOD, today + PERIOD)
        except (api.botocore.exceptions.BotoCoreError, api.botocore.exceptions.ClientError) as error:
            if not self.minutes:
                raise ReleaseError(f"CloudWatch cannot be asked for the load balancer's figures: {error}") from error
        self.looked = shift.clock.now()

    def sums(self, since: float | None = None) -> tuple[Document, Document]:
        """The figures of the new and of the old colour, over the same time where the old one has some: from the beginning of the shift on, or of a minute."""
        colour, since = self.shift.traffic["colour"], self.began if since is None else since
        new, old = (
            summed(less(self.minutes.get(colour, {}), self.began, self.base), since),
            summed(self.minutes.get(colours.other(colour), {}), since),
        )
        if old["requests"] < ENOUGH:
            old = summed(self.minutes.get(colours.other(colour), {}), 0)
        return new, old

    def wrong(self) -> tuple[str, list[str]]:
        """Why the figures are beyond the limits, those of the whole shift or those of the last minutes, and the evidence; an empty text when they are not."""
        lately = self.shift.clock.today() - LATELY_SECONDS
        for since in (self.began, max(self.began, lately - lately % PERIOD)):
            new, old = self.sums(since)
            if since != self.began and new["errors"] < FEW:
                new = {**new, "errors": 0}  # an error or two in some minutes of a long shift are too many in the whole of it, or in none
            if reason := beyond(new, old, self.shift.traffic["limits"]):
                return reason, self.evidence(since)
        return "", []

    def summary(self) -> Document:
        if not self.minutes:
            return {}
        new, old = self.sums()
        return {"new": new, "old": old}

    def evidence(self, since: float | None = None) -> list[str]:
        if not self.minutes:
            return []
        new, old = self.sums(since)
        colour = self.shift.traffic["colour"]
        return [told(colour, new), told(colours.other(colour), old)]

    def bake_for(self, seconds: float) -> None:
        """Watch for so long, and for the first figures. Breach when a limit is passed."""
        clock = self.shift.clock
        if not seconds:
            self.look()
            return
        started = clock.now()
        while True:
            self.look()
            if self.looked is None or clock.now() - self.looked >= METRICS_SECONDS or self.looked < started + seconds <= clock.now():
                self.shift.ours()
                self.measure()
            reason, evidence = self.wrong()
            if reason:
                raise Breach(f"{self.shift.traffic['colour']} is worse than {colours.other(self.shift.traffic['colour'])}: {reason}", evidence)
            new, old = self.sums()
            passed = clock.now() - started
            silent = old["requests"] > 0 and new["requests"] == 0 and not self.in_vain
            if passed >= seconds and not (silent and passed < seconds + FIGURES_SECONDS):
                self.in_vain = self.in_vain or silent
                return
            clock.sleep(min(POLL_SECONDS, max(0.1, seconds - passed)) if passed < seconds else POLL_SECONDS)

    def look(self) -> None:
        """Targets and alarms. Breach when they are wrong, or could not be seen for too long."""
        shift, clock = self.shift, self.shift.clock
        colour = shift.traffic["colour"]
        self.seen = clock.now() if self.seen is None else self.seen
        try:
            new, old = (api.target_health(shift.elbv2, shift.traffic["groups"][one]) for one in (colour, colours.other(colour)))
            states = alarm_states(shift.cloudwatch, list(shift.traffic["limits"]["alarms"] or []))
        except (api.botocore.exceptions.BotoCoreError, api.botocore.exceptions.ClientError) as error:
            if clock.now() - self.seen > BLIND_SECONDS:
                raise Breach(f"{colour} could not be watched for {BLIND_SECONDS:.0f} s: {error}", self.evidence()) from error
            return
        self.seen = clock.now()
        # A group takes its hosts out of one colour's targets and then out of the other's.
        if sick(new, old, shift.hosts):
            shift.part(host for host in shift.hosts if new.get(host, NOT_REGISTERED)["state"] in ("unused", "draining"))
        if reason := sick(new, old, shift.hosts):
            raise Breach(f"targets of {colour} are not healthy: {reason}", self.evidence())
        for name, row in states.items():
            if row["state"] == "ALARM":
                raise Breach(f"the {ringing(name, row)}", self.evidence())
