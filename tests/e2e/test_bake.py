"""Images of a fleet's host: made beside the fleet, with nothing of a machine or a person in them, and hosts that serve sooner because of them.

The tests run in the order of this file: each finds two healthy hosts, and leaves two.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.e2e.system import System, say, wait_for
from tests.e2e.test_fleet import container_of, no_registry, tree

pytestmark = pytest.mark.e2e
# Ten minutes: `make test-e2e STACK=bake`.
BY_NAME = True
BOOT_SECONDS = 45  # how long an instance tries; 600 in earnest
RATE = 40
POINTER = "/flotilla/local/hello/fleets/web/image"
MINE = {"Name": "tag:flotilla:bake", "Values": ["hello-local-web"]}
LIVING = {"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped"]}
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ4lXy0mKcXkGKTnpp6v9wXWpmOg9dh4O2eM5y8x4bQz ada@example"
# What may not be in an image, by where it lies in a guest, and what must be.
FINDINGS = r"""
set -e
echo "machine-id: $(wc -c < /etc/machine-id) $(ls /var/lib/dbus/machine-id 2>/dev/null)"
echo "host keys: $(find /etc/ssh -name 'ssh_host_*')"
echo "authorized: $(find / -xdev -name authorized_keys)"
echo "accounts: $(getent passwd ada)"
echo "cloud-init: $(find /var/lib/cloud /etc/sudoers.d/90-cloud-init-users 2>/dev/null)"
echo "logs: $(find /var/log -type f)"
echo "flotilla: $(find / -xdev -path /proc -prune -o -iname '*flotilla*' -not -path '/volume/*' -print)"
echo "history: $(find /root /home -name '.*history' -o -name .docker -o -name .aws)"
echo "containers: $(ls /volume/containers; ls /volume/network; ls /volume/engine-id 2>/dev/null)"
echo "images: $(ls /volume/image/overlay2/imagedb/content/sha256 | wc -l)"
echo "own: $(ls /etc/docker/key.json /var/lib/systemd/random-seed /var/lib/systemd/credential.secret /var/lib/dhcp/* 2>/dev/null)"
echo "found: $(grep -rlF -e AcceptEnv /etc/ssh) $(find /etc/ssh -name sshd_config)"
echo "secret: $(grep -rlF -e "$SECRET" / --exclude-dir=proc --exclude-dir=sys 2>/dev/null)"
echo "old names: $(grep -rlF -e "$OLD" / --exclude-dir=proc --exclude-dir=sys 2>/dev/null)"
"""


@pytest.fixture(scope="session")
def tags(system: System) -> dict[str, str]:
    """Provisioned. Version → tag in the registry. The service has a secret, and there is a developer."""
    system.variables["fleet_boot_seconds"] = BOOT_SECONDS
    system.variables["flotilla_environment"] = {**system.environment_facts(), "developers": [{"name": "ada", "public_key": KEY}]}
    wanted(system, "base")
    system.play("provision").succeeded()
    return {version: system.push("web", version) for version in ("v1", "v2")}


@pytest.fixture(scope="session")
def released(system: System, tags: dict[str, str]) -> dict[str, str]:
    """Configured, and on release 1."""
    system.play("configure").succeeded()
    system.play("deploy", release_tag=tags["v1"]).succeeded()
    system.healthy()
    return tags


def wanted(system: System, image: str) -> None:
    """What the stack says from now on."""
    facts = system.stack_facts()
    facts["fleets"]["web"]["image"] = image
    facts["secrets"] = {"upload_secret": {"length": 32}}
    facts["services"]["web"]["secrets"] = {"upload_secret": "${secret.upload_secret}"}
    system.variables["flotilla_stack"] = facts


def pointer(system: System) -> dict[str, Any]:
    api = system.client("ssm")
    try:
        return dict(json.loads(api.get_parameter(Name=POINTER)["Parameter"]["Value"]))
    except api.exceptions.ParameterNotFound:
        return {}


def images(system: System) -> dict[str, str]:
    """Images that were baked → their state."""
    found = system.client("ec2").describe_images(Owners=["self"], Filters=[MINE])["Images"]
    return {one["ImageId"]: next(tag["Value"] for tag in one["Tags"] if tag["Key"] == "flotilla:baked") for one in found}


def snapshots(system: System) -> set[str]:
    found = system.client("ec2").describe_snapshots(OwnerIds=["self"], Filters=[MINE])["Snapshots"]
    return {one["SnapshotId"] for one in found}


def beside(system: System) -> set[str]:
    """Instances of a bake."""
    return {one["InstanceId"] for row in system.client("ec2").describe_instances(Filters=[MINE, LIVING])["Reservations"] for one in row["Instances"]}


def template(system: System) -> str:
    """The image of new hosts."""
    api = system.client("ec2")
    (version,) = api.describe_launch_template_versions(LaunchTemplateName="hello-local-web", Versions=["$Latest"])["LaunchTemplateVersions"]
    return str(version["LaunchTemplateData"]["ImageId"])


def account(system: System) -> tuple[Any, ...]:
    """What a bake could change."""
    names = {one["Name"]: one["Version"] for one in system.client("ssm").describe_parameters()["Parameters"]}
    return images(system), snapshots(system), beside(system), set(system.instances()), template(system), names


def one_more(system: System) -> tuple[str, float]:
    """A third host for as long as it takes: (its id, seconds from its launch until the load balancer finds it healthy)."""
    autoscaling, before = system.client("autoscaling"), set(system.instances())
    autoscaling.set_desired_capacity(AutoScalingGroupName="hello-local-web", DesiredCapacity=3)
    (born,) = wait_for("another instance", lambda: set(system.instances()) - before, 60, 0.1)
    began = time.monotonic()
    wait_for("its health", lambda: system.targets().get(born) == "healthy", 120, 0.1)
    return born, time.monotonic() - began


def two_again(system: System) -> None:
    system.client("autoscaling").set_desired_capacity(AutoScalingGroupName="hello-local-web", DesiredCapacity=2)
    wait_for("two hosts", lambda: len(system.instances()) == 2, 180)
    system.healthy()


def boots(system: System, name: str, look: Callable[[str], None] = lambda born: None, times: int = 2) -> list[float]:
    """Seconds to serving of so many new hosts, one after the other under load; each is looked at while it is there."""
    took = []
    with system.load(name, RATE):
        for _ in range(times):
            born, seconds = one_more(system)
            took.append(seconds)
            boot = system.client("logs").get_log_events(logGroupName="/flotilla/local/hello/boot", logStreamName=born)["events"]
            say(f"{name}: from launch to serving {seconds:.1f} s; {boot[-1]['message']}")
            look(born)
            two_again(system)
    return took


def descendants(process: int) -> list[int]:
    """A process and all that it has started, as far as that is known: as with a machine that loses its power, none of them does anything more."""
    rows = subprocess.run(["ps", "-e", "-o", "pid=,ppid="], stdout=subprocess.PIPE, text=True, check=True).stdout.split("\n")
    parents = {int(pid): int(parent) for pid, parent in (row.split() for row in rows if row)}
    found = [process]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found


def test_a_bake_that_cannot_be_is_refused(system: System, tags: dict[str, str]) -> None:
    """Unknown fleet; nothing published yet."""
    before = account(system)
    system.play("bake", fleet="wep").refused("did you mean 'web'", "Nothing was changed")
    system.play("bake", fleet="web").refused("nothing is published for the fleet web yet", "Fix: run configure.yml")
    assert account(system) == before
    wanted(system, "bakd")
    system.play("provision").refused("fleets.web.image: 'bakd' is not possible; did you mean 'baked'")
    wanted(system, "base")


def test_without_an_image_a_host_serves(system: System, released: dict[str, str]) -> None:
    """Measured, under load."""
    system.first = min(boots(system, "base"))


def test_before_the_first_bake_the_base_is_used_and_that_is_said(system: System, released: dict[str, str]) -> None:
    wanted(system, "baked")
    run = system.play("provision").succeeded()
    assert run.changed == 0 and template(system) == "ami-0f10711a00000012"
    assert re.search("launched from ami-0f10711a00000012 .* no image has been baked yet", " ".join(run.output.split())), run.output[-3000:]


def test_a_plan_changes_nothing(system: System, released: dict[str, str]) -> None:
    before = account(system)
    run = system.play("bake", "--check", fleet="web").succeeded()
    assert run.changed == 1 and "nothing is launched" in run.output and "web 1" in run.output and "ami-0f10711a00000012" in run.output
    assert account(system) == before


def test_a_bake_that_fails_leaves_nothing(system: System, released: dict[str, str]) -> None:
    """The registry is down: the instance says so, is ended, and the fleet serves."""
    before = account(system)
    with system.load("failing", RATE), no_registry(system):
        system.play("bake", fleet="web").refused("beside the fleet, could not become what its hosts are", r"cannot pull \S+ from the registry", "not changed")
    wait_for("their end", lambda: not beside(system), 60)
    assert account(system) == before


def test_what_a_killed_bake_has_left_is_removed_by_the_next(system: System, released: dict[str, str]) -> None:
    """Killed while its image is being made; the next makes its own under load, and nobody takes its instances for hosts."""
    first = system.start("bake", fleet="web")
    wait_for("the first one's image", lambda: images(system), 120, 0.2)
    for process in descendants(first.pid):
        os.kill(process, signal.SIGKILL)
    first.wait()
    left, begun = beside(system), images(system)
    assert left and set(begun.values()) == {"begun"} and not pointer(system)
    hosts = set(system.instances())
    with system.load("baking", RATE):
        second = system.start("bake", fleet="web")
        instance = wait_for("its instance", lambda: beside(system) - left, 120, 0.2)
        status = system.play("status").succeeded()
        assert not any(one in status.output for one in instance)
        assert set(system.targets()) == set(system.instances()) == hosts
        assert second.wait(400) == 0, (system.build / f"{system.runs:02d}-bake-killed.log").read_text()[-3000:]
    log = max(system.build.glob("*-bake-killed.log")).read_text()
    say(next(line.strip() for line in log.splitlines() if "proved" in line).strip('", '))
    say(next(line.strip() for line in log.splitlines() if "took  " in line).strip('", '))
    assert images(system) == {pointer(system)["image"]: "ready"}
    assert pointer(system)["releases"] == {"web": 1} and pointer(system)["base"]["id"] == "ami-0f10711a00000012"
    wait_for("the end of all instances", lambda: not beside(system), 60)
    assert len(snapshots(system)) == 1 and template(system) == "ami-0f10711a00000012"


def test_a_killed_bake_that_lives_on_undoes_itself(system: System, released: dict[str, str]) -> None:
    """Ansible's worker outlives the playbook: it sees that, and leaves nothing."""
    before = account(system)
    bake = system.start("bake", fleet="web")
    wait_for("its instance", lambda: beside(system), 120, 0.2)
    os.kill(bake.pid, signal.SIGKILL)
    bake.wait()
    wait_for("its end", lambda: not beside(system), 60)
    assert account(system)[:-1] == before[:-1]


