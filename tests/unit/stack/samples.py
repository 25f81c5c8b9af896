"""A good stack file, hello's own, and a good environment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[3]
STACK: dict[str, Any] = yaml.safe_load((ROOT / "examples" / "hello" / "stack.yml").read_text())["flotilla_stack"]
ENVIRONMENT: dict[str, Any] = {
    "name": "local",
    "region": "eu-central-1",
    "zones": ["eu-central-1a", "eu-central-1b"],
    "protected": False,
    "network": {"cidr": "198.18.0.0/16", "nat": "one"},
    "ssh": {"user": "admin", "public_key_file": "/keys/id.pub", "private_key_file": "/keys/id", "sources": ["198.18.0.0/16"]},
    "hosts": {"image": {"id": "ami-0f10711a00000012"}, "aws_endpoint_url": "http://198.18.0.1:4577"},
    "registry": {"certificate_authority_file": "/keys/ca.pem"},
    "database": {"instance_class": "db.t3.micro", "backup_retention_days": 1, "certificate_authority_file": "/keys/ca.pem"},
    "certificate": {"domain": "hello.flotilla.test"},
}
