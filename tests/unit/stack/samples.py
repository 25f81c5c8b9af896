"""Good stack files, hello's own and one that uses every key, and good environments."""

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

# Every capability of a stack file.
WHOLE: dict[str, Any] = {
    "name": "whole",
    "services": {
        "web": {
            "image": "whole/web",
            "fleet": "web",
            "port": 8080,
            "exposure": "public",
            "health": {"path": "/healthz"},
            "media": "/srv/media",
            "environment": {
                "API_URL": "${service.api.url}",
                "MEDIA": "${media.path}",
                "CACHE_HOST": "${cache.host}",
                "PLACE": "${stack.name} in ${environment.name}",
                "LOG_LEVEL": "info",
            },
            "secrets": {"cache_token": "${cache.token}"},
        },
        "admin": {
            "image": "whole/web",
            "fleet": "web",
            "port": 8081,
            "exposure": "public",
            "paths": ["/admin/*"],
            "health": {"path": "/healthz"},
        },
        "api": {
            "image": "whole/api",
            "fleet": "api",
            "port": 4567,
            "exposure": "internal",
            "health": {"path": "/ready"},
            "schema": "sums",
            "environment": {
                "REDIS": "redis://${service.redis.host}:${service.redis.port}",
                "DATABASE_HOST": "${database.host}",
                "DATABASE_NAME": "${database.name}",
                "LOG_LEVEL": "info",
            },
            "secrets": {"database_password": "${database.password}", "UPLOAD_SECRET": "${secret.upload_secret}"},
            "migration": {"command": ["python", "-m", "app.migrate"]},
            "console": {"irb": ["irb", "-r", "./application.rb"]},
        },
        "redis": {
            "image": "whole/redis",
            "fleet": "state",
            "port": 6379,
            "exposure": "internal",
            "protocol": "tcp",
            "strategy": "recreate",
            "volumes": [{"name": "data", "path": "/data", "size_gb": 8}],
        },
        "job": {"image": "whole/api", "fleet": "api", "port": 9100},
    },
    "fleets": {"web": None, "api": None, "state": {"min": 1, "max": 1}},
    "database": {"engine": "mysql", "schemas": ["whole", "sums"]},
    "cache": {"engine": "redis"},
    "media": True,
    "secrets": {"upload_secret": None},
}
WHOLE_ENVIRONMENT: dict[str, Any] = {
    **ENVIRONMENT,
    "cache": {"certificate_authority_file": "/keys/ca.pem"},
    "variables": {"web": {"LOG_LEVEL": "debug"}},
    "developers": [{"name": "ada", "public_key": "ssh-ed25519 AAAA ada"}],
}
