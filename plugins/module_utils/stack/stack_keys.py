# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Every key of a stack file (`flotilla_stack`)."""

from __future__ import annotations

from .spec import NAME, NAME_TEXT, PATH, PATH_TEXT, VARIABLE, VARIABLE_TEXT, Key, planned

COLUMN_TEXT = "lower-case letters, digits and underscores"
HOST = r"(\*\.)?[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)+"
_CRON_FIELD = r"(\*|[0-9A-Za-z]+(-[0-9A-Za-z]+)?)(/\d+)?"
CRON = rf"{_CRON_FIELD}(,{_CRON_FIELD})*( +{_CRON_FIELD}(,{_CRON_FIELD})*){{4}}"
ARGUMENT = Key("An argument.", type="scalar", minimum=1)
TAGS = Key("Tags that it carries.", type="map", default={}, items=Key("Value of the tag.", type="scalar"))

HEALTH = Key(
    "How the load balancer finds out whether the service is ready for traffic on a host.",
    type="dict",
    keys={
        "path": Key("Path that answers with one of `codes` when the service is ready.", pattern=PATH, pattern_text=PATH_TEXT, example="/healthz"),
        "interval_seconds": Key("Time between two checks.", type="int", default=5, minimum=5, maximum=300, unit="seconds"),
        "timeout_seconds": Key("Time after which a check has failed; less than the interval.", type="int", default=2, minimum=2, maximum=120, unit="seconds"),
        "healthy_threshold": Key("Passed checks in a row that bring an unhealthy host back.", type="int", default=2, minimum=2, maximum=10),
        "unhealthy_threshold": Key("Failed checks in a row that take a host out.", type="int", default=2, minimum=2, maximum=10),
        "codes": Key(
            "HTTP status codes that count as healthy.",
            default="200",
            pattern=r"\d{3}(-\d{3})?(,\d{3}(-\d{3})?)*",
            pattern_text='codes such as "200" or "200-299,301"',
        ),
    },
)

RELEASE = Key(
    "How a new release reaches the hosts.",
    type="dict",
    keys={
        "batches": Key(
            "Hosts at a time: numbers or percentages of the fleet, the last one repeated. The first batch is the canary.",
            type="list",
            default=[1, "100%"],
            minimum=1,
            items=Key(
                "A number of hosts or a percentage.", type="scalar", pattern=r"[1-9]\d*%?", pattern_text='a number of hosts or a percentage such as "25%"'
            ),
            example=[1, "25%"],
        ),
        "min_healthy": Key("Hosts that stay in service whatever happens.", type="int", default=1, minimum=1, maximum=1000),
        "min_healthy_seconds": Key(
            "Time for which a new release must be healthy on a host before the next one begins.", type="int", default=5, minimum=0, maximum=3600, unit="seconds"
        ),
        "healthy_deadline_seconds": Key(
            "Time within which a new release must be healthy on a host.", type="int", default=120, minimum=10, maximum=3600, unit="seconds"
        ),
        "pause_seconds": Key(
            "Time between two batches; the hosts of the first are watched all the while.", type="int", default=0, minimum=0, maximum=86400, unit="seconds"
        ),
        "max_failures": Key(
            "Hosts that may fail, or not answer, without failing the release. They are taken out of service and named; with one more all hosts go back.",
            type="int",
            default=0,
            minimum=0,
            maximum=1000,
        ),
        "auto_revert": Key("Whether hosts that have a new release go back too when it fails on another.", type="bool", default=True),
        "weights": Key(
            "With `blue_green`: the new colour's shares of the traffic, in percent, one after the other.",
            type="list",
            default=[10, 50, 100],
            minimum=1,
            maximum=20,
            items=Key("A share of the traffic.", type="int", minimum=1, maximum=100, unit="percent"),
            example=[5, 25, 100],
        ),
        "bake_seconds": Key(
            "With `blue_green`: time for which each share is watched before the next. CloudWatch knows of a minute only after it: where there was traffic "
            "before, its figures are waited for, up to three minutes more, unless this is 0.",
            type="int",
            default=60,
            minimum=0,
            maximum=86400,
            unit="seconds",
        ),
        "max_5xx_percent": Key(
            "With `blue_green`: by how many percentage points more of the new colour's answers may be 5xx than of the old one's.",
            type="int",
            default=1,
            minimum=0,
            maximum=100,
            unit="percentage points",
        ),
        "max_latency_percent": Key(
            "With `blue_green`: the new colour's latency (95 % are faster) at most, in percent of the old one's over the same time. "
            "Differences below 50 ms never count, nor does a colour that has had fewer than 100 requests.",
            type="int",
            default=200,
            minimum=100,
            maximum=10000,
            unit="percent",
        ),
        "alarms": Key(
            "Names of CloudWatch alarms that must not ring while the traffic is shifted (`blue_green`), nor while the fleet's hosts are replaced (patch.yml).",
            type="list",
            default=[],
            maximum=20,
            items=Key("An alarm.", minimum=1, maximum=255),
            example=["shop-checkout-failures"],
        ),
        "retire_after_seconds": Key(
            "With `blue_green`: time after which the old colour is stopped. Left out, it stays warm until the next release. "
            "Stopped, it is started again for a rollback.",
            type="int",
            minimum=0,
            maximum=604800,
            unit="seconds",
        ),
    },
)

