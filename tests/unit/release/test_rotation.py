"""A password in steps: whatever has been done is not done again, and nothing is finished too early."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.flotilla.ec2.plugins.filter.release import user_to_rotate
from ansible_collections.flotilla.ec2.plugins.modules.rotated_secret import advanced, step_of

OLD = {"username": "u", "password": "old"}


def test_a_rotation_goes_step_by_step() -> None:
    begun = advanced(OLD, "begun", lambda: "new")
    assert begun == {**OLD, "next": "new"} and step_of(begun) == "begun"
    promoted = advanced(begun, "promoted", lambda: "other")
    assert promoted == {"username": "u", "password": "new", "next": "new"} and step_of(promoted) == "promoted"
    assert advanced(promoted, "finished", lambda: "other") == {"username": "u", "password": "new"}


def test_what_was_done_is_not_done_again() -> None:
    begun = {**OLD, "next": "new"}
    promoted = {**begun, "password": "new"}
    for fields, state in ((begun, "begun"), (promoted, "begun"), (promoted, "promoted"), (OLD, "promoted"), (OLD, "finished")):
        assert advanced(fields, state, lambda: pytest.fail("a second password")) == fields
    with pytest.raises(ValueError, match="must be promoted"):
        advanced(begun, "finished", str)


def test_whose_password_is_rotated() -> None:
    users = [{"service": "api", "name": "shop_api"}, {"service": "jobs", "name": "shop_jobs"}]
    assert user_to_rotate(users, "jobs")["name"] == "shop_jobs"
    assert user_to_rotate(users[:1])["name"] == "shop_api"
    for known, service, words in (
        (users, "", "missing.*api, jobs"),
        (users, "web", "web has no database user.*api, jobs"),
        ([], "", "no service of this stack"),
    ):
        with pytest.raises(AnsibleFilterError, match=words):
            user_to_rotate(known, service)
