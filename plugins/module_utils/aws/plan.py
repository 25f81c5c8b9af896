# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How a plan names what does not exist yet, and how it knows a call that would change nothing. The one place for both."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

UNKNOWN = "(known after provision)"


class Pause(NamedTuple):
    """What a module waits for: the effect of the call `after`, as `look` shows it; `asked` makes its parameters from the call's answer."""

    after: str
    look: str
    asked: Callable[[Mapping[str, Any]], dict[str, Any]]


# The ids that later tasks read from a module's result, and where they stand in the answers to the module's reads (JMESPath). What no read
# has shown does not exist yet: a plan puts UNKNOWN in its place. Empty: the reads list the things of others too.
KNOWN_AFTER: dict[str, dict[str, str]] = {
    "amazon.aws.ec2_vpc_net": {"vpc.id": "Vpcs[0].VpcId"},
    "amazon.aws.ec2_vpc_igw": {"gateway_id": "InternetGateways[0].InternetGatewayId"},
    "amazon.aws.ec2_vpc_subnet": {"subnet.id": "Subnets[0].SubnetId"},
    "amazon.aws.ec2_vpc_nat_gateway": {"nat_gateway_id": "NatGateways[0].NatGatewayId"},
    "amazon.aws.ec2_security_group": {"group_id": "SecurityGroups[0].GroupId"},
    "amazon.aws.iam_role": {"iam_role.role_name": "Role.RoleName"},
    "amazon.aws.iam_instance_profile": {"iam_instance_profile.arn": "InstanceProfile.Arn"},
    "amazon.aws.ec2_key": {"key.name": "KeyPairs[0].KeyName"},
    "amazon.aws.rds_subnet_group": {"subnet_group.name": "DBSubnetGroups[0].DBSubnetGroupName"},
    "amazon.aws.rds_instance_param_group": {"db_parameter_group_name": "DBParameterGroups[0].DBParameterGroupName"},
    "amazon.aws.rds_instance": {"endpoint.address": "DBInstances[0].Endpoint.Address"},
    "community.aws.acm_certificate": {"certificate.arn": ""},
    "community.aws.elb_target_group": {"target_group_arn": "TargetGroups[0].TargetGroupArn"},
    "amazon.aws.elb_application_lb": {"load_balancer_arn": "LoadBalancers[0].LoadBalancerArn", "dns_name": "LoadBalancers[0].DNSName"},
    "flotilla.ec2.listener_rules": {"rules": "Rules[?!IsDefault].{priority: Priority, arn: RuleArn}"},
    "amazon.aws.ec2_launch_template": {"template.launch_template_id": "LaunchTemplates[0].LaunchTemplateId"},
    "flotilla.ec2.generated_secret": {"arn": "ARN"},
    "flotilla.ec2.replication_group": {"primary_endpoint.address": "ReplicationGroups[0].NodeGroups[0].PrimaryEndpoint.Address"},
    "flotilla.ec2.file_system": {
        "file_system_id": "FileSystems[0].FileSystemId",
        "access_points": "AccessPoints[].{name: Name, id: AccessPointId}",
    },
    "flotilla.ec2.network_load_balancer": {"load_balancer_arn": "LoadBalancers[0].LoadBalancerArn", "dns_name": "LoadBalancers[0].DNSName"},
}

# Operations that change nothing in the account. Credentials of a profile, a role or single sign-on are fetched with the services named second.
READS = re.compile(r"^(Describe|Get|List|Head|Lookup|BatchGet|Search)")
SIGN_IN = frozenset({"sts", "sso", "sso-oidc", "signin"})

# Parameters of API calls that never appear in a plan, whatever the module thinks of them.
SECRET = re.compile(r"password|authtoken|secretstring|secretbinary|privatekey", re.IGNORECASE)


def is_unknown(value: Any) -> bool:
    """Whether something in this value is known only after the run."""
    if isinstance(value, Mapping):
        return any(is_unknown(one) for pair in value.items() for one in pair)
    if isinstance(value, (list, tuple, set)):
        return any(is_unknown(one) for one in value)
    return isinstance(value, str) and UNKNOWN in value


def get_path(data: Any, path: str) -> Any:
    """The value at a dotted path, or None."""
    for key in path.split("."):
        data = data.get(key) if isinstance(data, Mapping) else None
    return data


