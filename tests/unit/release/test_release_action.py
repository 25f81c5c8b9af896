"""What all release actions do around their work."""

from __future__ import annotations

import os
from typing import Any

import pytest
from ansible.plugins.action import ActionBase
from ansible_collections.flotilla.ec2.plugins.plugin_utils.release import ReleaseAction


class Action(ReleaseAction):
    DOCUMENTATION = "options: {}"

    def act(self, arguments: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        return {"changed": True}


@pytest.mark.parametrize(("parents", "ends"), [((7, 7), False), ((7, 1), True)])
def test_a_worker_whose_playbook_was_killed_ends(monkeypatch: pytest.MonkeyPatch, parents: tuple[int, int], ends: bool) -> None:
    """Else it waits for ever for somebody to take its outcome."""
    left: list[int] = []
    seen = iter(parents)
    monkeypatch.setattr(ActionBase, "run", lambda *_given: {})
    monkeypatch.setattr(Action, "validate_argument_spec", lambda *_given, **_more: (None, {}))
    monkeypatch.setattr(os, "getppid", lambda: next(seen))
    monkeypatch.setattr(os, "_exit", left.append)
    assert object.__new__(Action).run()["changed"] is True
    assert bool(left) is ends
