"""Where moto's ELBv2 differs from AWS in ways that Ansible's modules or a caller notice."""

from __future__ import annotations

from typing import Any

from moto.elbv2 import models
from moto.elbv2.exceptions import DuplicateListenerError, ELBClientError, InvalidTargetError

# API reference, LoadBalancerAttribute: the attributes of an Application Load Balancer with their defaults. moto returns only a few, and
# elb_application_lb compares them all.
ATTRIBUTES = {
    "access_logs.s3.enabled": "false",
    "client_keep_alive.seconds": "3600",
    "connection_logs.s3.enabled": "false",
    "idle_timeout.timeout_seconds": "60",
    "ipv6.deny_all_igw_traffic": "false",
    "routing.http.desync_mitigation_mode": "defensive",
    "routing.http.drop_invalid_header_fields.enabled": "false",
    "routing.http.preserve_host_header.enabled": "false",
    "routing.http.x_amzn_tls_version_and_cipher_suite.enabled": "false",
    "routing.http.xff_client_port.enabled": "false",
    "routing.http.xff_header_processing.mode": "append",
    "routing.http2.enabled": "true",
    "waf.fail_open.enabled": "false",
    "zonal_shift.config.enabled": "false",
}


def _complete_attributes() -> None:
    original = models.FakeLoadBalancer.__init__

    def init(self: Any, *args: Any, **options: Any) -> None:
        original(self, *args, **options)
        if self.type == "application":
            # Cross-zone load balancing is always on at the level of an Application Load Balancer.
            self.attrs = {**ATTRIBUTES, **self.attrs, "load_balancing.cross_zone.enabled": "true"}

    models.FakeLoadBalancer.__init__ = init


def _no_policy_on_plain_listeners() -> None:
    """A listener without TLS has no SslPolicy; with one, elb_application_lb modifies it on each run."""
    create, modify = models.ELBv2Backend.create_listener, models.ELBv2Backend.modify_listener

    def create_listener(self: Any, load_balancer_arn: str, protocol: str, port: Any, *args: Any, **options: Any) -> Any:
        balancer = self.load_balancers.get(load_balancer_arn)
        # CreateListener: DuplicateListener, "A listener with the specified port already exists." (moto compares ports with ARNs)
        if balancer and any(int(one.port) == int(port) for one in balancer.listeners.values()):
            raise DuplicateListenerError()
        listener = create(self, load_balancer_arn, protocol, port, *args, **options)
        if listener.protocol == "HTTP":
            listener.ssl_policy = None
        return listener

    def modify_listener(self: Any, *args: Any, **options: Any) -> Any:
        listener = modify(self, *args, **options)
        if listener.protocol == "HTTP":
            listener.ssl_policy, listener.certificate, listener.certificates = None, None, []
        return listener

    models.ELBv2Backend.create_listener, models.ELBv2Backend.modify_listener = create_listener, modify_listener


def balancers_of(backend: Any, target_group_arn: str) -> list[str]:
    """The ARNs of the load balancers that have a listener or a rule forwarding to this target group, in the order of their creation."""
    found = []
    for balancer in list(backend.load_balancers.values()):
        actions = [action for listener in list(balancer.listeners.values()) for rule in list(listener.rules.values()) for action in rule.actions]
        # An action may name its group in TargetGroupArn, in ForwardConfig or in both.
        if any(target_group_arn in _groups(action.data) for action in actions):
            found.append(balancer.arn)
    return found


def _groups(action: dict[str, Any]) -> list[str]:
    named = [group["TargetGroupArn"] for group in (action.get("ForwardConfig") or {}).get("TargetGroups") or []]
    return [*named, action["TargetGroupArn"]] if action.get("TargetGroupArn") else named


def _true_load_balancer_arns() -> None:
    """TargetGroup.LoadBalancerArns follows the listeners; moto only ever appends to it, and not when a rule or listener is modified."""

    def get(self: Any) -> list[str]:
        return balancers_of(models.elbv2_backends[self.account_id][self.region_name], self.arn)

    def put(self: Any, value: list[str]) -> None:
        pass

    models.FakeTargetGroup.load_balancer_arns = property(get, put)
    models.ELBv2Backend._any_listener_using = lambda self, arn: bool(balancers_of(self, arn))


def _targets() -> None:
    register, deregister = models.FakeTargetGroup.register, models.FakeTargetGroup.deregister

    def register_known(self: Any, targets: list[dict[str, Any]]) -> None:
        for target in targets:
            # RegisterTargets: InvalidTarget when the instance does not exist or is not in the group's VPC.
            if self.target_type == "instance":
                instance = self.ec2_backend.get_instance_by_id(target["Id"])
                if instance is None or (instance.vpc_id and self.vpc_id and instance.vpc_id != self.vpc_id):
                    raise InvalidTargetError()
        register(self, targets)

    def deregister_known(self: Any, targets: list[dict[str, Any]]) -> None:
        # DeregisterTargets: "If the specified target does not exist, the action returns successfully."
        deregister(self, [target for target in targets if target["Id"] in self.targets])

    models.FakeTargetGroup.register, models.FakeTargetGroup.deregister = register_known, deregister_known


def _deletion_protection() -> None:
    original = models.ELBv2Backend.delete_load_balancer

    def delete_load_balancer(self: Any, arn: str) -> None:
        balancer = self.load_balancers.get(arn)
        if balancer and balancer.attrs.get("deletion_protection.enabled") == "true":
            # DeleteLoadBalancer: OperationNotPermitted.
            raise ELBClientError("OperationNotPermitted", f"Load balancer '{arn}' cannot be deleted because deletion protection is enabled")
        original(self, arn)

    models.ELBv2Backend.delete_load_balancer = delete_load_balancer


def apply() -> None:
    """Correct moto, once, before it serves."""
    _complete_attributes()
    _no_policy_on_plain_listeners()
    _true_load_balancer_arns()
    _targets()
    _deletion_protection()