SERVICE = Key(
    "A container that runs on every host of a fleet.",
    type="dict",
    keys={
        "image": Key(
            "Repository of its image in the stack's registry, without registry and tag.",
            required=True,
            pattern=r"[a-z0-9]+([._/-][a-z0-9]+)*",
            pattern_text="a repository such as shop/web",
            maximum=200,
            example="hello/web",
        ),
        "fleet": Key("Fleet whose hosts run it. May be left out when the stack has one fleet.", pattern=NAME, pattern_text=NAME_TEXT),
        "port": Key("Port of the host that reaches it.", type="int", required=True, minimum=1, maximum=65535, example=8080),
        "container_port": Key("Port that the program in the container listens on. Default: `port`.", type="int", minimum=1, maximum=65535),
        "green_port": Key(
            "With `strategy: blue_green`: port of the host that reaches the green colour; blue has `port`. Default: `port` + 1.",
            type="int",
            minimum=1,
            maximum=65535,
        ),
        "exposure": Key(
            "Who reaches it: `public` (everyone, through the load balancer), `internal` (the fleets of the services that refer to it, through an internal "
            "load balancer) or `none` (nobody).",
            default="none",
            choices=("public", "internal", "none"),
        ),
        "protocol": Key(
            "What it speaks. `tcp` is for internal services; whoever can connect finds it healthy.",
            default="http",
            choices=("http", "tcp"),
        ),
        "hosts": Key(
            "Host names at which a public service answers, where several share the load balancer. The first service in the file that fits wins.",
            type="list",
            default=[],
            maximum=5,
            items=Key(
                "A host name; `*.` in front stands for any.", pattern=HOST, pattern_text="a host name such as api.example.org or *.example.org", maximum=128
            ),
            example=["api.example.org"],
        ),
        "paths": Key(
            "Paths at which a public service answers, with the wildcards `*` and `?`.",
            type="list",
            default=[],
            maximum=5,
            items=Key("A path.", pattern=r"/[A-Za-z0-9_.$/~\"'@:+&*?-]*", pattern_text="a path such as /api/*", maximum=128),
            example=["/api/*"],
        ),
        "health": HEALTH,
        "strategy": Key(
            "How a release replaces the one before: `rolling` (host by host), `blue_green` (beside it on all hosts, then the traffic is shifted) "
            "or `recreate` (stop, then start: for one host whose state nobody else may touch).",
            default="rolling",
            choices=("rolling", "blue_green", "recreate"),
        ),
        "release": RELEASE,
        "environment": Key(
            "Environment of the container. Values may refer to what the stack has: `${database.host}`, `${service.api.url}`, `${cache.host}`, `${media.path}`, "
            "`${environment.name}`; a wrong reference is refused with a list of what there is.",
            type="map",
            pattern=VARIABLE,
            pattern_text=VARIABLE_TEXT,
            items=Key("A string, a number or a boolean.", type="scalar"),
            default={},
            example={"LOG_LEVEL": "info", "DATABASE_HOST": "${database.host}"},
        ),
        "secrets": Key(
            "Secrets of the container: name → where the value comes from (`${database.password}`, `${cache.token}`, `${secret.<name>}`). "
            "A lower-case name is a file below `/run/secrets`, a capital one an environment variable. "
            "Both live in memory and are read by the container's user alone.",
            type="map",
            pattern=r"[a-z][a-z0-9_]*|[A-Z][A-Z0-9_]*",
            pattern_text="lower-case letters, digits and underscores (a file), or capital ones (an environment variable)",
            items=Key("Where the value comes from.", pattern=r"\$\{[a-z0-9_.]+\}", pattern_text="a reference such as ${database.password}"),
            default={},
            example={"database_password": "${database.password}", "UPLOAD_SECRET": "${secret.upload_secret}"},
        ),
        "grace_seconds": Key(
            "Time that running requests get to finish when the service is stopped.", type="int", default=30, minimum=1, maximum=3600, unit="seconds"
        ),
        "drain_seconds": Key(
            "Time for which the load balancer lets running requests finish on a host that leaves service. Default: `grace_seconds`.",
            type="int",
            minimum=0,
            maximum=3600,
            unit="seconds",
        ),
        "memory_mb": Key("Memory that the container may use.", type="int", default=256, minimum=16, maximum=1048576, unit="MiB"),
        "user": Key(
            "User and group of the program, as numbers; never root.",
            default="10001:10001",
            pattern=r"[1-9]\d*:[1-9]\d*",
            pattern_text='two numbers such as "10001:10001", neither of them 0',
        ),
        "tmpfs": Key(
            "Directories that the program may write to; they are in memory and gone at a restart.",
            type="list",
            default=["/tmp"],
            items=Key("A path.", pattern=PATH, pattern_text=PATH_TEXT),
        ),
        "schema": Key("Schema of the database that its user may use. Default: the first.", pattern=r"[a-z][a-z0-9_]*", pattern_text=COLUMN_TEXT, maximum=32),
        "database_connections": Key(
            "Connections to the database that one container opens at most: its pool. With it, validation refuses fleets whose `max` hosts could open more than "
            "the database's instance class allows.",
            type="int",
            minimum=1,
            maximum=10000,
            unit="connections",
            example=10,
        ),
        "media": Key("Directory in the container at which the stack's shared media stand.", pattern=r"(/[^\s/:]+)+", pattern_text="a path such as /srv/media"),
        "volumes": Key(
            "Disks that outlive container, host and a changed stack file; with `strategy: recreate` on a fleet of one host, which then stays in one zone.",
            type="list",
            default=[],
            maximum=8,
            items=Key(
                "A disk (EBS, encrypted).",
                type="dict",
                keys={
                    "name": Key("Its name.", required=True, pattern=NAME, pattern_text=NAME_TEXT, maximum=20, example="data"),
                    "path": Key("Directory in the container.", required=True, pattern=r"(/[^\s/:]+)+", pattern_text="a path such as /data", example="/data"),
                    "size_gb": Key("Its size; it can grow, never shrink.", type="int", required=True, minimum=1, maximum=16384, unit="GiB", example=8),
                },
            ),
            example=[{"name": "data", "path": "/data", "size_gb": 8}],
        ),
        "migration": Key(
            "Program that runs once per release, in a container of the new one, before it takes traffic; when it fails, the release does.",
            type="dict",
            keys={
                "command": Key("Program and arguments.", type="list", required=True, minimum=1, items=ARGUMENT, example=["python", "-m", "app.migrate"]),
                "timeout_seconds": Key("Time that it may take.", type="int", default=300, minimum=1, maximum=7200, unit="seconds"),
            },
        ),
        "console": Key(
            "Interactive programs that developers may open in the running release, by name; no others.",
            type="map",
            default={},
            pattern=NAME,
            pattern_text=NAME_TEXT,
            items=Key("Program and arguments.", type="list", minimum=1, items=ARGUMENT),
            example={"irb": ["irb", "-r", "./application.rb"]},
        ),
        "schedule": planned("Jobs at set times"),
    },
)

