# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Tell which release of each service a host runs; documented in plugins/modules/service_info.py, which does the work on the host."""

from __future__ import annotations

from ansible_collections.flotilla.ec2.plugins.modules.service_info import DOCUMENTATION
from ansible_collections.flotilla.ec2.plugins.plugin_utils.program import ProgramAction


class ActionModule(ProgramAction):
    """Run it as one program."""

    DOCUMENTATION = DOCUMENTATION
    MODULE = "service_info"
