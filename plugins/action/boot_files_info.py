# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Read what a host has; documented in plugins/modules/boot_files_info.py, which does the work on the host."""

from __future__ import annotations

from ansible_collections.flotilla.ec2.plugins.modules.boot_files_info import DOCUMENTATION
from ansible_collections.flotilla.ec2.plugins.plugin_utils.program import ProgramAction


class ActionModule(ProgramAction):
    """Run it as one program."""

    DOCUMENTATION = DOCUMENTATION
    MODULE = "boot_files_info"
    UTILS = ("layout", "bundle")
