"""A fleet gets a new version of its launch template, and new packages, while requests come in at a constant rate: none of them fails.

The tests run in the order of this file: each finds two healthy hosts, and leaves two.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from typing import Any

import pytest

from tests.e2e.system import System, say, wait_for
from tests.e2e.test_fleet import no_bundle

pytestmark = pytest.mark.e2e
# Some ten minutes: `make test-e2e STACK=patch`.
BY_NAME = True
RATE = 40
BOOT_SECONDS = 45
WARMUP_SECONDS = 60
REFRESH = {"fleet": "web", "patch_warmup_seconds": WARMUP_SECONDS}
IN_PLACE = {"fleet": "web", "how": "in_place"}
# A package in two versions, of which the second is a security update that everything uses; VERSION and SCRIPT are put in.
PACKAGE = r"""set -e
mkdir -p /srv/packages /etc/apt/sources.list.d && cd /srv/packages
rm -rf build && mkdir -p build/DEBIAN build/usr/share/proof && echo VERSION > build/usr/share/proof/version
printf 'Package: libssl3-proof\nVersion: VERSION\nArchitecture: all\nMaintainer: nobody <n@example.org>\nDescription: proof\n' > build/DEBIAN/control
printf '#!/bin/sh\nSCRIPT\n' > build/DEBIAN/postinst && chmod 0755 build/DEBIAN/postinst
dpkg-deb --build build proof_VERSION.deb >/dev/null
dpkg-query --show libssl3-proof >/dev/null 2>&1 || dpkg --install proof_VERSION.deb >/dev/null
(dpkg-deb --field proof_VERSION.deb
 printf 'Filename: ./proof_VERSION.deb\nSize: %s\nSHA256: %s\n' $(stat -c %s proof_VERSION.deb) $(sha256sum proof_VERSION.deb | cut -d' ' -f1)) > Packages
printf 'Origin: Debian\nLabel: Debian-Security\nSuite: stable-security\nDate: %s\nSHA256:\n %s %s Packages\n' "$(date -Ru)" \
  $(sha256sum Packages | cut -d' ' -f1) $(stat -c %s Packages) > Release
echo 'deb [trusted=yes] file:/srv/packages ./' > /etc/apt/sources.list.d/proof.list
"""


@pytest.fixture(scope="session")
def fleet(system: System) -> System:
    """Provisioned, configured and on release 1."""
    system.variables["fleet_boot_seconds"] = BOOT_SECONDS
    system.play("provision").succeeded()
    tag = system.push("web", "v1")
    system.play("configure").succeeded()
    system.play("deploy", release_tag=tag).succeeded()
    system.healthy()
    return system


def group(system: System) -> dict[str, Any]:
    return dict(system.client("autoscaling").describe_auto_scaling_groups()["AutoScalingGroups"][0])


def versions(system: System) -> dict[str, str]:
    """Host → its version of the launch template."""
    return {one["InstanceId"]: one["LaunchTemplate"]["Version"] for one in group(system)["Instances"]}


def refreshes(system: System) -> list[dict[str, Any]]:
    name = group(system)["AutoScalingGroupName"]
    return list(system.client("autoscaling").describe_instance_refreshes(AutoScalingGroupName=name)["InstanceRefreshes"])


def new_version(system: System) -> str:
    """Another user data, as provision makes of it; the template's newest version."""
    system.variables["fleet_boot_seconds"] += 1
    assert system.play("provision").succeeded().changed > 0
    rows = system.client("ec2").describe_launch_template_versions(LaunchTemplateName="hello-local-web")["LaunchTemplateVersions"]
    return str(max(row["VersionNumber"] for row in rows))


def offer(system: System, version: int, script: str = "exit 0") -> None:
    """A version of a package at every host's source; installed where there is none."""
    for host in system.instances():
        system.on_host(host, PACKAGE.replace("VERSION", str(version)).replace("SCRIPT", script))


def installed(system: System) -> set[str]:
    return {system.on_host(host, "dpkg-query --show --showformat '${Version}' libssl3-proof") for host in system.instances()}


def begun(system: System) -> set[str]:
    """When systemd began on each host."""
    return {system.on_host(host, "systemctl show --value --property=UserspaceTimestamp") for host in system.instances()}


