"""The reference pages say what the specifications say."""

from __future__ import annotations

import subprocess
import sys

import yaml

from .samples import ROOT


def test_the_pages_are_up_to_date() -> None:
    done = subprocess.run([sys.executable, "tools/reference.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_both_inventories_have_the_same_keys_but_for_local_ones() -> None:
    """They differ in facts about the environment, never in what is done with them."""
    local, production = ((ROOT / "inventories" / name / "group_vars/all/connection.yml").read_text() for name in ("local", "production"))
    assert local == production
    hosts = [yaml.safe_load((ROOT / "inventories" / name / "aws_ec2.yml").read_text()) for name in ("local", "production")]
    for inventory in hosts:
        del inventory["filters"]["tag:flotilla:environment"]
    assert hosts[0] == hosts[1]
