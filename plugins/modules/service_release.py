#!/usr/bin/python
# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: service_release
short_description: Lay a release of a service ready on a host, start it, stop it
version_added: 0.1.0
description:
  - V(prepared) pulls the image by its digest with the host's own credentials and writes the release's files; nothing that runs is touched.
  - V(active) makes a prepared release the current one and restarts the unit, unless that release runs already; then it waits until the service
    answers on the host. An older release that still lies ready is activated in the same way.
  - V(stopped) ends and disables the unit; releases stay ready.
  - V(retired) does the same after a while, on the host's own account, or when the host reboots before; V(active) calls it off.
  - V(live) is for a service with two colours, when the one that O(name) names takes the traffic. It is noted on the host, its retirement called off,
    O(retired) retired, all in one call that also tells what it runs.
  - V(absent) removes the service with its releases, images and data.
options:
  name:
    description: The service; of one with two colours, the colour's name on the host.
    type: str
    required: true
  state:
    description: What shall be.
    type: str
    choices: [prepared, active, stopped, retired, live, absent]
    required: true
  service:
    description: With V(live), the service that O(name) is a colour of. Needed then.
    type: str
  retired:
    description: With V(live), the colour that is not needed any more.
    type: str
  release:
    description: The release's number. Needed for V(prepared) and V(active).
    type: int
  image:
    description: The image with its digest, C(registry/repository@sha256:…). Needed for V(prepared).
    type: str
  files:
    description: Name and text of each file that the release fixes, C(release.json) among them. Needed for V(prepared).
    type: dict
  keep:
    description: How many releases stay ready on the host, the current one not counted when it is older.
    type: int
    default: 5
  spare:
    description: Releases that are never removed, however old.
    type: list
    elements: int
    default: []
  port:
    description: The service's port on the host, for the wait of V(active).
    type: int
  probe:
    description: How V(active) finds out that the service has started. V(http) asks O(path), V(tcp) connects to O(port), V(none) sees that one and
      the same container has run for three seconds.
    type: str
    choices: [http, tcp, none]
    default: http
  restart:
    description: With V(active), restart the unit also when the release runs already.
    type: bool
    default: false
  path:
    description: The path that is asked for; any status will do, for the load balancer judges the code.
    type: str
    default: /
  after_seconds:
    description: How long V(retired) waits, and O(retired).
    type: int
    default: 0
  start_seconds:
    description: How long a started service may take until it answers.
    type: int
    default: 60
attributes:
  check_mode:
    support: full
    description: Returns what would be.
  diff_mode:
    support: full
    description: Shows how the files of a release differ from those of the current one, without the environment's values.
author:
  - Flotilla authors (@flotilla)
"""

EXAMPLES = r"""
- name: Start release 2
  flotilla.ec2.service_release:
    name: web
    state: active
    release: 2
    port: 8080
    path: /healthz
"""

RETURN = r"""
logs:
  description: The last lines that the container has written.
  returned: when a release did not start
  type: list
  elements: str
services:
  description: What O(name) does now, as M(flotilla.ec2.service_info) says it.
  returned: with V(live)
  type: dict
seconds:
  description: How long the service took to answer.
  returned: when a release was started
  type: float
