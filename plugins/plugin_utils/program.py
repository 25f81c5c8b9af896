# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Run a module of this collection on a host as one small program: its own source and what it imports of C(module_utils/service), given to the host's
Python over the connection. Ansible's own way packs a module with ansible's module library and unpacks it there, which costs more than what these
modules do: a third of a second of a processor for each host and task. A module that is run so may use of C(AnsibleModule) what LIBRARY has.
"""

from __future__ import annotations

import json
import os
import shlex
import time
from pathlib import Path
from typing import Any

from ansible import constants
from ansible.plugins.action import ActionBase
from ansible_collections.flotilla.ec2.plugins.plugin_utils.release import spec_of

PLUGINS = Path(__file__).resolve().parents[1]
PACKAGE = "ansible_collections.flotilla.ec2.plugins"
UTILS = ("host", "layout", "state", "look")  # each after those that it imports
DISCOVERED = ("", "auto", "auto_legacy", "auto_silent", "auto_legacy_silent")  # to look for a Python takes longer than the program
ANSWER = "flotilla-answer:"
LIBRARY = f'''
import json, sys

class AnsibleModule:
    given = {{}}

    def __init__(self, *_spec, **_options):
        self.params, self.check_mode = self.given["params"], self.given["check"]

    def exit_json(self, **result):
        print("{ANSWER}" + json.dumps(result), flush=True)
        raise SystemExit(0)

    def fail_json(self, msg, **result):
        self.exit_json(**result, msg=msg, failed=True)
'''
PROGRAM = """
import json, sys, types
given = json.loads({given})

def load(name, source):
    parts = name.split(".")
    for count in range(1, len(parts) + 1):
        path = ".".join(parts[:count])
        if path not in sys.modules:
            sys.modules[path] = types.ModuleType(path)
            sys.modules[path].__path__ = []
            if count > 1:
                setattr(sys.modules[".".join(parts[: count - 1])], parts[count - 1], sys.modules[path])
    exec(compile(source, name, "exec"), sys.modules[name].__dict__)

for name, source in given["sources"]:
    load(name, source)
sys.modules["ansible.module_utils.basic"].AnsibleModule.given = given
load("flotilla_module", given["module"])
sys.modules["flotilla_module"].main()
"""


def program(module: str, params: dict[str, Any], check: bool, utils: tuple[str, ...] = UTILS) -> bytes:
    """The program that does on a host what a module does with these arguments. ASCII, whatever the host's locale."""
    sources = [("ansible.module_utils.basic", LIBRARY)]
    sources += [(f"{PACKAGE}.module_utils.service.{name}", (PLUGINS / f"module_utils/service/{name}.py").read_text(encoding="utf-8")) for name in utils]
    given = {"params": params, "check": check, "sources": sources, "module": (PLUGINS / f"modules/{module}.py").read_text(encoding="utf-8")}
    return PROGRAM.format(given=ascii(json.dumps(given))).encode("ascii")


def command(python: str | None) -> str:
    """How a host runs a program: with the Python that its user has set (ansible_python_interpreter, interpreter_python), else Debian's own."""
    if (python or "") not in DISCOVERED:
        return f"{shlex.quote(str(python))} -I -"
    return "python=/usr/bin/python3; [ -x $python ] || python=python3; $python -I -"


def answer(outcome: dict[str, Any]) -> dict[str, Any]:
    """The result of a program that was run: {rc, stdout, stderr} of its connection. One that gave none has failed, with its last words."""
    for line in reversed(str(outcome.get("stdout") or "").splitlines()):
        if line.startswith(ANSWER):
            return {"changed": False, **json.loads(line.removeprefix(ANSWER))}
    words = [line for text in (outcome.get("stderr"), outcome.get("stdout")) for line in str(text or "").strip().splitlines()[-5:]]
    return {"failed": True, "changed": False, "msg": f"the host gave no answer (code {outcome.get('rc')}): {' | '.join(words) or 'it said nothing'}"}


class ProgramAction(ActionBase):
    """An action that runs the module of the same name as one program. DOCUMENTATION is the module's."""

    TRANSFERS_FILES = False
    DOCUMENTATION = ""
    MODULE = ""
    UTILS = UTILS
    REQUIRED_IF: tuple[tuple[str, str, list[str]], ...] = ()

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        parent = os.getppid()
        outcome = super().run(tmp, task_vars)
        _validation, params = self.validate_argument_spec(argument_spec=spec_of(self.DOCUMENTATION), required_if=list(self.REQUIRED_IF))
        # As ansible does with a module: of a task that is delegated, what is set for that host counts.
        variables = (task_vars or {}).get("ansible_delegated_vars", {}).get(self._task.delegate_to) or task_vars or {}
        python = self._templar.template(constants.config.get_config_value("INTERPRETER_PYTHON", variables=variables))
        text = program(self.MODULE, params, bool(self._task.check_mode), self.UTILS)
        outcome.update(answer(self._low_level_execute_command(command(python), in_data=text)), at=time.time())
        if os.getppid() != parent:
            os._exit(1)  # ansible-playbook was killed: to hand the outcome to nobody would take for ever
        return outcome
