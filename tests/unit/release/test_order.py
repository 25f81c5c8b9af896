"""Who is released before whom."""

from __future__ import annotations

from ansible_collections.flotilla.ec2.plugins.module_utils.release import order


def test_a_service_comes_after_those_it_refers_to_and_the_stateful_one_first() -> None:
    stack = {
        "client": {"environment": {"API": "${service.api.url}/x"}},
        "jobs": {},
        "api": {"environment": {"REDIS": "${service.redis.host}:${service.redis.port}"}},
        "redis": {"volumes": [{"name": "data"}]},
    }
    assert order.of_stack(stack) == ["redis", "jobs", "api", "client"]
    model = [
        {"name": "client", "clients": []},
        {"name": "jobs", "clients": []},
        {"name": "api", "clients": ["client"]},
        {"name": "redis", "clients": ["api"], "strategy": "recreate"},
    ]
    assert order.of_model(model) == ["redis", "jobs", "api", "client"]


def test_a_circle_is_cut_and_nobody_is_left_out() -> None:
    assert order.in_order({"a": ["b"], "b": ["a"], "c": ["a", "c"]}) == ["a", "b", "c"]