"""

import time
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.flotilla.ec2.plugins.module_utils.service import host, look, state
from ansible_collections.flotilla.ec2.plugins.module_utils.service.layout import RELEASE_FILE, Layout, difference

POLL_SECONDS = 0.2
LOG_LINES = 20
STEADY_SECONDS = 3.0  # a container that answers nothing has started when it has run for so long
EXITS = 2  # a container that has ended this often will not come up by waiting


def prepare(module: AnsibleModule, layout: Layout) -> dict[str, Any]:
    """Image and files of a release. One that is complete is never written again: a release is what it was when it was made."""
    number, image, files = (module.params[key] for key in ("release", "image", "files"))
    before = layout.contents(number)
    complete = before.get(RELEASE_FILE) == files[RELEASE_FILE]
    pulled = host.has_image(image)
    changed = not (complete and pulled)
    if changed and not module.check_mode:
        if not pulled:
            host.pull(image)
        if not complete:
            layout.write(number, files)
        prune(layout, module.params["keep"], {number, *module.params["spare"]})
    runs = layout.current()
    compared = before or (layout.contents(runs) if runs is not None else {})
    return {"changed": changed, "diff": [] if complete else difference(compared, files, layout.release(number))}


def prune(layout: Layout, keep: int, spared: set[int]) -> None:
    """Remove the oldest releases and the images that only they had; never the spared ones, nor the one that runs."""
    current = layout.current()
    gone = layout.surplus(keep, {*spared, *([current] if current else [])})
    images = {layout.facts(one).get("image") for one in gone}
    for one in gone:
        remove_tree(layout.release(one))
    images -= {layout.facts(one).get("image") for one in layout.prepared()}
    for image in sorted(str(one) for one in images if one):
        host.run(["docker", "image", "rm", image])


def remove_tree(path: Path) -> None:
    import shutil  # most calls remove nothing

    shutil.rmtree(path, ignore_errors=True)


def activate(module: AnsibleModule, layout: Layout) -> dict[str, Any]:
    """Start a prepared release, unless it runs."""
    number = module.params["release"]
    before = host.inspect([layout.container]).get(layout.container) or {}
    units = host.units([layout.unit_name, layout.retirement])
    unit = units.get(layout.unit_name, {})
    if units.get(layout.retirement, {}).get("ActiveState") == "active" and not module.check_mode:
        call_off(layout)
    seen = state.described(before, unit, layout.prepared())
    wanted = layout.configuration(number)
    runs = layout.current() == number and wanted and state.configured(before) == wanted and seen["unit"] == "active"
    if runs and not module.params["restart"]:
        return {"changed": False}
    if module.check_mode:
        return {"changed": True}
    if number not in seen["prepared"]:
        raise host.HostError(
            f"release {number} of {layout.service} is not prepared on this host; prepared are: {', '.join(map(str, seen['prepared'])) or 'none'}. "
            "Fix: deploy it again, which prepares it first."
        )
    known = layout.unit_time() if unit.get("LoadState") == "loaded" and unit.get("NeedDaemonReload") == "no" else None
    layout.switch(number)
    layout.enable()
    if known is None or layout.unit_time() != known:
        # All units of the host and their generators: a good part of what a start costs, and seldom needed.
        host.systemctl("daemon-reload")
    host.systemctl("restart", "--no-block", layout.unit_name)
    return {"changed": True, "seconds": wait_for_answer(module, layout, number, before.get("Id"), unit.get("InvocationID"))}


def wait_for_answer(module: AnsibleModule, layout: Layout, number: int, before: str | None, invocation: str | None) -> float:
    """Seconds until the restarted unit's container answers. Fails the task at once when it exits again and again, with its last words."""
    wanted = layout.configuration(number)
    limit = module.params["start_seconds"]
    began = time.monotonic()
    words: list[str] = []
    ended: dict[str, str] = {}
    steady = ("", 0.0)  # the container that runs, and since when it was seen to
    while True:
        container = host.inspect([layout.container]).get(layout.container) or {}
        if state.configured(container) != wanted:
            steady = ("", 0.0)
        elif container["Id"] != steady[0]:
            # systemd is not asked as long as there is nothing that it could have started: many hosts ask at once.
            unit = host.units([layout.unit_name]).get(layout.unit_name, {})
            started = unit.get("ActiveState") == "active" and unit.get("InvocationID") != invocation
            steady = (container["Id"], time.monotonic()) if started else ("", 0.0)
        if steady[0] and probed(module, time.monotonic() - steady[1]):
            return round(time.monotonic() - began, 1)
        if container.get("Id", before) != before and (reason := state.exit_reason(container)):
            ended[container["Id"]] = reason
            words = host.logs(layout.container, LOG_LINES) or words
        late = time.monotonic() - began > limit
        if late or len(ended) >= EXITS:
            words = words or host.logs(layout.container, LOG_LINES)
            reason = f"{silence(module)} within {limit} s" if not ended else f"its container {list(ended.values())[-1]}"
            told = "\n".join(f"  | {line}" for line in words or host.journal(layout.unit_name))
            module.fail_json(
                msg=f"release {number} of {layout.service} did not start: {reason}. Last lines of its log:\n{told or '  | (none)'}", logs=words, changed=True
            )
        time.sleep(POLL_SECONDS)


def probed(module: AnsibleModule, seconds: float) -> bool:
    """Whether a container that has run for so long has started."""
    port, probe = module.params["port"], module.params["probe"]
    if probe == "none" or not port:
        return seconds >= STEADY_SECONDS
    return host.connects(port) if probe == "tcp" else host.answers(port, module.params["path"]) is not None


def silence(module: AnsibleModule) -> str:
    """What a service has not done that has not started."""
    port, probe = module.params["port"], module.params["probe"]
    if probe == "none" or not port:
        return f"its container did not run for {STEADY_SECONDS:.0f} s on end"
    return f"it did not take a connection on port {port}" if probe == "tcp" else f"it did not answer http://127.0.0.1:{port}{module.params['path']}"


