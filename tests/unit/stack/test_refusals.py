"""What is refused, and how: each bad stack file or environment names the key, the value seen and the fix."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from ansible_collections.flotilla.ec2.plugins.module_utils.stack.model import load
from ansible_collections.flotilla.ec2.plugins.module_utils.stack.validate import StackError

from .samples import ENVIRONMENT, STACK

GONE = "<gone>"


def changed(base: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy of base with the value at the dotted path set, or removed."""
    result = copy.deepcopy(base)
    *parents, last = path.split(".")
    place: Any = result
    for name in parents:
        place = place[int(name)] if isinstance(place, list) else place.setdefault(name, {})
    if value == GONE:
        del place[last]
    else:
        place[last] = value
    return result


SECOND = {"image": "hello/api", "port": 9000, "fleet": "web", "exposure": "none"}
WEB = "services.web"

# path changed, value, texts that the message must contain
STACKS: list[tuple[str, Any, tuple[str, ...]]] = [
    ("name", GONE, ("stack: name: missing", "hello")),
    ("name", "Hello", ("stack: name: 'Hello'", "lower-case letters")),
    ("name", 7, ("stack: name: 7 is not a string", 'quote it: "7"')),
    ("name", "a-name-that-is-too-long", ("stack: name:", "at most 16")),
    ("nme", "x", ("stack: nme: unknown key", "did you mean 'name'?")),
    ("servces", {}, ("stack: servces: unknown key", "did you mean 'services'?")),
    ("services", GONE, ("stack: services: missing",)),
    ("services", [], ("stack: services: [] is not a mapping",)),
    ("services", {}, ("stack: services: {}", "at least 1")),
    ("services.Web_1", SECOND, ("stack: services.Web_1: 'Web_1'", "lower-case letters")),
    (f"{WEB}.prot", 8080, (f"stack: {WEB}.prot: unknown key", "did you mean 'port'?")),
    (f"{WEB}.image", GONE, (f"stack: {WEB}.image: missing", "hello/web")),
    (f"{WEB}.image", "hello/web:v1", (f"stack: {WEB}.image: 'hello/web:v1'", "shop/web")),
    (f"{WEB}.port", "http", (f"stack: {WEB}.port: 'http' is not a whole number", "between 1 and 65535")),
    (f"{WEB}.port", 0, (f"stack: {WEB}.port: 0 is out of range", "between 1 and 65535")),
    (f"{WEB}.port", True, (f"stack: {WEB}.port: True is not a whole number",)),
    (f"{WEB}.port", 22, (f"stack: {WEB}.port: 22 is the hosts' ssh port", "8080")),
    (f"{WEB}.exposure", "publik", (f"stack: {WEB}.exposure: 'publik'", "did you mean 'public'?")),
    (f"{WEB}.strategy", "blue_green", (f"stack: {WEB}.strategy: 'blue_green'", "rolling")),
    (f"{WEB}.fleet", "wep", (f"stack: {WEB}.fleet: 'wep' is no fleet", "did you mean 'web'?")),
    (f"{WEB}.health", GONE, (f"stack: {WEB}.health.path: missing", "health: {path: /healthz}")),
    (f"{WEB}.health.path", "healthz", (f"stack: {WEB}.health.path: 'healthz'", "a path beginning with /")),
    (f"{WEB}.health.pth", "/", (f"stack: {WEB}.health.pth: unknown key", "did you mean 'path'?")),
    (f"{WEB}.health.interval_seconds", 1, (f"stack: {WEB}.health.interval_seconds: 1 is out of range", "between 5 and 300")),
    (f"{WEB}.health.timeout_seconds", 5, (f"stack: {WEB}.health.timeout_seconds: 5 is not less than interval_seconds (5)",)),
    (f"{WEB}.health.codes", "ok", (f"stack: {WEB}.health.codes: 'ok'", "200-299")),
    (f"{WEB}.grace_seconds", 4000, (f"stack: {WEB}.grace_seconds: 4000 is out of range", "between 1 and 3600")),
    (f"{WEB}.memory_mb", 1, (f"stack: {WEB}.memory_mb: 1 is out of range", "MiB")),
    (f"{WEB}.user", "0:0", (f"stack: {WEB}.user: '0:0'", "10001:10001")),
    (f"{WEB}.tmpfs", "/tmp", (f"stack: {WEB}.tmpfs: '/tmp' is not a list", "[/tmp]")),
    (f"{WEB}.tmpfs", ["tmp"], (f"stack: {WEB}.tmpfs[0]: 'tmp'", "beginning with /")),
    (f"{WEB}.environment", ["A=b"], (f"stack: {WEB}.environment: ['A=b'] is not a mapping",)),
    (f"{WEB}.environment.log-level", "x", (f"stack: {WEB}.environment.log-level: 'log-level'", "capital letters")),
    (f"{WEB}.environment.LIST", [1], (f"stack: {WEB}.environment.LIST: [1] is not a string",)),
    (f"{WEB}.environment.FLOTILLA_HOST", "x", (f"stack: {WEB}.environment.FLOTILLA_HOST:", "choose another")),
    (f"{WEB}.environment.API_PASSWORD", "x1", (f"stack: {WEB}.environment.API_PASSWORD:", "looks like a secret", "secrets:")),
    (f"{WEB}.environment.HOST", "${database.hots}", (f"stack: {WEB}.environment.HOST: ${{database.hots}} names nothing", "did you mean 'database.host'?")),
    (f"{WEB}.environment.PW", "${database.password}", (f"stack: {WEB}.environment.PW: ${{database.password}} is a secret", "secrets:")),
    (f"{WEB}.secrets.key", "abc", (f"stack: {WEB}.secrets.key: 'abc'", "${database.password}")),
    (f"{WEB}.secrets.key", "${database.pasword}", (f"stack: {WEB}.secrets.key: ${{database.pasword}} names nothing", "did you mean 'database.password'?")),
    (f"{WEB}.volumes", [], (f"stack: {WEB}.volumes: not supported yet", "leave it out")),
    (f"{WEB}.release.batches", [], (f"stack: {WEB}.release.batches: []", "at least 1")),
    (f"{WEB}.release.batches", ["200%"], (f"stack: {WEB}.release.batches[0]: '200%'", "at most 100%")),
    (f"{WEB}.release.batches", ["half"], (f"stack: {WEB}.release.batches[0]: 'half'", "25%")),
    (f"{WEB}.release.min_healthy", 2, (f"stack: {WEB}.release.min_healthy: 2 hosts must stay", "fleets.web.min")),
    ("services.api", {**SECOND, "port": 8080}, ("stack: services.api.port: 8080 is taken on fleet web by service web",)),
    ("services.api", {**SECOND, "exposure": "public", "health": {"path": "/"}}, ("stack: services: web, api are all public",)),
    ("fleets.spare", {}, ("stack: fleets.spare: no service runs on this fleet",)),
    ("fleets.web.min", 5, ("stack: fleets.web.min: 5 is more than max (4)",)),
    ("fleets.web.min", 0, ("stack: fleets.web.min: 0 is out of range",)),
    ("fleets.web.instance_type", "large", ("stack: fleets.web.instance_type: 'large'", "t3.small")),
    ("fleets.web.scaling", {}, ("stack: fleets.web.scaling: not supported yet",)),
    ("database", GONE, ("${database.host} needs a database", "database: {engine: mysql}")),
    ("database.engine", "postgres", ("stack: database.engine: 'postgres'", "mysql")),
    ("database.privileges", ["SUPER"], ("stack: database.privileges[0]: 'SUPER'", "SELECT")),
    ("cache", {}, ("stack: cache: not supported yet",)),
]