SCALING = Key(
    "How the number of hosts follows the load, between `min` and `max`. Left out, people alone change it (`scale.yml`). See docs/scaling.md.",
    type="dict",
    keys={
        "cpu_percent": Key(
            "CPU that the fleet's hosts shall use on average: above it hosts are added, well below it they are taken away (target tracking).",
            type="int",
            minimum=5,
            maximum=95,
            unit="percent",
            example=60,
        ),
        "requests_per_target": Key(
            "Requests that each host shall answer in a minute, on average (target tracking). Of an http service behind a load balancer, without two colours: "
            "AWS counts them by target group.",
            type="int",
            minimum=1,
            maximum=10000000,
            unit="requests a minute",
            example=1200,
        ),
        "service": Key("Service whose requests are counted. May be left out when only one of the fleet's can be.", pattern=NAME, pattern_text=NAME_TEXT),
        "warmup_seconds": Key(
            "Time from the launch of a host until it carries its share. Until then its figures do not count, and no host is taken away: the cool-down after "
            "growing.",
            type="int",
            default=120,
            minimum=0,
            maximum=3600,
            unit="seconds",
        ),
        "scale_in": Key("Whether hosts are taken away too. With false the fleet grows by itself and people make it smaller.", type="bool", default=True),
        "schedule": Key(
            "Times from which on there are at least so many hosts. The last one that has come counts; `max` holds all the while. Without a target above the "
            "fleet has just so many from then on.",
            type="list",
            default=[],
            maximum=20,
            items=Key(
                "A time.",
                type="dict",
                keys={
                    "name": Key("Its name.", required=True, pattern=NAME, pattern_text=NAME_TEXT, maximum=40, example="morning"),
                    "cron": Key(
                        "When: minute, hour, day of the month, month, day of the week.",
                        required=True,
                        pattern=CRON,
                        pattern_text='five fields such as "0 7 * * 1-5"',
                        maximum=100,
                        example="0 7 * * 1-5",
                    ),
                    "time_zone": Key(
                        "Time zone of `cron`.",
                        default="Etc/UTC",
                        pattern=r"[A-Za-z]+(/[A-Za-z0-9_+-]+)+|UTC",
                        pattern_text="a zone such as Europe/Berlin",
                        maximum=60,
                    ),
                    "min": Key("Hosts at least from then on; the fleet's `min` or more.", type="int", required=True, minimum=1, maximum=1000, example=4),
                },
            ),
            example=[{"name": "morning", "cron": "0 7 * * 1-5", "time_zone": "Europe/Berlin", "min": 4}],
        ),
    },
)

