"""Where a cloud listens, which addresses it hands out and where it keeps its files."""

from __future__ import annotations

import hashlib
import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
ACCOUNT = "123456789012"  # moto's account
REGION = "eu-central-1"
LONGEST_CHECKOUT = 64  # of 108 bytes: /.ansible/cp/, ten characters of ansible's and seventeen of ssh's follow
CGROUPS = Path("/sys/fs/cgroup")
BENCHMARKS = ipaddress.ip_network("198.18.0.0/15")  # RFC 2544: nobody's network


class SettingsError(ValueError):
    """A setting that cannot work; the text names it, the value seen and the fix."""


@dataclass(frozen=True)
class Settings:
    """One cloud. Several may run side by side when their ports, state directories and networks differ."""

    port: int
    state: Path
    network: str
    account: str = ACCOUNT
    region: str = REGION
    cgroup: str = ""  # of guests: 1, 2, or as their image has it

    @property
    def metadata_port(self) -> int:
        """Port of the instance metadata service, on the gateway address of each VPC."""
        return self.port + 1

    @property
    def push_port(self) -> int:
        """Port of the registry on 127.0.0.1."""
        return self.port + 2

    @property
    def http_port(self) -> int:
        """Published port 80 of the first load balancer."""
        return self.port + 3

    @property
    def https_port(self) -> int:
        """Published port 443 of the first load balancer."""
        return self.port + 4

    @property
    def identity(self) -> str:
        """Eight characters that name this cloud in labels and container names: a cloud is its state directory."""
        return hashlib.sha256(str(self.state).encode()).hexdigest()[:8]

    @property
    def endpoint(self) -> str:
        """URL of the API on this machine."""
        return f"http://127.0.0.1:{self.port}"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Settings:
        """Read FLOTILLA_CLOUD_PORT, FLOTILLA_CLOUD_STATE, FLOTILLA_CLOUD_NETWORK and FLOTILLA_CLOUD_CGROUP. SettingsError names the one that is wrong."""
        given = environment.get("FLOTILLA_CLOUD_PORT") or "4577"
        if not given.isdigit() or not 1024 <= int(given) <= 65000:
            raise SettingsError(f"FLOTILLA_CLOUD_PORT: {given!r} is not a port between 1024 and 65000; leave it out for 4577")
        network = environment.get("FLOTILLA_CLOUD_NETWORK") or "198.18.0.0/16"
        try:
            ipaddress.ip_network(network)
        except ValueError as error:
            raise SettingsError(f"FLOTILLA_CLOUD_NETWORK: {error}; leave it out for 198.18.0.0/16, or take a part of {BENCHMARKS}") from error
        state = Path(environment.get("FLOTILLA_CLOUD_STATE") or CHECKOUT / "build" / "cloud")
        cgroup = environment.get("FLOTILLA_CLOUD_CGROUP") or ""
        if cgroup not in ("", "1", "2"):
            raise SettingsError(f"FLOTILLA_CLOUD_CGROUP: {cgroup!r} is no version of cgroups; leave it out for that of each image, or take 1 or 2")
        if cgroup == "1" and (CGROUPS / "cgroup.controllers").exists():
            raise SettingsError("FLOTILLA_CLOUD_CGROUP: this machine has version 2 of cgroups alone; leave it out, or take 2")
        return cls(int(given), state.resolve(), network, cgroup=cgroup)

    def variables(self) -> dict[str, str]:
        """The environment in which boto3, ansible and the aws CLI speak to this cloud."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_ACCESS_KEY_ID": "local",
            # Ansible's modules mask this text wherever it stands in their results: it must be no part of a name (hello-local).
            "AWS_SECRET_ACCESS_KEY": "secret-of-no-account",
            "AWS_EC2_METADATA_DISABLED": "true",
            "FLOTILLA_CLOUD_PORT": str(self.port),
            "FLOTILLA_CLOUD_STATE": str(self.state),
            "FLOTILLA_CLOUD_NETWORK": self.network,
            "FLOTILLA_CLOUD_CGROUP": self.cgroup,
        }

    def shell_variables(self) -> dict[str, str]:
        """The same for a shell in the checkout."""
        sockets = {} if len(str(CHECKOUT)) <= LONGEST_CHECKOUT else {"ANSIBLE_SSH_CONTROL_PATH_DIR": "~/.ansible/cp"}
        return {**self.variables(), **sockets}
