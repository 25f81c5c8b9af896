# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Build the model on the controller; documented in plugins/modules/stack.py."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.flotilla.ec2.plugins.module_utils.stack.model import load
from ansible_collections.flotilla.ec2.plugins.module_utils.stack.validate import StackError
from ansible_collections.flotilla.ec2.plugins.plugin_utils import warm  # noqa: F401 - most playbooks begin with this action


def plain(value: Any) -> Any:
    """A copy without ansible's own types, tags and origins."""
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    return str(value)


class ActionModule(ActionBase):
    """No connection is made: the model is the same for every host."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        variables = task_vars or {}
        unknown = set(self._task.args) - {"stack", "environment", "fleets"}
        if unknown:
            return {**result, "failed": True, "msg": f"flotilla.ec2.stack: unknown options {', '.join(sorted(unknown))}; valid: stack, environment, fleets"}
        given = {
            name: plain(self._templar.template(self._task.args.get(name, variables.get(f"flotilla_{name}")))) for name in ("stack", "environment", "fleets")
        }
        try:
            model = load(given["stack"], given["environment"], given["fleets"])
        except StackError as error:
            count = len(error.problems)
            lines = "\n".join(f"  - {problem}" for problem in error.problems)
            message = f"{count} problem{'s' if count != 1 else ''} in the stack file or the environment; nothing has been changed:\n{lines}"
            return {**result, "failed": True, "msg": message, "problems": error.problems}
        return {**result, "changed": False, "ansible_facts": {"flotilla": model}}