FLEET = Key(
    "Hosts of one kind: an Auto Scaling group over all zones.",
    type="dict",
    keys={
        "instance_type": Key("EC2 instance type.", default="t3.small", pattern=r"[a-z][a-z0-9-]*\.[a-z0-9-]+", pattern_text="a type such as t3.small"),
        "min": Key("Hosts at least.", type="int", default=2, minimum=1, maximum=1000),
        "max": Key("Hosts at most. Default: `min`.", type="int", minimum=1, maximum=1000),
        "scaling": SCALING,
        "image": Key(
            "Image of new hosts: `base`, the environment's (`hosts.image`), or `baked`, the one that bake.yml has made of it; before the first, the base.",
            default="base",
            choices=("base", "baked"),
        ),
    },
)

DATABASE = Key(
    "One managed database (RDS), reached by the services that refer to it.",
    type="dict",
    keys={
        "engine": Key("Database engine.", required=True, choices=("mysql",)),
        "name": Key("Name of the only schema. Default: the stack's name.", pattern=r"[a-z][a-z0-9_]*", pattern_text=COLUMN_TEXT, maximum=32),
        "schemas": Key(
            "Names of the schemas, when there are several; the first is the default.",
            type="list",
            minimum=1,
            maximum=20,
            items=Key("A schema.", pattern=r"[a-z][a-z0-9_]*", pattern_text=COLUMN_TEXT, maximum=32),
        ),
        "privileges": Key(
            "What a service's user may do in the schema.",
            type="list",
            default=["SELECT", "INSERT", "UPDATE", "DELETE", "CREATE", "ALTER", "INDEX", "DROP", "REFERENCES"],
            minimum=1,
            items=Key(
                "A MySQL privilege on a schema.",
                choices=(
                    "SELECT", "INSERT", "UPDATE", "DELETE", "CREATE", "ALTER", "INDEX", "DROP", "REFERENCES", "EXECUTE", "TRIGGER", "EVENT",
                    "CREATE VIEW", "SHOW VIEW", "CREATE ROUTINE", "ALTER ROUTINE", "CREATE TEMPORARY TABLES", "LOCK TABLES",
                ),
            ),
        ),
    },
)  # fmt: skip