def kill(process: subprocess.Popen[bytes]) -> None:
    assert process.poll() is None, "it has ended before it could be killed"
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def test_what_is_wrong_is_refused_and_nothing_is_changed(fleet: System) -> None:
    """An unknown way; an alarm that does not exist; too few healthy hosts. A fleet that is up to date has nothing done to it."""
    before = versions(fleet)
    fleet.play("patch", fleet="web", how="in-place").refused("did you mean 'in_place'")
    fleet.play("patch", **REFRESH, patch_alarms=["none"]).refused("there is no alarm none", "Nothing was changed")
    rebooting = {**IN_PLACE, "patch_packages": "none", "patch_reboot": "always"}
    fleet.play("patch", **rebooting, patch_min_healthy=2).refused("1 healthy hosts of web would be left", "scale.yml")
    done = fleet.play("patch", **REFRESH).succeeded()
    assert done.changed == 0 and "2 of 2 hosts, which have it already" in done.output
    assert versions(fleet) == before and refreshes(fleet) == [] and fleet.suspended() == []


def test_hosts_that_cannot_be_made_bring_the_old_version_back(fleet: System) -> None:
    """The new hosts find no boot bundle. The refresh is rolled back, the run says why in their own words, and new instances get the version that works."""
    before, old = set(versions(fleet)), set(versions(fleet).values())
    newest = new_version(fleet)
    planned = fleet.play("patch", "--check", **REFRESH).succeeded()
    assert planned.changed == 1 and f"→ {newest}" in planned.output and "expected" in planned.output and "check mode" in planned.output
    assert set(versions(fleet)) == before and refreshes(fleet) == [] and group(fleet)["LaunchTemplate"]["Version"] == "$Latest"
    with fleet.load("failing", RATE), no_bundle(fleet):
        began = time.monotonic()
        fleet.play("patch", **REFRESH).refused("did not become a host", "the boot bundle .* cannot be read: .*404", "was rolled back", "2 on version")
        say(f"failed and rolled back after {time.monotonic() - began:.0f} s")
    assert refreshes(fleet)[0]["Status"] == "RollbackSuccessful"
    wait_for("the end of what was launched meanwhile", lambda: set(versions(fleet)) == before, 60)
    assert set(versions(fleet).values()) == old
    assert {group(fleet)["LaunchTemplate"]["Version"]} == old, "a new host would be of the version that works"
    assert fleet.play("provision").succeeded().changed == 0
    fleet.healthy()


def test_an_alarm_brings_the_old_version_back(fleet: System) -> None:
    """It rings while the first new host warms up."""
    before = versions(fleet)
    cloudwatch = fleet.client("cloudwatch")
    facts = {"Namespace": "shop", "MetricName": "failures", "Statistic": "Sum", "Period": 60, "EvaluationPeriods": 1, "Threshold": 1.0}
    cloudwatch.put_metric_alarm(AlarmName="shop-failures", ComparisonOperator="GreaterThanThreshold", **facts)
    with fleet.load("alarm", RATE):
        patch = fleet.start("patch", **REFRESH, patch_alarms=["shop-failures"])
        wait_for("a new host", lambda: set(versions(fleet)) - set(before), 60)
        cloudwatch.set_alarm_state(AlarmName="shop-failures", StateValue="ALARM", StateReason="five checkouts have failed")
        assert patch.wait(200) != 0
        log = next(fleet.build.glob(f"{fleet.runs:02d}-patch-killed.log")).read_text()
        assert "shop-failures" in log and "was rolled back" in log
        fleet.play("patch", **REFRESH, patch_alarms=["shop-failures"]).refused("alarm shop-failures rings: five checkouts have failed")
    wait_for("the end of what was launched meanwhile", lambda: versions(fleet) == before, 60)
    cloudwatch.delete_alarms(AlarmNames=["shop-failures"])