def test_nothing_of_a_machine_or_a_person_is_in_the_image(system: System, released: dict[str, str]) -> None:
    """Machine id, ssh host keys, authorized keys, accounts, secrets, logs and files of cloud-init and hosts; the images are."""
    host = sorted(system.instances())[0]
    secret = system.on_host(host, "cat /run/flotilla/web/secrets/upload_secret")
    assert len(secret) == 32
    image = pointer(system)["image"]
    name = container_of(host).replace(host, image)
    source = system.client("ec2").describe_images(ImageIds=[image])["Images"][0]["SourceInstanceId"]
    options = ["--rm", "-i", "--network", "none", "-e", f"SECRET={secret}", "-e", f"OLD={source}", "-v", f"{name}:/volume:ro", "--entrypoint", "sh"]
    done = subprocess.run(["docker", "run", *options, name, "-s"], input=FINDINGS, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True)
    found = {name: what for name, _colon, what in (line.partition(": ") for line in done.stdout.splitlines())}
    assert int(found.pop("images")) >= 1
    assert found.pop("machine-id").strip() == "0"
    assert found.pop("found").split().count("/etc/ssh/sshd_config") == 2, "what is there must be found"
    # The secret given to this very search is in its own environment alone, which lies below /proc.
    assert {name: what for name, what in found.items() if what.strip()} == {}, done.stdout