def _subnets(description: str) -> Key:
    return Key(
        description,
        type="dict",
        keys={
            "ids": Key(
                "Their ids.",
                type="list",
                default=[],
                items=Key("A subnet.", pattern=r"subnet-[0-9a-f]{8,17}", pattern_text="an id such as subnet-0123456789abcdef0"),
            ),
            "tags": TAGS,
        },
    )


ADOPTED = {
    "vpc": Key(
        "The VPC that exists, by id or by tags. It is used as it stands, and never changed or deleted.",
        type="dict",
        keys={
            "id": Key("Its id.", pattern=r"vpc-[0-9a-f]{8,17}", pattern_text="an id such as vpc-0123456789abcdef0"),
            "tags": TAGS,
        },
    ),
    "public_subnets": _subnets("Its subnets with a route to an internet gateway, in two zones at least; for the public load balancer."),
    "private_subnets": _subnets("Its subnets with a route to a NAT gateway, in two zones at least; for hosts and data."),
}

STACK = Key(
    "A system: its services, the fleets that run them and what they lean on.",
    type="dict",
    keys={
        "name": Key(
            "Name of the system; part of the names of everything that is made.",
            required=True,
            pattern=NAME,
            pattern_text=NAME_TEXT,
            minimum=2,
            maximum=16,
            example="hello",
        ),
        "services": Key("Its services by name.", type="map", required=True, minimum=1, pattern=NAME, pattern_text=NAME_TEXT, items=SERVICE),
        "fleets": Key("Its fleets by name.", type="map", required=True, minimum=1, pattern=NAME, pattern_text=NAME_TEXT, items=FLEET),
        "database": DATABASE,
        "cache": Key(
            "One cache (ElastiCache replication group, TLS and token), reached by the services that refer to it.",
            type="dict",
            keys={"engine": Key("Cache engine.", required=True, choices=("redis",))},
        ),
        "media": Key("A shared file store (EFS, encrypted) for the services with a `media` path; `media: {}`.", type="dict"),
        "secrets": Key(
            "Secrets that are generated once and kept in Secrets Manager; services take them as `${secret.<name>}`.",
            type="map",
            default={},
            pattern=r"[a-z][a-z0-9_]*",
            pattern_text=COLUMN_TEXT,
            items=Key(
                "A secret of letters and digits.",
                type="dict",
                keys={"length": Key("Its length.", type="int", default=32, minimum=16, maximum=128, unit="characters")},
            ),
            example={"upload_secret": {"length": 32}},
        ),
        "network": Key("A VPC that exists, instead of one of its own. An environment may name another (`network.adopt`).", type="dict", keys=ADOPTED),
        "registry": Key(
            "The image repositories.",
            type="dict",
            default={},
            keys={"adopt": Key("The repositories exist already: they are used as they stand, and never made, changed or deleted.", type="bool", default=False)},
        ),
        "domain": planned("Host names and DNS records"),
        "alarms": planned("CloudWatch alarms that stop a release"),
    },
)
