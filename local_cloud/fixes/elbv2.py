"""Where moto's ELBv2 differs from AWS in ways that Ansible's modules or a caller notice."""

from __future__ import annotations

from typing import Any

from moto.elbv2 import models
from moto.elbv2.exceptions import DuplicateListenerError, DuplicateLoadBalancerName, ELBClientError, InvalidTargetError

PLAIN = ("HTTP", "TCP")  # protocols of listeners without TLS
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

# The same for a Network Load Balancer, and what a target group of TCP has besides.
NETWORK_ATTRIBUTES = {
    "access_logs.s3.enabled": "false",
    "dns_record.client_routing_policy": "any_availability_zone",
    "ipv6.deny_all_igw_traffic": "false",
    "load_balancing.cross_zone.enabled": "false",
    "secondary_ips.auto_assigned.per_subnet": "0",
    "zonal_shift.config.enabled": "false",
}
TCP_GROUP_ATTRIBUTES = {
    "deregistration_delay.connection_termination.enabled": "false",
    "proxy_protocol_v2.enabled": "false",
    "target_health_state.unhealthy.connection_termination.enabled": "true",
}
HTTP_GROUP_ONLY = ("load_balancing.algorithm.type", "slow_start.duration_seconds", "waf.fail_open.enabled")


def _complete_attributes() -> None:
    original, group = models.FakeLoadBalancer.__init__, models.FakeTargetGroup.__init__

    def init(self: Any, *args: Any, **options: Any) -> None:
        original(self, *args, **options)
        if self.type == "application":
            # Cross-zone load balancing is always on at the level of an Application Load Balancer.
            self.attrs = {**ATTRIBUTES, **self.attrs, "load_balancing.cross_zone.enabled": "true"}
        elif self.type == "network":
            self.attrs = {**NETWORK_ATTRIBUTES, **self.attrs}

    def group_init(self: Any, *args: Any, **options: Any) -> None:
        group(self, *args, **options)
        if self.protocol in ("TCP", "TLS"):
            # "Client IP preservation … is enabled by default … if the target group type is instance"; with ip and TCP it is not.
            kept = {name: value for name, value in self.attributes.items() if name not in HTTP_GROUP_ONLY}
            self.attributes = {**kept, **TCP_GROUP_ATTRIBUTES, "preserve_client_ip.enabled": str(self.target_type == "instance").lower()}

    models.FakeLoadBalancer.__init__, models.FakeTargetGroup.__init__ = init, group_init


def _balancers() -> None:
    create, set_groups = models.ELBv2Backend.create_load_balancer, models.ELBv2Backend.set_security_groups

    def create_load_balancer(self: Any, name: str, security_groups: Any, subnet_ids: Any, *args: Any, **options: Any) -> Any:
        # "A load balancer name must be unique within your set of ALBs and NLBs for the region"; "with the same settings, each call succeeds".
        for known in self.load_balancers.values():
            if known.name == name:
                wanted = [*(subnet_ids or []), *(one["SubnetId"] for one in options.get("subnet_mappings") or [])]
                asked = (options.get("scheme") or "internet-facing", options.get("loadbalancer_type") or "application", sorted(wanted))
                if asked == (known.scheme, known.type, sorted(subnet.id for subnet in known.subnets)):
                    return known
                raise DuplicateLoadBalancerName
        balancer = create(self, name, security_groups, subnet_ids, *args, **options)
        if balancer.type == "network":
            # loadbalancer/net/name/id, and name-id.elb.region.amazonaws.com
            del self.load_balancers[balancer.arn]
            tags = self.tagging_service.list_tags_for_resource(balancer.arn)["Tags"]
            balancer.arn = balancer.arn.replace(":loadbalancer/app/", ":loadbalancer/net/")
            self.load_balancers[balancer.arn] = balancer
            self.tagging_service.tag_resource(balancer.arn, tags)
            balancer.dns_name = f"{name}-{balancer.arn.rsplit('/', 1)[-1]}.elb.{self.region_name}.amazonaws.com"
        elif balancer.scheme == "internal":
            balancer.dns_name = f"internal-{balancer.dns_name}"
        return balancer

    def set_security_groups(self: Any, arn: str, sec_groups: list[str]) -> Any:
        balancer = self.load_balancers.get(arn)
        if balancer and balancer.type == "network" and not balancer.security_groups:
            # SetSecurityGroups: "You can't perform this operation on a Network Load Balancer unless you specified a security group … when you created"
            text = f"The load balancer '{balancer.name}' was created without security groups: none can be set for it"
            raise ELBClientError("InvalidConfigurationRequest", text)
        return set_groups(self, arn, sec_groups)

    models.ELBv2Backend.create_load_balancer, models.ELBv2Backend.set_security_groups = create_load_balancer, set_security_groups


def _no_policy_on_plain_listeners() -> None:
    """A listener without TLS has no SslPolicy; with one, elb_application_lb modifies it on each run."""
    create, modify = models.ELBv2Backend.create_listener, models.ELBv2Backend.modify_listener

    def create_listener(self: Any, load_balancer_arn: str, protocol: str, port: Any, *args: Any, **options: Any) -> Any:
        balancer = self.load_balancers.get(load_balancer_arn)
        if balancer and balancer.type == "network" and protocol != "TCP":
            raise ELBClientError("InvalidConfigurationRequest", f"the local cloud's network load balancers have listeners of TCP, not of {protocol}")
        # CreateListener: DuplicateListener, "A listener with the specified port already exists." (moto compares ports with ARNs)
        if balancer and any(int(one.port) == int(port) for one in balancer.listeners.values()):
            raise DuplicateListenerError()
        listener = create(self, load_balancer_arn, protocol, port, *args, **options)
        if listener.protocol in PLAIN:
            listener.ssl_policy = None
        return listener

    def modify_listener(self: Any, *args: Any, **options: Any) -> Any:
        listener = modify(self, *args, **options)
        if listener.protocol in PLAIN:
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
    _balancers()
    _no_policy_on_plain_listeners()
    _true_load_balancer_arns()
    _targets()
    _deletion_protection()
