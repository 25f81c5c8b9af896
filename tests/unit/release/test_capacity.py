"""A change of a fleet's size by hand: within the guard rails, or refused with the way out."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.flotilla.ec2.plugins.module_utils.release import capacity
from ansible_collections.flotilla.ec2.plugins.module_utils.release.api import ReleaseError

MORNING = {"name": "morning", "cron": "0 7 * * 1-5", "time_zone": "Etc/UTC", "min": 3, "desired": None}
SCALING = {"cpu_percent": 60, "requests": None, "schedule": [MORNING]}
API: dict[str, Any] = {"name": "api", "group": "sums-local-api", "min": 2, "max": 6, "scaling": SCALING}
CLIENT: dict[str, Any] = {"name": "client", "group": "sums-local-client", "min": 2, "max": 4, "scaling": None}
MODEL = {"stack": {"name": "sums"}, "environment": {"name": "local"}, "fleets": [API, CLIENT]}
GROUP = {"min": 2, "max": 6, "desired": 2, "in_service": 2}


@pytest.mark.parametrize(
    ("count", "group", "texts"),
    [
        (7, GROUP, ("7 is more than the fleet's max (6)", "raise fleets.api.max", "provision.yml")),
        (5, {**GROUP, "max": 4}, ("5 is more than the group sums-local-api may have in AWS (4; the stack says 6)", "run provision.yml")),
        (1, GROUP, ("1 is less than the fleet's min (2)", "lower fleets.api.min")),
        (2, {**GROUP, "min": 3}, ("2 is less than the group sums-local-api must have (3 since morning of its schedule)", "next time")),
        (2, {**GROUP, "min": 4}, ("must have (4 in AWS; the stack says 2)", "run provision.yml")),
    ],
)
def test_what_lies_beyond_the_rails_is_refused_with_the_way_out(count: int, group: dict[str, Any], texts: tuple[str, ...]) -> None:
    message = capacity.refusal(API, group, count)
    for text in (*texts, "Nothing was changed. Fix:"):
        assert text in message


@pytest.mark.parametrize("count", [2, 3, 6])
def test_what_lies_within_them_is_not(count: int) -> None:
    assert capacity.refusal(API, GROUP, count) == ""


def test_the_fleet_and_the_number_are_named_or_asked_for() -> None:
    assert capacity.fleet_of({**MODEL, "fleets": [API]}, "") == API
    nothing = "Nothing was changed."
    for name, text in (("apo", f"did you mean 'api'? {nothing}"), ("", f"give -e fleet=api or client. {nothing}"), ("x", "'x' is no fleet of sums")):
        with pytest.raises(ReleaseError, match=text.replace("?", r"\?")):
            capacity.fleet_of(MODEL, name)
    assert capacity.number("3") == 3
    for given, text in (("", "count: missing"), ("-1", "'-1' is not a number of hosts"), ("three", "give it with -e count=3")):
        with pytest.raises(ReleaseError, match=text):
            capacity.number(given)


def test_before_and_after_are_shown_with_what_may_change_them_again() -> None:
    text = "\n".join(capacity.shown(MODEL, API, GROUP, 3, check=False))
    for part in ("Fleet api of sums in local", "2 → 3", "min 2 and max 6", "2 now", "CPU at 60 %; morning (0 7 * * 1-5 Etc/UTC: 3 at least)", "status.yml"):
        assert part in text
    text = "\n".join(capacity.shown(MODEL, CLIENT, {**GROUP, "desired": 3}, 2, check=True))
    assert "3 → 2" in text and "check mode" in text and "scaled by" not in text and "leaving" in text
    assert "2, as before" in "\n".join(capacity.shown(MODEL, CLIENT, GROUP, 2, check=False))
