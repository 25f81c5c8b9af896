"""A playbook within a playbook gets what the outer one was given."""

from __future__ import annotations

from ansible_collections.flotilla.ec2.plugins.action.run_playbook import command


def test_inventory_variables_and_modes_are_handed_on() -> None:
    options = {"inventory": ("inventories/local",), "extra_vars": ("@stack.yml", "a=b"), "check": True, "diff": False, "verbosity": 2, "vault_ids": ()}
    words = command("deploy.yml", {"release_service": "api"}, options)
    assert words[1:] == [
        "-m", "ansible", "playbook", "deploy.yml", "--inventory", "inventories/local", "--check", "-vv",
        "--extra-vars", "@stack.yml", "--extra-vars", "a=b", "--extra-vars", '{"release_service": "api"}',
    ]  # fmt: skip