def test_provision_gives_it_to_new_hosts_once(system: System, released: dict[str, str]) -> None:
    before = set(system.instances())
    planned = system.play("provision", "--check").succeeded().changed
    assert system.play("provision").succeeded().changed == planned == 1
    assert template(system) == pointer(system)["image"]
    assert system.play("provision").succeeded().changed == 0
    assert set(system.instances()) == before, "the hosts that there are stay"


def test_a_host_of_the_image_serves_sooner_and_is_as_its_peer(system: System, released: dict[str, str]) -> None:
    """Measured, under load; its files are its peer's, its identity is its own."""

    def look(born: str) -> None:
        hosts = system.instances()
        assert hosts[born]["ImageId"] == pointer(system)["image"]
        old = next((host for host, facts in hosts.items() if facts["ImageId"] != pointer(system)["image"]), None)
        if old is None:  # the first was the last of the base
            return
        assert tree(system, born) == tree(system, old)
        identities = [system.on_host(one, "cat /etc/machine-id /etc/ssh/ssh_host_*.pub").splitlines() for one in hosts]
        assert len({line for lines in identities for line in lines}) == sum(len(lines) for lines in identities) >= 6
        assert system.on_host(born, "id -nG ada") and system.logged_in(born, "admin", system.build / "cloud" / "ssh" / "id_ed25519", "hostname")
        assert system.play("configure").succeeded().changed == 0
        seen.append(born)

    seen: list[str] = []
    took = boots(system, "baked", look)
    say(f"from launch to serving: {system.first:.1f} s without, {min(took):.1f} s with a baked image")
    assert seen and min(took) < system.first


