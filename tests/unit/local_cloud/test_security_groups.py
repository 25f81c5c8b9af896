"""Security groups of the local cloud: "Control traffic to your AWS resources using security groups", VPC User Guide."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from local_cloud.planes.security_groups import CHAIN, Rule, evaluate, script
from tests.unit.local_cloud.core_support import Bed, bed

ACCEPT = "-j RETURN"


def permission(port: int, blocks: tuple[str, ...] = (), groups: tuple[str, ...] = ()) -> dict[str, object]:
    return {"protocol": "tcp", "first": port, "last": port, "blocks": list(blocks), "groups": list(groups)}


def test_a_reference_to_a_group_means_its_members() -> None:
    groups = [{"permissions": [permission(80, ("10.0.0.0/8",), ("sg-1",)), permission(22, groups=("sg-empty",))]}]
    assert evaluate(groups, {"sg-1": ["10.1.0.9", "10.1.0.5"]}) == [Rule("tcp", 80, 80, ("10.0.0.0/8", "10.1.0.5/32", "10.1.0.9/32"))]


def test_answers_pass_and_what_no_rule_allows_is_dropped() -> None:
    """ "Security groups are stateful"; a group without rules lets nothing in."""
    assert script([]).splitlines() == [
        "*mangle",
        f":{CHAIN} - [0:0]",
        f"-A {CHAIN} -m conntrack --ctstate ESTABLISHED,RELATED -j RETURN",
        f"-A {CHAIN} -j DROP",
        "COMMIT",
    ]


@pytest.mark.parametrize(
    ("rule", "line"),
    [
        (Rule("tcp", 80, 90, ("10.0.0.0/8",)), "-s 10.0.0.0/8 -p tcp --dport 80:90"),
        (Rule("all", None, None, ("0.0.0.0/0",)), "-s 0.0.0.0/0"),
        (Rule("icmp", -1, -1, ("10.0.0.1/32",)), "-s 10.0.0.1/32 -p icmp"),
        (Rule("udp", 53, 53, ("10.0.0.7/8",)), "-s 10.0.0.0/8 -p udp --dport 53:53"),
    ],
)
def test_a_rule_as_iptables_has_it(rule: Rule, line: str) -> None:
    assert f"-A {CHAIN} {line} {ACCEPT}" in script([rule]).splitlines()


@pytest.fixture
def it(tmp_path: Path) -> Iterator[Bed]:
    with bed(tmp_path) as made:
        yield made


def firewall(it: Bed, identifier: str) -> list[str]:
    """What was told to a guest since the last look."""
    it.cloud.planes["security_groups"].enforce()
    name = it.cloud.container_name(identifier)
    told = [text for container, _, text in it.engine.executed if container == name]
    it.engine.executed.clear()
    return told


def test_guests_follow_every_change(it: Bed) -> None:
    clients = it.security_group("clients")
    it.allow(it.group, 8080, UserIdGroupPairs=[{"GroupId": clients}])
    server = it.run()["InstanceId"]
    assert ACCEPT not in firewall(it, server)[0].split("RELATED -j RETURN")[1]
    caller = it.run(SecurityGroupIds=[clients])
    assert f"-s {caller['PrivateIpAddress']}/32 -p tcp --dport 8080:8080 {ACCEPT}" in firewall(it, server)[0]
    assert firewall(it, server) == []  # nothing has changed
    it.allow(it.group, 22, IpRanges=[{"CidrIp": "10.1.0.0/16"}])
    assert f"-s 10.1.0.0/16 -p tcp --dport 22:22 {ACCEPT}" in firewall(it, server)[0]
    it.ec2.terminate_instances(InstanceIds=[caller["InstanceId"]])
    it.settle()
    assert caller["PrivateIpAddress"] not in firewall(it, server)[0]


def test_a_guest_that_started_again_is_told_again(it: Bed) -> None:
    guest = it.run()["InstanceId"]
    assert firewall(it, guest)
    it.ec2.reboot_instances(InstanceIds=[guest])
    it.settle()
    assert firewall(it, guest)