ENVIRONMENTS: list[tuple[str, Any, tuple[str, ...]]] = [
    ("region", "frankfurt", ("environment: region: 'frankfurt'", "eu-central-1")),
    ("zones", ["eu-central-1a"], ("environment: zones:", "at least 2")),
    ("zones", ["eu-central-1a", "eu-west-1b"], ("environment: zones[1]: 'eu-west-1b' is not a zone of eu-central-1",)),
    ("zones", ["eu-central-1a", "eu-central-1a"], ("environment: zones[1]: 'eu-central-1a' is named twice",)),
    ("protected", "maybe", ("environment: protected: 'maybe' is neither true nor false",)),
    ("network.cidr", "10.0.0.0", ("environment: network.cidr: '10.0.0.0'", "10.20.0.0/16")),
    ("network.cidr", "10.0.0.1/16", ("environment: network.cidr: '10.0.0.1/16'", "host bits are set", "write 10.0.0.0/16")),
    ("network.cidr", "10.0.0.0/8", ("environment: network.cidr: 10.0.0.0/8 cannot be a VPC", "/16 and /28")),
    ("network.cidr", "10.0.0.0/27", ("environment: network.cidr: 10.0.0.0/27 is too small", "/26 or larger")),
    ("network.cidr", "8.8.0.0/16", ("environment: network.cidr: 8.8.0.0/16 is not a private block",)),
    ("network.nat", "two", ("environment: network.nat: 'two'", "per_zone")),
    ("network.subnets", [{"public": "198.18.0.0/24", "private": "198.18.1.0/24"}], ("environment: network.subnets: 1 pairs for 2 zones",)),
    (
        "network.subnets",
        [{"public": "198.18.0.0/24", "private": "198.18.1.0/24"}, {"public": "198.18.1.128/25", "private": "10.0.0.0/24"}],
        (
            "network.subnets[1].public: 198.18.1.128/25 overlaps network.subnets[0].private",
            "network.subnets[1].private: 10.0.0.0/24 is outside of network.cidr",
        ),
    ),
    ("ssh.sources", ["0.0.0.0/0"], ("environment: ssh.sources[0]: 0.0.0.0/0 opens ssh to everyone",)),
    ("ssh.public_key_file", GONE, ("environment: ssh.public_key_file: missing",)),
    ("hosts.image", {}, ("environment: hosts.image: neither id nor name",)),
    ("hosts.image", {"name": "debian-12-*"}, ("environment: hosts.image.owner: missing",)),
    ("hosts.image.id", "ami-1", ("environment: hosts.image.id: 'ami-1'", "ami-0123456789abcdef0")),
    ("database", GONE, ("environment: database: missing",)),
    ("database.backup_retention_days", 0, ("environment: database.backup_retention_days: 0 is out of range", "between 1 and 35")),
    ("certificate", {"arn": "arn:aws:acm:x", "domain": "a.b"}, ("environment: certificate: both arn and domain",)),
    ("fleets.wep", {"min": 3}, ("environment: fleets.wep: the stack has no such fleet", "did you mean 'web'?")),
    ("name", "a-long-place", ("services.web: its target group would be",)),
    ("releses", {}, ("environment: releses: unknown key", "did you mean 'releases'?")),
]