def test_a_release_after_the_bake_runs_on_hosts_of_the_image(system: System, released: dict[str, str]) -> None:
    """What the image lacks is pulled at boot."""
    system.play("deploy", release_tag=released["v2"]).succeeded()
    with system.load("released", RATE):
        born, seconds = one_more(system)
        say(f"with a release that is not in the image: {seconds:.1f} s")
        system.healthy(3)
        assert system.versions(30) == {"v2"}
        peer = next(one for one in system.instances() if one != born)
        assert tree(system, born) == tree(system, peer)
        two_again(system)


def test_an_image_that_is_gone_is_refused_until_another_is_baked_or_the_stack_wants_the_base(system: System, released: dict[str, str]) -> None:
    gone = pointer(system)["image"]
    system.client("ec2").deregister_image(ImageId=gone)
    system.play("provision").refused(f"fleets.web: the image {gone} .* does not exist any more", "bake.yml -e fleet=web", "image: base")
    assert template(system) == gone
    wanted(system, "base")
    assert system.play("provision").succeeded().changed == 1
    assert template(system) == "ami-0f10711a00000012"
    wanted(system, "baked")
    with system.load("again", RATE):
        run = system.play("bake").succeeded()
    assert pointer(system)["image"] in run.output and pointer(system)["releases"] == {"web": 2} and pointer(system)["image"] != gone
    assert system.play("provision").succeeded().changed == 1
    assert system.play("provision").succeeded().changed == 0
    system.healthy()


def test_patch_brings_every_host_to_the_newest_image(system: System, released: dict[str, str]) -> None:
    """By instance refresh, under load: the hosts that there were are replaced by such of the image; the second run changes nothing."""
    before, image = set(system.instances()), pointer(system)["image"]
    with system.load("patched", RATE):
        began = time.monotonic()
        done = system.play("patch", fleet="web", patch_warmup_seconds=60).succeeded()
        say(f"both hosts are of the newest image after {time.monotonic() - began:.0f} s")
        system.healthy()
    hosts = system.instances()
    assert done.changed > 0 and image in done.output
    assert {facts["ImageId"] for facts in hosts.values()} == {image} and not before & set(hosts)
    assert system.versions() == {"v2"}
    assert system.play("patch", fleet="web").succeeded().changed == 0


def test_destroy_takes_all_of_it(system: System, released: dict[str, str]) -> None:
    name = container_of(sorted(system.instances())[0])
    mine = name[: name.index("-i-")]
    assert system.play("destroy", "--check").succeeded().changed > 0 and images(system)
    system.play("destroy").succeeded()
    assert (images(system), snapshots(system), pointer(system), beside(system)) == ({}, set(), {}, set())

    def left() -> list[str]:
        listed = subprocess.run(["docker", "images", "--format", "{{.Repository}}"], stdout=subprocess.PIPE, text=True, check=True).stdout.split()
        return [one for one in listed if one.startswith(f"{mine}-ami-")]

    wait_for("the engine's images to go", lambda: not left(), 30)
