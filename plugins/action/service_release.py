# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Lay a release of a service ready on a host, start it, stop it; documented in plugins/modules/service_release.py, which does the work on the host."""

from __future__ import annotations

from ansible_collections.flotilla.ec2.plugins.modules.service_release import DOCUMENTATION
from ansible_collections.flotilla.ec2.plugins.plugin_utils.program import ProgramAction


class ActionModule(ProgramAction):
    """Run it as one program."""

    DOCUMENTATION = DOCUMENTATION
    MODULE = "service_release"
    REQUIRED_IF = (("state", "prepared", ["release", "image", "files"]), ("state", "active", ["release"]), ("state", "live", ["service"]))