def refusal(stack: Any, environment: Any, fleets: Any = None) -> str:
    with pytest.raises(StackError) as error:
        load(stack, environment, fleets)
    return str(error.value)


@pytest.mark.parametrize(("path", "value", "texts"), STACKS, ids=[f"{path}={str(value)[:30]}" for path, value, _ in STACKS])
def test_a_bad_stack_file_is_refused(path: str, value: Any, texts: tuple[str, ...]) -> None:
    message = refusal(changed(STACK, path, value), ENVIRONMENT)
    for text in texts:
        assert text in message


@pytest.mark.parametrize(("path", "value", "texts"), ENVIRONMENTS, ids=[f"{path}={str(value)[:30]}" for path, value, _ in ENVIRONMENTS])
def test_a_bad_environment_is_refused(path: str, value: Any, texts: tuple[str, ...]) -> None:
    stack = changed(STACK, "name", "a-long-name-too") if path == "name" else STACK
    if path == "name":
        stack = {**stack, "services": {"frontend": stack["services"]["web"]}}
        texts = tuple(text.replace("services.web", "services.frontend") for text in texts)
    message = refusal(stack, changed(ENVIRONMENT, path, value))
    for text in texts:
        assert text in message


def test_every_problem_is_told_at_once() -> None:
    stack = changed(changed(STACK, "nme", 1), f"{WEB}.port", "x")
    message = refusal(stack, changed(ENVIRONMENT, "region", "nowhere"))
    assert len(message.splitlines()) >= 3


def test_a_missing_stack_or_environment_says_what_to_give() -> None:
    assert "-e @examples/hello/stack.yml" in refusal(None, ENVIRONMENT)
    assert "-i inventories/local" in refusal(STACK, None)


def test_sizes_on_the_command_line_are_held_to_the_same_rules() -> None:
    assert "flotilla_fleets.web.min: 'two' is not a whole number" in refusal(STACK, ENVIRONMENT, {"web": {"min": "two"}})
    assert "flotilla_fleets.wob: the stack has no such fleet" in refusal(STACK, ENVIRONMENT, {"wob": {"min": 2}})
    assert "is more than max" in refusal(STACK, ENVIRONMENT, {"web": {"min": 9}})
