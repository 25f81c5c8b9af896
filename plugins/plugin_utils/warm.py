# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""What ansible's own process reads once, for all the workers that it forks: Jinja's filters and tests. Left to themselves they are read when a template
first needs one, which in most tasks is in the worker, and lost with it: up to a tenth of a second for each task and host. Imported for that alone.
"""

from __future__ import annotations

import contextlib

from ansible.plugins.loader import filter_loader, test_loader

COLLECTION = "flotilla.ec2"

for _loader, _name in ((filter_loader, "ansible.builtin.default"), (test_loader, "ansible.builtin.truthy"), (filter_loader, f"{COLLECTION}.release_seen")):
    with contextlib.suppress(Exception):  # it would only have saved time
        _loader.get(_name)
