# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Instances that have come and gone since a release began; documented in plugins/modules/release_newcomers.py."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from ansible_collections.flotilla.ec2.plugins.module_utils.release import api, processes
from ansible_collections.flotilla.ec2.plugins.module_utils.release.targets import Clock
from ansible_collections.flotilla.ec2.plugins.modules.release_newcomers import DOCUMENTATION
from ansible_collections.flotilla.ec2.plugins.plugin_utils.release import ReleaseAction

POLL_SECONDS = 1.0


def running(autoscaling: Any, ec2: Callable[[], Any], groups: list[str], known: list[str], wait_seconds: float, clock: Clock) -> list[str]:
    """The instances of the groups that are not known and run, those that are still pending waited for. EC2 is asked when there are any."""
    deadline = clock.now() + wait_seconds
    while True:
        found = processes.newcomers(api.auto_scaling_groups(autoscaling, groups), known)
        states = api.instance_states(ec2(), found) if found else {}
        pending = [host for host in found if states.get(host) == "pending"]
        if not pending or clock.now() >= deadline:
            return [host for host in found if states.get(host) == "running"]
        clock.sleep(POLL_SECONDS)


class ActionModule(ReleaseAction):
    """Ask the groups."""

    DOCUMENTATION = DOCUMENTATION

    def act(self, arguments: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        autoscaling = api.client("autoscaling", arguments["region"])
        # Made when it is needed: to read the description of EC2's API takes longer than all the rest.
        ec2 = functools.cache(lambda: api.client("ec2", arguments["region"]))
        hosts = running(autoscaling, ec2, arguments["groups"], arguments["known"], arguments["wait_seconds"], Clock())
        if not arguments["departed"]:
            return {"changed": False, "hosts": hosts}
        groups = api.auto_scaling_groups(autoscaling, arguments["groups"])
        gone = processes.departed(groups, api.instance_states(ec2(), arguments["known"]), arguments["known"])
        return {"changed": False, "hosts": hosts, "gone": gone}
