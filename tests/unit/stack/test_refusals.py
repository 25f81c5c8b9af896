"""What is refused, and how: each bad stack file or environment names the key, the value seen and the fix."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from ansible_collections.flotilla.ec2.plugins.module_utils.stack.model import load
from ansible_collections.flotilla.ec2.plugins.module_utils.stack.validate import StackError

from .samples import ENVIRONMENT, STACK, WHOLE, WHOLE_ENVIRONMENT

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


MORNING = {"name": "morning", "cron": "0 7 * * 1-5", "time_zone": "Europe/Berlin", "min": 3}
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
    (f"{WEB}.strategy", "bluegreen", (f"stack: {WEB}.strategy: 'bluegreen'", "did you mean 'blue_green'?")),
    (f"{WEB}.green_port", 8081, (f"stack: {WEB}.green_port: only strategy: blue_green has a second port", "rolling")),
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
    (f"{WEB}.schedule", [], (f"stack: {WEB}.schedule: not supported yet", "leave it out")),
    (f"{WEB}.release.batches", [], (f"stack: {WEB}.release.batches: []", "at least 1")),
    (f"{WEB}.release.batches", ["200%"], (f"stack: {WEB}.release.batches[0]: '200%'", "at most 100%")),
    (f"{WEB}.release.batches", ["half"], (f"stack: {WEB}.release.batches[0]: 'half'", "25%")),
    (f"{WEB}.release.min_healthy", 2, (f"stack: {WEB}.release.min_healthy: 2 hosts must stay", "fleets.web.min")),
    ("services.api", {**SECOND, "port": 8080}, ("stack: services.api.port: 8080 is taken on fleet web by service web",)),
    ("services.api", {**SECOND, "exposure": "public", "health": {"path": "/"}}, ("stack: services: web, api are all public", "hosts: or paths:")),
    ("fleets.spare", {}, ("stack: fleets.spare: no service runs on this fleet",)),
    ("fleets.web.min", 5, ("stack: fleets.web.min: 5 is more than max (4)",)),
    ("fleets.web.min", 0, ("stack: fleets.web.min: 0 is out of range",)),
    ("fleets.web.instance_type", "large", ("stack: fleets.web.instance_type: 'large'", "t3.small")),
    ("fleets.web.scaling", {}, ("stack: fleets.web.scaling: says nothing; give cpu_percent, requests_per_target or a schedule",)),
    ("fleets.web.scaling", {"cpu": 60}, ("stack: fleets.web.scaling.cpu: unknown key; valid: cpu_percent, requests_per_target",)),
    ("fleets.web.scaling", {"cpu_percent": 120}, ("stack: fleets.web.scaling.cpu_percent: 120 is out of range", "between 5 and 95")),
    ("fleets.web", {"scaling": {"cpu_percent": 60}}, ("stack: fleets.web.scaling: min and max are both 2", "raise fleets.web.max")),
    ("fleets.web.scaling", {"cpu_percent": 60, "service": "web"}, ("stack: fleets.web.scaling.service: 'web', and no requests are counted",)),
    ("fleets.web.scaling", {"requests_per_target": 9, "service": "wep"}, ("stack: fleets.web.scaling.service: 'wep' does not run on this fleet",)),
    ("fleets.web.scaling", {"schedule": [{"name": "a", "cron": "7 am"}]}, ("schedule[0].cron: '7 am'", "schedule[0].min: missing")),
    ("fleets.web.scaling", {"schedule": [{**MORNING, "cron": "0 25 * * *"}]}, ("schedule[0].cron: '0 25 * * *': the hour is 25, and goes from 0 to 23",)),
    ("fleets.web.scaling", {"schedule": [{**MORNING, "min": 9}]}, ("schedule[0].min: 9 does not lie between the fleet's min (2) and max (4)",)),
    ("fleets.web.scaling", {"schedule": [MORNING, MORNING]}, ("fleets.web.scaling.schedule[1].name: 'morning' is named twice",)),
    ("fleets.web.scaling", {"schedule": [MORNING], "scale_in": False}, ("stack: fleets.web.scaling.scale_in: false is about cpu_percent",)),
    (f"{WEB}.database_connections", 100, (f"stack: {WEB}.database_connections: 400 connections", "db.t3.micro allows about 54", "db.t3.large or larger")),
    ("database", GONE, ("${database.host} needs a database", "database: {engine: mysql}")),
    ("database.engine", "postgres", ("stack: database.engine: 'postgres'", "mysql")),
    ("database.privileges", ["SUPER"], ("stack: database.privileges[0]: 'SUPER'", "SELECT")),
    ("alarms", {}, ("stack: alarms: not supported yet",)),
]

API, REDIS, JOB = "services.api", "services.redis", "services.job"

# The same, of the stack that uses everything (samples.WHOLE).
WHOLES: list[tuple[str, Any, tuple[str, ...]]] = [
    (f"{API}.exposure", "none", ("${service.api.url} leads to a service with exposure none", "exposure: internal")),
    (f"{API}.protocol", "tcp", (f"stack: {API}.health.path: a tcp service is healthy when it takes connections",)),
    (f"{API}.health", GONE, (f"stack: {API}.health.path: missing; an internal service",)),
    (f"{API}.hosts", ["a.example.org"], (f"stack: {API}.hosts: only public services have hosts", "exposure: public")),
    (f"{API}.environment.SELF", "${service.api.url}", ("${service.api.url} is the service itself",)),
    (f"{API}.environment.OTHER", "${service.web.url}", ("${service.web.url} leads to a service with exposure public",)),
    (f"{API}.environment.OTHER", "${service.redis.url}", ("did you mean 'service.redis.", "There are database.host", "service.redis.port", "environment.name")),
    (f"{API}.environment.OTHER", "${cache.hosts}", ("${cache.hosts} names nothing; did you mean 'cache.host'? There are database.host",)),
    (f"{API}.environment.OTHER", "${media.path}", ("${media.path} needs the service's place for media",)),
    (f"{API}.environment.OTHER", "${secret.upload}", ("${secret.upload} is a secret", "OTHER: ${secret.upload}")),
    (f"{API}.environment.UPLOAD_SECRET", "changeme", ("UPLOAD_SECRET: 'changeme' is a well-known default", "UPLOAD_SECRET: ${secret.upload_secret}")),
    (f"{API}.environment.ADMIN_PASSWORD", "123456", ("'123456' is a well-known default",)),
    (
        f"{API}.secrets.key",
        "${secret.uplod}",
        ("${secret.uplod} names no secret of the stack", "There are database.password, cache.token, secret.upload_secret"),
    ),
    (f"{API}.secrets.LOG_LEVEL", "${cache.token}", (f"stack: {API}.secrets.LOG_LEVEL: the name stands in environment too",)),
    (f"{API}.secrets.Token", "${cache.token}", (f"stack: {API}.secrets.Token: 'Token'", "capital ones")),
    (f"{API}.schema", "sumz", (f"stack: {API}.schema: 'sumz' is no schema of the database; did you mean 'sums'?",)),
    (f"{JOB}.schema", "sums", (f"stack: {JOB}.schema: 'sums', and the service does not refer to the database",)),
    ("database.name", "whole", ("stack: database.schemas: both name and schemas",)),
    ("database.schemas", ["sums", "sums"], ("stack: database.schemas[1]: 'sums' is named twice",)),
    (f"{REDIS}.exposure", "public", (f"stack: {REDIS}.protocol: tcp with exposure public",)),
    (f"{REDIS}.strategy", "rolling", (f"stack: {REDIS}.volumes: a volume is on one host", "strategy: recreate")),
    ("fleets.state.max", 2, (f"stack: {REDIS}.strategy: recreate is for one host, and fleet state has 1 to 2", "fleets.state: {min: 1, max: 1}")),
    (f"{REDIS}.volumes.0.size_gb", 0, (f"stack: {REDIS}.volumes[0].size_gb: 0 is out of range",)),
    (f"{REDIS}.volumes.0.path", "/tmp", (f"stack: {REDIS}.volumes[0].path: '/tmp' is taken by tmpfs[0]",)),
    (f"{REDIS}.port", 9000, ()),
    (f"{JOB}.exposure", "internal", (f"stack: {JOB}.exposure: internal, and no service refers to it", "${service.job.url}")),
    (f"{JOB}.media", "/m", ()),
    (f"{JOB}.migration", {"command": ["x"]}, (f"stack: {JOB}.migration: api has one for the same image",)),
    (f"{API}.migration", {"command": []}, (f"stack: {API}.migration.command: []", "at least 1")),
    (f"{API}.console", {"irb": []}, (f"stack: {API}.console.irb: []", "at least 1")),
    (f"{API}.console", {"irb": [""]}, (f"stack: {API}.console.irb[0]: ''",)),
    ("services.admin.paths", [], ("stack: services: web, admin are all public",)),
    ("services.admin.paths", ["admin"], ("stack: services.admin.paths[0]: 'admin'", "/api/*")),
    ("services.admin.hosts", ["Admin"], ("stack: services.admin.hosts[0]: 'Admin'", "api.example.org")),
    ("services.admin.hosts", [f"{name}.example.org" for name in "abcde"], ("stack: services.admin: hosts and paths have more than 5",)),
    ("services.web.paths", ["/admin/*"], ("stack: services.admin: its hosts and paths are those of web",)),
    ("services.web.media", GONE, ("stack: media: no service uses it", "${media.path} needs")),
    ("media", GONE, ("stack: services.web.media: the stack has no shared media; add media: {}",)),
    ("media", {"size": 1}, ("stack: media.size: unknown key; it has none",)),
    ("cache", GONE, ("${cache.host} needs a cache", "cache: {engine: redis}")),
    ("cache.engine", "memcached", ("stack: cache.engine: 'memcached'", "redis")),
    ("secrets.unused", {}, ("stack: secrets.unused: no service takes it",)),
    ("secrets.upload_secret", {"length": 4}, ("stack: secrets.upload_secret.length: 4 is out of range",)),
    ("fleets.int", {}, ("stack: fleets.int: the name is taken",)),
    ("network", {"vpc": {}}, ("stack: network.vpc: missing; give {id: vpc-", "stack: network.public_subnets: missing")),
    ("network", {"vpc": {"id": "vpc-0123456789abcdef0", "tags": {"a": "b"}}}, ("stack: network.vpc: both id and tags",)),
    ("network", {"private_subnets": {"ids": ["subnet-0123456789abcdef0"]}}, ("stack: network.private_subnets.ids:", "is one subnet")),
    ("registry.adopt", "yes", ("stack: registry.adopt: 'yes' is neither true nor false",)),
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
    ("network.cidr", GONE, ("environment: network.cidr: missing", "adopt: {vpc: {id: vpc-…}}")),
    ("network.adopt", {"vpc": {"tags": {"Name": "main"}}}, ("environment: network.adopt.public_subnets: missing",)),
    (
        "network",
        {"adopt": {"vpc": {"tags": {"Name": "main"}}}, "subnets": [{"public": "10.0.0.0/24", "private": "10.0.1.0/24"}] * 2},
        ("environment: network.subnets: given with adopt",),
    ),
    ("variables", {"wep": {"A": "b"}}, ("environment: variables.wep: the stack has no such service", "did you mean 'web'?")),
    ("variables", {"web": {"TOKEN": "secret"}}, ("environment: variables.web.TOKEN: 'secret' is a well-known default",)),
    ("variables", {"web": {"A": "${database.x}"}}, ("environment: variables.web.A: ${database.x} names nothing",)),
    ("developers", [{"name": "ada", "public_key": "key"}], ("environment: developers[0].public_key: 'key'", "ssh-ed25519")),
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


@pytest.mark.parametrize(("path", "value", "texts"), WHOLES, ids=[f"{path}={str(value)[:30]}" for path, value, _ in WHOLES])
def test_a_bad_stack_file_with_everything_is_refused(path: str, value: Any, texts: tuple[str, ...]) -> None:
    if not texts:
        load(changed(WHOLE, path, value), WHOLE_ENVIRONMENT)
        return
    message = refusal(changed(WHOLE, path, value), WHOLE_ENVIRONMENT)
    for text in texts:
        assert text in message


# the same, of a stack whose web service has two colours
COLOURED: list[tuple[str, Any, tuple[str, ...]]] = [
    (f"{WEB}.exposure", "none", (f"stack: {WEB}.strategy: blue_green shifts the requests of a load balancer", "exposure: none")),
    (f"{WEB}.green_port", 8080, (f"stack: {WEB}.green_port: 8080 is port too",)),
    (f"{WEB}.green_port", 22, (f"stack: {WEB}.green_port: 22 is the hosts' ssh port",)),
    (f"{WEB}.port", 65535, (f"stack: {WEB}.green_port: missing; port + 1 would be 65536",)),
    ("services.api", {**SECOND, "port": 8081}, ("stack: services.api.port: 8081 is taken on fleet web by service web",)),
    ("services.web-green", SECOND, ("stack: services.web-green: web-green is the green colour of web",)),
    (f"{WEB}.release.weights", [50, 10, 100], (f"stack: {WEB}.release.weights: [50, 10, 100] must rise step by step and end with 100",)),
    (f"{WEB}.release.weights", [10, 50], (f"stack: {WEB}.release.weights: [10, 50] must rise", "end with 100")),
    (f"{WEB}.release.weights", [0, 100], (f"stack: {WEB}.release.weights[0]: 0 is out of range",)),
    (f"{WEB}.release.max_failures", 1, (f"stack: {WEB}.release.max_failures: 1 is for strategy: rolling", "leave it out")),
    (f"{WEB}.release.pause_seconds", 30, (f"stack: {WEB}.release.pause_seconds: 30 is for strategy: rolling", "set bake_seconds")),
    ("fleets.web.scaling", {"requests_per_target": 100}, ("fleets.web.scaling.requests_per_target: the requests of web are not counted", "two target groups")),
    (f"{WEB}.database_connections", 10, (f"stack: {WEB}.database_connections: 80 connections", "x 2 colours", "lower fleets.web.max to 2")),
    (f"{WEB}.release.alarms", "errors", (f"stack: {WEB}.release.alarms: 'errors' is not a list",)),
    (f"{WEB}.release.bake_second", 5, (f"stack: {WEB}.release.bake_second: unknown key", "did you mean 'bake_seconds'?")),
]


@pytest.mark.parametrize(("path", "value", "texts"), COLOURED, ids=[f"{path}={str(value)[:30]}" for path, value, _ in COLOURED])
def test_a_bad_stack_file_with_two_colours_is_refused(path: str, value: Any, texts: tuple[str, ...]) -> None:
    message = refusal(changed(changed(STACK, f"{WEB}.strategy", "blue_green"), path, value), ENVIRONMENT)
    for text in texts:
        assert text in message


def test_two_internal_services_need_ports_of_their_own() -> None:
    stack = changed(WHOLE, "services.second", {**WHOLE["services"]["api"], "fleet": "web", "migration": None, "schema": None})
    stack = changed(stack, "services.web.environment.SECOND_URL", "${service.second.url}")
    assert "services.second.port: 4567 is the internal load balancer's port for service api already" in refusal(stack, WHOLE_ENVIRONMENT)


def test_a_cache_needs_its_size() -> None:
    assert "environment: cache: missing" in refusal(WHOLE, ENVIRONMENT)


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
