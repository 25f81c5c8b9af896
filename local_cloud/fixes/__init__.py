"""Where moto differs from AWS in ways that a module or a caller notices: one module a service, each correction with the behaviour it restores."""

from __future__ import annotations

import importlib
import os

SERVICES = ("ec2", "autoscaling", "elbv2", "rds", "ecr", "acm", "iam", "elasticache", "efs")


def apply() -> None:
    """Correct moto, once in a process, before it serves."""
    os.environ.setdefault("MOTO_IAM_LOAD_MANAGED_POLICIES", "true")
    for service in SERVICES:
        importlib.import_module(f".{service}", __package__).apply()