def test_a_killed_refresh_is_taken_up_and_ends_with_every_host_new(fleet: System) -> None:
    """Killed while the first new host warms up; the same command waits for what goes on. Never fewer than two hosts serve. It pauses at its checkpoint, and
    watches the alarms for a while at its end."""
    before = versions(fleet)
    began = time.monotonic()
    pausing = {**REFRESH, "patch_checkpoints": [50], "patch_checkpoint_seconds": 6, "patch_bake_seconds": 6}
    with fleet.load("refresh", RATE):
        patch = fleet.start("patch", **pausing)
        wait_for("a new host", lambda: set(versions(fleet)) - set(before), 60)
        kill(patch)
        done = fleet.play("patch", **pausing).succeeded()
        assert "taking up the refresh that goes on" in done.output and "serves" in done.output
        assert "50 %, 6 s each" in done.output and "6 s after the last host" in done.output
        assert re.search(r"InProgress 50 %, 1 to go: Waiting for 6 s at the checkpoint of 50 percent.*Baking 100 %.*Successful 100 %", done.output, re.S)
        fleet.healthy()
    say(f"both hosts were replaced in {time.monotonic() - began:.0f} s, with {WARMUP_SECONDS} s to warm up")
    assert len(refreshes(fleet)) == 3 and refreshes(fleet)[0]["Status"] == "Successful"
    assert not set(versions(fleet)) & set(before) and not set(versions(fleet).values()) & set(before.values())
    assert group(fleet)["LaunchTemplate"]["Version"] == "$Latest"
    again = fleet.play("patch", **REFRESH).succeeded()
    assert again.changed == 0 and len(refreshes(fleet)) == 3
    assert fleet.play("provision").succeeded().changed == 0


def test_packages_and_reboots_in_place(fleet: System) -> None:
    """A security update that everything uses: each host is drained, upgraded, rebooted and back, one after the other. The second run changes nothing."""
    offer(fleet, 1)
    offer(fleet, 2)
    hosts, before = set(versions(fleet)), begun(fleet)
    planned = fleet.play("patch", "--check", **IN_PLACE).succeeded()
    assert planned.changed == 1 and "libssl3-proof 2" in planned.output and "reboot for libssl3-proof" in planned.output
    assert installed(fleet) == {"1"} and begun(fleet) == before
    with fleet.load("in-place", RATE):
        began = time.monotonic()
        done = fleet.play("patch", **IN_PLACE).succeeded()
        say(f"two hosts were patched in {time.monotonic() - began:.0f} s")
    assert "2 of 2 hosts" in done.output and done.output.count("is patched") >= 2
    assert installed(fleet) == {"2"} and not begun(fleet) & before and set(versions(fleet)) == hosts
    assert fleet.suspended() == [] and set(fleet.healthy()) == hosts
    again = fleet.play("patch", **IN_PLACE).succeeded()
    assert again.changed == 0 and "untouched" in again.output


def test_a_host_that_cannot_be_patched_is_returned_and_no_other_is_begun(fleet: System) -> None:
    """The update's own script fails. Told why; the host serves again; the other was not touched."""
    offer(fleet, 3, "echo cannot be configured; exit 1")
    first, second = sorted(fleet.instances())
    with fleet.load("unpatched", RATE):
        fleet.play("patch", **IN_PLACE).refused(f"failed on {first}", "apt-get .* ended with 100", f"{first} is back in service", f"{second} was not touched")
        fleet.healthy()
    assert fleet.suspended() == []


def test_a_run_that_was_killed_with_a_host_out_of_service_is_finished_by_the_next(fleet: System) -> None:
    """With the update mended. Killed while the first host is upgraded or reboots: the other serves, Auto Scaling leaves both alone, and the same command
    brings that host back and patches the other."""
    offer(fleet, 4)
    hosts, before = set(versions(fleet)), begun(fleet)
    with fleet.load("killed", RATE):
        patch = fleet.start("patch", **IN_PLACE)
        wait_for("a host out of service", lambda: "healthy" in fleet.targets().values() and len(fleet.targets()) == 1, 120, 0.2)
        kill(patch)
        assert fleet.suspended() != []
        done = fleet.play("patch", **IN_PLACE).succeeded()
        assert "back into service" in done.output
        fleet.healthy()
    assert installed(fleet) == {"4"} and not begun(fleet) & before
    assert set(versions(fleet)) == hosts and fleet.suspended() == []
    assert fleet.play("patch", **IN_PLACE).succeeded().changed == 0