def fill(result: dict[str, Any], paths: Mapping[str, str], find: Callable[[str], Any]) -> dict[str, Any]:
    """Put what `find` answers (UNKNOWN for nothing) at each path of the result that has no value; in place."""
    for path, expression in paths.items():
        if get_path(result, path) is not None:
            continue
        *parents, last = path.split(".")
        place = result
        for key in parents:
            if not isinstance(place.get(key), dict):
                place[key] = {}
            place = place[key]
        place[last] = (find(expression) if expression else None) or UNKNOWN
    return result


def masked(value: Any) -> Any:
    """Parameters of a call as a plan may show them."""
    if isinstance(value, Mapping):
        return {key: _shown(str(key), one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [masked(one) for one in value]
    if isinstance(value, (bytes, bytearray)):
        return "(binary)"
    return value


def _shown(key: str, value: Any) -> Any:
    """One parameter; of user data, which is a page of base64, its size and sum."""
    if SECRET.search(key):
        return "(hidden)"
    if key == "UserData" and isinstance(value, str):
        return f"({len(value)} characters, sha256 {hashlib.sha256(value.encode()).hexdigest()[:12]})"
    return masked(value)


def _same_group(parameters: Mapping[str, Any], read: Callable[..., Any]) -> bool:
    """Whether UpdateAutoScalingGroup asks for what the group already is; amazon.aws.autoscaling_group calls it on each run."""
    groups = read("DescribeAutoScalingGroups", AutoScalingGroupNames=[parameters["AutoScalingGroupName"]])["AutoScalingGroups"]
    if not groups:
        return False

    def plain(key: str, value: Any) -> Any:
        if key == "VPCZoneIdentifier":
            return sorted(value.split(","))
        if key == "LaunchTemplate":
            return {name: value.get(name) for name in ("LaunchTemplateId", "Version")}
        return sorted(value) if isinstance(value, list) else value

    return all(key in groups[0] and plain(key, groups[0][key]) == plain(key, value) for key, value in parameters.items())


def _no_metrics(parameters: Mapping[str, Any], read: Callable[..., Any]) -> bool:
    groups = read("DescribeAutoScalingGroups", AutoScalingGroupNames=[parameters["AutoScalingGroupName"]])["AutoScalingGroups"]
    return bool(groups) and not groups[0].get("EnabledMetrics")


def _absent_subnet_group(parameters: Mapping[str, Any], read: Callable[..., Any]) -> bool:
    """rds_subnet_group deletes without looking, and goes by the error of a group that is not there; so does the read."""
    read("DescribeDBSubnetGroups", **parameters)
    return False


# Writes that stock modules send although nothing differs: (service, operation) -> whether this call would change nothing.
IDLE: dict[tuple[str, str], Callable[[Mapping[str, Any], Callable[..., Any]], bool]] = {
    ("autoscaling", "UpdateAutoScalingGroup"): _same_group,
    ("rds", "DeleteDBSubnetGroup"): _absent_subnet_group,
    ("autoscaling", "DisableMetricsCollection"): _no_metrics,
}

# Operations that are never sent for a module, not even in a run. A release suspends processes of its group; provisioning must not resume them,
# and the module restates them on each run.
NEVER: dict[str, Iterable[str]] = {
    "amazon.aws.autoscaling_group": ("SuspendProcesses", "ResumeProcesses"),
}

# Modules that have nothing to do when this argument is empty and what they would look at does not exist yet.
NOTHING_WITHOUT: dict[str, str] = {
    "flotilla.ec2.listener_rules": "rules",
}

# Fixed pauses of modules: module -> (seconds, what ends the pause before). A pause whose end is a call's own effect lasts until a read has shown it
# twice; one that only makes a module's result newer, which nothing here reads, is left out.
PAUSES: dict[str, tuple[float, Pause | None]] = {
    "amazon.aws.ec2_vpc_route_table": (5, None),
    "amazon.aws.ec2_security_group": (3, Pause("CreateSecurityGroup", "DescribeSecurityGroups", lambda made: {"GroupIds": [made["GroupId"]]})),
}

# Deprecations that a module announces whatever the task says, of return values that nothing here reads.
QUIET: dict[str, str] = {
    "amazon.aws.iam_role": "assume_role_policy_document_raw",
}
