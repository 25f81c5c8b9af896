# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Roll a group to its launch template's newest version; documented in plugins/modules/instance_refresh.py."""

from __future__ import annotations

import time
from typing import Any

from ansible.utils.display import Display
from ansible_collections.flotilla.ec2.plugins.module_utils.aws import instance_refresh
from ansible_collections.flotilla.ec2.plugins.module_utils.aws.instance_refresh import RefreshError, Rollout
from ansible_collections.flotilla.ec2.plugins.module_utils.release import api, traffic
from ansible_collections.flotilla.ec2.plugins.module_utils.release.api import ReleaseError
from ansible_collections.flotilla.ec2.plugins.modules.instance_refresh import DOCUMENTATION
from ansible_collections.flotilla.ec2.plugins.plugin_utils.release import ReleaseAction

display = Display()
WANTED = ("batch", "warmup_seconds", "checkpoints", "checkpoint_seconds", "bake_seconds", "alarms")


class ActionModule(ReleaseAction):
    """Show the plan; take up a refresh that goes on, start one where there is need, wait."""

    DOCUMENTATION = DOCUMENTATION

    def act(self, arguments: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        try:
            return self.roll(arguments)
        except RefreshError as error:
            raise ReleaseError(str(error)) from error

    def roll(self, arguments: dict[str, Any]) -> dict[str, Any]:
        clients = {name: api.client(name, arguments["region"]) for name in ("autoscaling", "ec2", "elbv2", "logs")}
        wanted = {name: arguments[name] for name in WANTED}

        def say(text: str) -> None:
            display.display(f"    {time.strftime('%H:%M:%S')}  {text}")

        rollout = Rollout(
            **clients,
            group=arguments["group"],
            target_groups=arguments["target_groups"],
            log_group=arguments["log_group"],
            say=say,
            poll_seconds=arguments["poll_seconds"],
        )

        def look() -> dict[str, Any]:
            return instance_refresh.look(clients["autoscaling"], clients["ec2"], arguments["group"])

        found, began = look(), rollout.clock.now()
        problems = instance_refresh.refusals(found, wanted)
        if not problems and wanted["alarms"] and not found["refresh"]:
            problems = traffic.alarm_problems(wanted["alarms"], traffic.alarm_states(api.client("cloudwatch", arguments["region"]), wanted["alarms"]))
        text = instance_refresh.page(arguments["title"] or f"Refresh of {arguments['group']}", instance_refresh.shown(found, wanted), self.check)
        if problems:
            raise ReleaseError("\n".join([text, "", *problems, "Nothing was changed."]))
        old = instance_refresh.outdated(found)
        free = found["version"] != instance_refresh.LATEST
        outcome: dict[str, Any] = {"changed": bool(old or found["refresh"] or free), "text": text, "replaced": old, "version": found["newest"]}
        if self.check or not outcome["changed"]:
            return outcome
        display.display(f"\n{text}\n")
        while found["refresh"] or instance_refresh.outdated(found):
            if found["refresh"]:
                say("taking up the refresh that goes on")
                ended = rollout.follow(found["refresh"]["InstanceRefreshId"])
            else:
                ended = rollout.follow(rollout.begin(found, wanted))
            found = look()
            failed = instance_refresh.verdict(found, ended, rollout.failures, rollout.evidence)
            if failed:
                raise ReleaseError(failed)
        # AWS has left the version in the group that was rolled to: from now on it follows its template again.
        if found["version"] != instance_refresh.LATEST:
            rollout.pin(found, instance_refresh.LATEST)
        return {**outcome, "seconds": round(rollout.clock.now() - began, 1), "hosts": sorted(instance_refresh.staying(found))}
