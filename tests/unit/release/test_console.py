"""The way to a console."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.flotilla.ec2.plugins.module_utils.release import console
from ansible_collections.flotilla.ec2.plugins.module_utils.release.api import ReleaseError

MODEL: dict[str, Any] = {
    "stack": {"name": "shop"},
    "services": [{"name": "api", "fleet": "api", "console": {"irb": ["irb"], "sql": ["mysql"]}}, {"name": "client", "fleet": "web", "console": {}}],
}
GROUPS = {"stack_shop": ["i-1", "i-2"], "fleet_api": ["i-2"], "fleet_web": ["i-1"]}


def test_a_console_opens_on_a_host_of_its_service() -> None:
    where, remote = console.command(MODEL, GROUPS, "irb", service="api")
    assert (where, remote) == ("i-2", ["sudo", "/usr/local/bin/flotilla-console", "api", "irb"])
    line = console.ssh("10.0.0.2", "ann", "", "-o HostKeyAlias=i-2 -o 'ProxyJump=a b'", remote)
    assert line == ["ssh", "-o", "HostKeyAlias=i-2", "-o", "ProxyJump=a b", "-o", "LogLevel=ERROR", "ann@10.0.0.2", *remote]


@pytest.mark.parametrize(
    ("program", "more", "words"),
    [
        ("bash", {"service": "api"}, "no console program 'bash'.*allows: irb, sql"),
        ("", {"service": "api"}, "console_program is missing.*irb, sql"),
        ("irb", {}, r"2 services \(api, client\)"),
        ("irb", {"service": "client"}, "client allows: none"),
        ("irb", {"service": "api", "host": "i-1"}, "i-1 is no host of api; its hosts are: i-2"),
    ],
)
def test_it_is_refused_with_what_is_allowed(program: str, more: dict[str, str], words: str) -> None:
    with pytest.raises(ReleaseError, match=words):
        console.command(MODEL, GROUPS, program, **more)
