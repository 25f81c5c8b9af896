# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Wait until an instance is ready; documented in plugins/modules/host_ready.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleConnectionFailure
from ansible_collections.flotilla.ec2.plugins.module_utils.release import api, processes
from ansible_collections.flotilla.ec2.plugins.module_utils.release.api import ReleaseError
from ansible_collections.flotilla.ec2.plugins.module_utils.release.targets import Clock
from ansible_collections.flotilla.ec2.plugins.modules.host_ready import DOCUMENTATION
from ansible_collections.flotilla.ec2.plugins.plugin_utils.release import ReleaseAction

POLL_SECONDS = 1.0
SLICE_SECONDS = 20  # of one look at a boot that is not over: in between it is asked whether the host leaves
ASK_SECONDS = 5.0  # between two questions to the APIs
LEAVE_SECONDS = 15.0  # in which a host whose boot has failed is found to be on its way out
STILL_BOOTING = 124  # of timeout(1)
LOG = "/var/log/cloud-init-output.log"
BOOTED = (0, 2)  # 2 is "done, with warnings"


def ready(look: Callable[[], tuple[int, str]], gone: Callable[[], str], timeout: float, clock: Clock) -> str:
    """Look (exit code, words; AnsibleConnectionFailure when the host does not answer) until the boot is over; why the host is left out, if it is.

    ReleaseError when the time is over, or the boot has failed and the host stays.
    """
    if reason := gone():
        return reason
    deadline, asked, failed = clock.now() + timeout, clock.now(), ""
    while True:
        try:
            code, words = look()
            if code in BOOTED:
                return ""
            silent = ""
        except AnsibleConnectionFailure as error:
            code, words, silent = STILL_BOOTING, "", str(error)
        if code != STILL_BOOTING and not failed:
            failed, deadline, asked = words, min(deadline, clock.now() + LEAVE_SECONDS), float("-inf")
        if clock.now() - asked >= ASK_SECONDS or clock.now() >= deadline:
            if reason := gone():
                return reason
            asked = clock.now()
        if clock.now() >= deadline:
            break
        clock.sleep(POLL_SECONDS)
    if failed:
        raise ReleaseError(f"its first boot has failed: {failed}. Fix: see {LOG} on it, or end the instance; its group launches another.")
    if silent:
        raise ReleaseError(
            f"it does not answer ssh within {timeout:.0f} s: {silent}. Fix: see that the instance runs, that its security group lets port 22 in from here "
            "(flotilla_environment.ssh.sources), and that flotilla_environment.ssh has its user and key."
        )
    raise ReleaseError(f"its first boot is not over after {timeout:.0f} s: {words}. Fix: see {LOG} on it, or raise configure_reach_seconds.")


class ActionModule(ReleaseAction):
    """Look by the host's own connection."""

    DOCUMENTATION = DOCUMENTATION
    _requires_connection = True

    def act(self, arguments: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        region, host, clock = arguments["region"], self._task.delegate_to or variables["inventory_hostname"], Clock()
        autoscaling, ec2 = (api.client(service, region) for service in ("autoscaling", "ec2"))
        began = clock.now()

        def look() -> tuple[int, str]:
            seconds = max(1, min(SLICE_SECONDS, int(began + arguments["timeout"] - clock.now())))
            try:
                answer = self._low_level_execute_command(f"timeout {seconds} cloud-init status --wait --long")
            except AnsibleConnectionFailure:
                self._connection.reset()
                raise
            return int(answer["rc"]), " ".join((answer["stdout"] + answer["stderr"]).split())

        def gone() -> str:
            return processes.on_its_way_out(api.instance_states(ec2, [host]).get(host, ""), api.scaling_state(autoscaling, host))

        try:
            reason = ready(look, gone, arguments["timeout"], clock)
        except ReleaseError as error:
            raise ReleaseError(f"{host}: {error}") from error
        outcome = {"changed": False, "gone": reason, "seconds": round(clock.now() - began, 1)}
        return {**outcome, "warnings": [f"{host} is left out: {reason}"]} if reason else outcome
