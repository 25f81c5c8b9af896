# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Every key of an environment (`flotilla_environment`): the facts in which one inventory differs from another."""

from __future__ import annotations

from .spec import CIDR_TEXT, NAME, NAME_TEXT, VARIABLE, VARIABLE_TEXT, Key
from .stack_keys import ADOPTED, FLEET

CIDR = r"\d{1,3}(\.\d{1,3}){3}/\d{1,2}"
BLOCKS = Key("A block of addresses.", pattern=CIDR, pattern_text=CIDR_TEXT)

ENVIRONMENT = Key(
    "Where a stack runs and how large.",
    type="dict",
    keys={
        "name": Key(
            "Name of the environment; part of the names of everything that is made.",
            required=True,
            pattern=NAME,
            pattern_text=NAME_TEXT,
            minimum=2,
            maximum=12,
            example="production",
        ),
        "region": Key("AWS region.", required=True, pattern=r"[a-z]{2}(-[a-z]+)+-\d", pattern_text="a region such as eu-central-1"),
        "zones": Key(
            "Availability zones, two at least.",
            type="list",
            required=True,
            minimum=2,
            maximum=6,
            items=Key("A zone.", pattern=r"[a-z]{2}(-[a-z]+)+-\d[a-z]", pattern_text="a zone such as eu-central-1a"),
        ),
        "protected": Key("Destroying wants a typed confirmation, the database cannot be deleted and leaves a snapshot.", type="bool", default=True),
        "network": Key(
            "The VPC.",
            type="dict",
            required=True,
            keys={
                "cidr": Key(
                    "Its addresses; each zone gets a public and a private subnet of it. Needed unless a VPC is adopted.",
                    pattern=CIDR,
                    pattern_text=CIDR_TEXT,
                    example="10.20.0.0/16",
                ),
                "nat": Key("NAT gateways: `one`, `per_zone` (survives the loss of a zone) or `none`.", default="one", choices=("none", "one", "per_zone")),
                "subnets": Key(
                    "Subnets cut by hand, a pair for each zone in order. Default: equal parts of `cidr`.",
                    type="list",
                    items=Key(
                        "The subnets of one zone.",
                        type="dict",
                        keys={
                            "public": Key("Public subnet.", required=True, pattern=CIDR, pattern_text=CIDR_TEXT),
                            "private": Key("Private subnet.", required=True, pattern=CIDR, pattern_text=CIDR_TEXT),
                        },
                    ),
                ),
                "adopt": Key("A VPC that exists, instead of one of its own; goes before the stack file's `network`.", type="dict", keys=ADOPTED),
            },
        ),
        "ssh": Key(
            "How hosts are reached.",
            type="dict",
            required=True,
            keys={
                "user": Key("Login of the machine image.", default="admin"),
                "public_key_file": Key("Public key that opens the hosts; a file on the control node.", required=True),
                "private_key_file": Key("Private key, a file on the control node. Default: the ssh agent's."),
                "sources": Key("Blocks from which ssh is allowed.", type="list", default=[], items=BLOCKS),
                "jump": Key("Jump host for ssh, as in ProxyJump.", example="ops@bastion.example.com"),
            },
        ),
        "hosts": Key(
            "The machines.",
            type="dict",
            required=True,
            keys={
                "image": Key(
                    "Machine image: by id, or the newest one of a name.",
                    type="dict",
                    required=True,
                    keys={
                        "id": Key("Id of an AMI.", pattern=r"ami-[0-9a-f]{8,17}", pattern_text="an id such as ami-0123456789abcdef0"),
                        "name": Key("Name of an AMI, with wildcards.", example="debian-12-amd64-*"),
                        "owner": Key("Account that owns it.", pattern=r"\d{12}|amazon|self", pattern_text="twelve digits, amazon or self"),
                    },
                ),
                "aws_endpoint_url": Key(
                    "URL at which hosts reach the AWS API, when it is not the region's own.", pattern=r"https?://\S+", pattern_text="a URL"
                ),
                "root_volume_gb": Key("Size of a host's disk.", type="int", default=20, minimum=8, maximum=16384, unit="GiB"),
            },
        ),
        "registry": Key(
            "The image registry.",
            type="dict",
            default={},
            keys={
                "certificate_authority_file": Key("Authority that signed the registry's certificate, when hosts do not know it; a file on the control node."),
                "adopt": Key("The repositories exist already; goes before the stack file's `registry.adopt`.", type="bool"),
                "keep_images": Key("Images kept per repository.", type="int", default=30, minimum=5, maximum=1000),
            },
        ),
        "database": Key(
            "Size and care of the database. Needed when the stack has one.",
            type="dict",
            keys={
                "instance_class": Key("RDS instance class.", required=True, pattern=r"db\.[a-z0-9-]+\.[a-z0-9]+", pattern_text="a class such as db.t4g.micro"),
                "engine_version": Key("MySQL version.", default="8.4.6", pattern=r"8\.[04]\.\d+", pattern_text="a version such as 8.4.6"),
                "storage_gb": Key("Storage.", type="int", default=20, minimum=20, maximum=65536, unit="GiB"),
                "multi_az": Key("A standby in another zone.", type="bool", default=False),
                "backup_retention_days": Key("Days for which automatic backups are kept.", type="int", default=7, minimum=1, maximum=35, unit="days"),
                "certificate_authority_file": Key("Authorities that sign RDS certificates; a file on the control node.", required=True),
            },
        ),
        "cache": Key(
            "Size of the cache. Needed when the stack has one.",
            type="dict",
            keys={
                "node_type": Key(
                    "ElastiCache node type.", default="cache.t4g.micro", pattern=r"cache\.[a-z0-9-]+\.[a-z0-9]+", pattern_text="a type such as cache.t4g.micro"
                ),
                "engine_version": Key("Redis version.", default="7.1", pattern=r"7\.[01]|6\.2", pattern_text="a version such as 7.1"),
                "replicas": Key(
                    "Copies in other zones, one of which takes over; 0 is a cache that is away while its node is.", type="int", default=1, minimum=0, maximum=5
                ),
                "snapshot_retention_days": Key("Days for which daily snapshots are kept.", type="int", default=0, minimum=0, maximum=35, unit="days"),
                "certificate_authority_file": Key("Authorities that sign ElastiCache certificates; a file on the control node.", required=True),
            },
        ),
        "certificate": Key(
            "Certificate of the load balancer: an ARN of ACM, or a domain for which one is signed by itself (for trials).",
            type="dict",
            default={},
            keys={
                "arn": Key("Certificate in ACM.", pattern=r"arn:aws[a-z-]*:acm:\S+", pattern_text="an ARN of ACM"),
                "domain": Key(
                    "Name for a certificate signed by itself. Default: `<stack>.<environment>.internal`.",
                    pattern=r"[a-z0-9*]([a-z0-9.-]*[a-z0-9])?",
                    pattern_text="a host name",
                ),
            },
        ),
        "load_balancer": Key(
            "The public load balancer.",
            type="dict",
            default={},
            keys={
                "sources": Key("Blocks that may reach it.", type="list", default=["0.0.0.0/0"], minimum=1, items=BLOCKS),
                "idle_timeout_seconds": Key("Time after which an idle connection is closed.", type="int", default=60, minimum=1, maximum=4000, unit="seconds"),
                "deletion_protection": Key("Whether it must be unprotected before it can be deleted.", type="bool", default=False),
            },
        ),
        "variables": Key(
            "Environment variables that differ here from the stack file's, by service.",
            type="map",
            default={},
            pattern=NAME,
            pattern_text=NAME_TEXT,
            items=Key(
                "Variables of one service.",
                type="map",
                pattern=VARIABLE,
                pattern_text=VARIABLE_TEXT,
                items=Key("A string, a number or a boolean.", type="scalar"),
            ),
            example={"web": {"LOG_LEVEL": "debug"}},
        ),
        "developers": Key(
            "People who may open a service's console on the hosts, with an account of their own and no root.",
            type="list",
            default=[],
            items=Key(
                "A developer.",
                type="dict",
                keys={
                    "name": Key(
                        "Login.", required=True, pattern=r"[a-z][a-z0-9-]*", pattern_text="lower-case letters, digits and hyphens", maximum=31, example="ada"
                    ),
                    "public_key": Key(
                        "Public ssh key, one line.", required=True, pattern=r"(ssh|ecdsa|sk-)[^\n]+\n?", pattern_text="a line such as ssh-ed25519 AAAA…"
                    ),
                },
            ),
        ),
        "releases": Key(
            "Releases kept.",
            type="dict",
            default={},
            keys={"keep": Key("Releases kept per service on hosts and in records.", type="int", default=10, minimum=2, maximum=1000)},
        ),
        "notices": Key(
            "Who is told when a release begins, succeeds, fails or is refused.",
            type="dict",
            default={},
            keys={
                "sns_topic_arn": Key("SNS topic.", pattern=r"arn:aws[a-z-]*:sns:[a-z0-9-]+:\d{12}:\S+", pattern_text="the ARN of a topic"),
                "webhook_url": Key(
                    "Address that gets the record as JSON by POST; its `text` is for chat programs.",
                    pattern=r"https?://\S+",
                    pattern_text="an address such as https://hooks.example.org/…",
                ),
                "event_bus": Key(
                    "EventBridge bus, by name (`default`) or ARN; the event's source is `flotilla.release`.",
                    pattern=r"[A-Za-z0-9._/:-]+",
                    pattern_text="a name or an ARN",
                    example="default",
                ),
            },
        ),
        "fleets": Key(
            "Sizes that differ from the stack file's, by fleet.",
            type="map",
            default={},
            pattern=NAME,
            pattern_text=NAME_TEXT,
            items=Key(
                FLEET.description,
                type="dict",
                keys={
                    name: Key(
                        key.description,
                        key.type,
                        choices=key.choices,
                        minimum=key.minimum,
                        maximum=key.maximum,
                        pattern=key.pattern,
                        pattern_text=key.pattern_text,
                        keys=key.keys,
                    )
                    for name, key in FLEET.keys.items()
                    if not key.planned
                },
            ),
        ),
    },
)
