# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""A playbook in a process of its own; documented in plugins/modules/run_playbook.py."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Any

from ansible import context
from ansible.utils.display import Display
from ansible_collections.flotilla.ec2.plugins.modules.run_playbook import DOCUMENTATION
from ansible_collections.flotilla.ec2.plugins.plugin_utils.release import ReleaseAction

display = Display()


def command(playbook: str, variables: dict[str, Any], options: Any) -> list[str]:
    """The command line: that of the running ansible-playbook with another playbook, and variables that go before its own."""
    words = [sys.executable, "-m", "ansible", "playbook", playbook]
    for source in options.get("inventory") or []:
        words += ["--inventory", str(source)]
    for flag in ("check", "diff"):
        words += [f"--{flag}"] if options.get(flag) else []
    words += [f"-{'v' * options['verbosity']}"] if options.get("verbosity") else []
    for name, option in (("vault_ids", "--vault-id"), ("vault_password_files", "--vault-password-file")):
        for one in options.get(name) or []:
            words += [option, str(one)]
    for one in options.get("extra_vars") or []:
        words += ["--extra-vars", str(one)]
    return [*words, "--extra-vars", json.dumps(variables)]


class ActionModule(ReleaseAction):
    """Run it, show what it prints."""

    DOCUMENTATION = DOCUMENTATION

    def act(self, arguments: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        words = command(arguments["playbook"], arguments["variables"], context.CLIARGS)
        changed = False
        with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
            for line in process.stdout or ():
                changed = changed or bool(re.search(r"\bchanged=[1-9]", line))
                display.display("    " + line.rstrip("\n"))
        outcome: dict[str, Any] = {"changed": changed, "rc": process.returncode}
        if process.returncode:
            outcome.update(failed=True, msg=f"{arguments['playbook']} ended with code {process.returncode}; the reason is above.")
        return outcome