def stop(module: AnsibleModule, layout: Layout) -> dict[str, Any]:
    """End the unit and keep it from starting at boot."""
    unit = host.units([layout.unit_name]).get(layout.unit_name, {})
    container = host.inspect([layout.container])
    if unit.get("ActiveState", "inactive") == "inactive" and not layout.wanted.is_symlink() and not container:
        return {"changed": False}
    if not module.check_mode:
        layout.disable()
        if layout.unit.is_symlink():
            host.systemctl("stop", layout.unit_name)
        host.run(["docker", "rm", "--force", layout.container])
    return {"changed": True}


def call_off(layout: Layout) -> None:
    """Have a service go on that was to be stopped later."""
    host.systemctl("stop", layout.retirement)
    layout.enable()


def retire(module: AnsibleModule, layout: Layout, known: dict[str, dict[str, str]] | None = None) -> dict[str, Any]:
    """Stop the service after a while, whether or not anybody watches then. `known`: what systemd says of its units, where it was asked already."""
    after, timer = module.params["after_seconds"], layout.retirement
    units = known if known is not None else host.units([layout.unit_name, timer])
    if not after or units.get(layout.unit_name, {}).get("ActiveState", "inactive") == "inactive":
        return stop(module, layout)
    if units.get(timer, {}).get("ActiveState") == "active":
        return {"changed": False}
    if not module.check_mode:
        script = f"rm -f {layout.wanted}; systemctl stop {layout.unit_name}; docker rm --force {layout.container}"
        name = timer.rpartition(".")[0]
        command = ["systemd-run", "--quiet", f"--unit={name}", f"--on-active={after}", "--timer-property=AccuracySec=1s", "/bin/sh", "-c", script]
        code, _output, errors = host.run(command)
        if code != 0:
            raise host.HostError(f"{layout.container} cannot be stopped later: systemd-run: {errors.strip()}")
        # The timer does not outlive a reboot; a service that is not started then is retired too.
        layout.disable()
    return {"changed": True}


def enliven(module: AnsibleModule, layout: Layout) -> dict[str, Any]:
    """The colour that takes the traffic is known on the host and nobody is about to stop it; the other one is, if it is not needed any more."""
    changed = False
    other = Layout(module.params["retired"], layout.root) if module.params["retired"] else None
    units = host.units([layout.retirement, *([other.unit_name, other.retirement] if other else [])])
    if units.get(layout.retirement, {}).get("ActiveState") == "active":
        changed = True
        if not module.check_mode:
            call_off(layout)
    service = Layout(module.params["service"], layout.root)
    changed = service.live_instance() != layout.service or changed
    if not module.check_mode:
        service.tell_live(layout.service)
    if other:
        changed = retire(module, other, units)["changed"] or changed
    return {"changed": changed, "services": look.services([layout])}


def remove(module: AnsibleModule, layout: Layout) -> dict[str, Any]:
    """Take the service off the host."""
    stopped = stop(module, layout)
    if not (layout.directory.exists() or layout.data.exists()):
        return stopped
    if not module.check_mode:
        images = {layout.facts(one).get("image") for one in layout.prepared()}
        layout.unit.unlink(missing_ok=True)
        for path in (layout.directory, layout.run, layout.data):
            remove_tree(path)
        host.systemctl("daemon-reload")
        for image in sorted(str(one) for one in images if one):
            host.run(["docker", "image", "rm", image])
    return {"changed": True}


def main() -> None:
    module = AnsibleModule(
        {
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "required": True, "choices": ["prepared", "active", "stopped", "retired", "live", "absent"]},
            "service": {"type": "str"},
            "retired": {"type": "str"},
            "release": {"type": "int"},
            "image": {"type": "str"},
            "files": {"type": "dict"},
            "keep": {"type": "int", "default": 5},
            "spare": {"type": "list", "elements": "int", "default": []},
            "port": {"type": "int"},
            "probe": {"type": "str", "choices": ["http", "tcp", "none"], "default": "http"},
            "restart": {"type": "bool", "default": False},
            "path": {"type": "str", "default": "/"},
            "after_seconds": {"type": "int", "default": 0},
            "start_seconds": {"type": "int", "default": 60},
        },
        required_if=[("state", "prepared", ["release", "image", "files"]), ("state", "active", ["release"]), ("state", "live", ["service"])],
        supports_check_mode=True,
    )
    act = {"prepared": prepare, "active": activate, "stopped": stop, "retired": retire, "live": enliven, "absent": remove}[module.params["state"]]
    try:
        module.exit_json(**act(module, Layout(module.params["name"])))
    except host.HostError as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
