"""The docker engine as the cloud uses it: containers, networks and files, all under the cloud's own label."""

from __future__ import annotations

import fcntl
import io
import os
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import docker
import docker.errors
import docker.types

LABEL = "flotilla.cloud"
OWNER = "flotilla.owner"
# Enough for systemd with a nested dockerd; SYS_TIME is left out because a guest would move the machine's clock with it.
GUEST_CAPABILITIES = ("SYS_ADMIN", "NET_ADMIN", "SYS_PTRACE")
Files = Mapping[str, "bytes | tuple[bytes, int]"]


class EngineError(Exception):
    """The docker engine cannot be used; the text names the fix."""


def connect() -> docker.DockerClient:
    """A client of the running engine. EngineError when there is none or it may not be used."""
    try:
        client = docker.from_env(timeout=120)
        client.ping()
    except (docker.errors.DockerException, OSError) as error:
        if "Permission denied" in str(error):
            raise EngineError("the docker engine may not be used by this user; fix: `sudo usermod -aG docker $USER`, then log in again") from error
        raise EngineError(f"no docker engine answers ({error}); fix: `make setup` as root starts one, or start your own") from error
    return client


def started(pid: int) -> str:
    """When a process started, in clock ticks after the boot; any user may ask. OSError when there is no such process."""
    state, *fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    if state == "Z":
        raise ProcessLookupError(f"process {pid} has ended")
    return fields[18]


def process_name() -> str:
    """A name of this process that no other has, before or after: boot/pid namespace/pid/start time."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    return f"{boot}/{os.readlink('/proc/self/ns/pid')}/{os.getpid()}/{started(os.getpid())}"


def ended(name: str) -> bool:
    """Whether the process of this name has ended for certain; one of another pid namespace may live."""
    boot, namespace, pid, start = name.split("/")
    here = process_name().split("/")
    if boot != here[0] or namespace != here[1]:
        return boot != here[0]
    try:
        return started(int(pid)) != start
    except OSError:
        return True


def archive(files: Files) -> bytes:
    """A tar of these files: path → content, or (content, mode)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for path, value in files.items():
            content, mode = value if isinstance(value, tuple) else (value, 0o644)
            name = path.lstrip("/")
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode, entry.mtime = len(content), mode, int(time.time())
            tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def loop_devices(part: str, directory: Path = Path("/sys/block")) -> dict[str, str]:
    """Loop devices of this machine whose file's path has this part: name → path."""
    found = {}
    for one in directory.glob("loop*/loop/backing_file"):
        try:
            path = one.read_text(encoding="utf-8", errors="replace").strip()
        except OSError:  # detached in between
            continue
        if part in path:
            found[one.parent.parent.name] = path
    return found


def free_loop_devices(part: str, say: Callable[[str], None], seconds: float = 5.0) -> None:
    """Wait until none is attached any more: they go with the guests. One that a guest was killed over while it attached it is detached here."""
    deadline = time.monotonic() + seconds
    while (left := loop_devices(part)) and time.monotonic() < deadline:
        time.sleep(0.1)
    for name in left:
        try:
            with open(f"/dev/{name}", "rb") as device:
                fcntl.ioctl(device, 0x4C01)  # LOOP_CLR_FD
        except OSError as error:
            say(f"loop device /dev/{name} stays attached ({error}); fix: `sudo losetup --detach /dev/{name}`")


class Engine:
    """The containers and networks of one cloud. `identity` is the value of the label."""

    def __init__(self, identity: str, client: docker.DockerClient | None = None) -> None:
        self.identity = identity
        self.client = client or connect()
        self.api = self.client.api
        self.labels = {LABEL: identity, OWNER: process_name()}

    # ---- containers

    def run(
        self,
        name: str,
        image: str,
        *,
        network: str | None = None,
        address: str | None = None,
        aliases: Sequence[str] = (),
        command: Sequence[str] | None = None,
        files: Files | None = None,
        environment: Mapping[str, str] | None = None,
        capabilities: Sequence[str] = (),
        tmpfs: Sequence[str] = (),
        volumes: Mapping[str, str] | None = None,
        devices: Sequence[str] = (),
        ports: Mapping[int, tuple[str, int]] | None = None,
        hosts: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
        restart: str | None = None,
        systemd: bool = False,
        hostname: str | None = None,
    ) -> str:
        """Create and start a container, replacing one of that name. Returns its id.

        `volumes`: volume name → path in it; `devices`: rules for device files that it may use.
        """
        self.remove(name)
        options: dict[str, Any] = {
            "cap_add": [*capabilities, *(GUEST_CAPABILITIES if systemd else ())],
            "tmpfs": dict.fromkeys([*tmpfs, *(("/run", "/run/lock") if systemd else ())], ""),
            "binds": [f"{volume}:{path}" for volume, path in (volumes or {}).items()],
            "port_bindings": dict(ports or {}),
            "extra_hosts": dict(hosts or {}),
            "device_cgroup_rules": list(devices),
        }
        if restart:
            options["restart_policy"] = {"Name": restart}
        if systemd:
            options["security_opt"] = ["seccomp=unconfined", "apparmor=unconfined"]
        configuration = self.api.create_host_config(**options)
        if systemd:
            configuration["CgroupnsMode"] = "private"
        networking = None
        if network:
            configuration["NetworkMode"] = network
            networking = self.api.create_networking_config({network: self.api.create_endpoint_config(ipv4_address=address, aliases=list(aliases))})
        made = self.api.create_container(
            image,
            list(command) if command else None,
            name=name,
            hostname=hostname,
            environment=dict(environment or {}),
            ports=list(ports or {}),
            labels={**self.labels, **(labels or {})},
            host_config=configuration,
            networking_config=networking,
        )
        identifier = str(made["Id"])
        if files:
            self.put(identifier, files)
        self.api.start(identifier)
        return identifier

    def exec(self, name: str, arguments: Sequence[str], input: bytes | str | None = None, timeout: float = 60.0) -> tuple[int, str]:
        """Run a command in a container: (exit code, output). Exit code 127 or above when the container is not running."""
        data = input.encode() if isinstance(input, str) else input
        done = subprocess.run(
            ["docker", "exec", *(["-i"] if data is not None else []), name, *arguments],
            input=data,
            stdin=subprocess.DEVNULL if data is None else None,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout,
            check=False,
        )
        return done.returncode, done.stdout.decode(errors="replace")

    def beside(self, name: str, image: str, arguments: Sequence[str], input: bytes) -> tuple[int, str]:
        """Run a command of another image in a container's network namespace, with NET_ADMIN."""
        options = ["--rm", "-i", "--network", f"container:{name}", "--cap-add", "NET_ADMIN", "--label", f"{LABEL}={self.identity}"]
        done = subprocess.run(
            ["docker", "run", *options, "--entrypoint", arguments[0], image, *arguments[1:]],
            input=input,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=60,
            check=False,
        )
        return done.returncode, done.stdout.decode(errors="replace")

    def put(self, name: str, files: Files) -> None:
        """Write files into a container, running or not."""
        self.api.put_archive(name, "/", archive(files))

    def signal(self, name: str, signal: str) -> None:
        self.api.kill(name, signal)

    def stop(self, name: str, timeout: int = 10) -> None:
        self.api.stop(name, timeout=timeout)

    def start(self, name: str) -> None:
        self.api.start(name)

    def restart(self, name: str, timeout: int = 10) -> None:
        self.api.restart(name, timeout=timeout)

    def remove(self, name: str) -> None:
        """Remove a container with its anonymous volumes; nothing happens when there is none."""
        try:
            self.api.remove_container(name, v=True, force=True)
        except docker.errors.NotFound:
            pass
        except docker.errors.APIError as error:
            if "already in progress" not in str(error):
                raise

    def inspect(self, name: str) -> dict[str, Any] | None:
        try:
            return dict(self.api.inspect_container(name))
        except docker.errors.NotFound:
            return None

    def exists(self, name: str) -> bool:
        return self.inspect(name) is not None

    def running(self, name: str) -> bool:
        facts = self.inspect(name)
        return bool(facts and facts["State"]["Running"])

    def address(self, name: str) -> str | None:
        """The first address of a container in any network."""
        facts = self.inspect(name) or {}
        networks = facts.get("NetworkSettings", {}).get("Networks", {})
        return next((one["IPAddress"] for one in networks.values() if one.get("IPAddress")), None)

    def cpu_seconds(self, name: str) -> float | None:
        """CPU time that a container and all in it have used since its start; None when it does not run."""
        try:
            usage = self.api.stats(name, stream=False, one_shot=True)["cpu_stats"]["cpu_usage"]
        except (docker.errors.APIError, KeyError):
            return None
        return float(usage["total_usage"]) / 1e9 if usage.get("total_usage") else None

    def logs(self, name: str, lines: int = 50) -> str:
        return bytes(self.api.logs(name, tail=lines)).decode(errors="replace")

    # ---- volumes

    def volume(self, name: str) -> str:
        """A volume of this cloud, made when it is not there. Returns its name."""
        self.api.create_volume(name, labels=self.labels)
        return name

    def in_volume(self, volume: str, image: str, arguments: Sequence[str]) -> None:
        """Run a command in a volume's directory and wait for it."""
        labels = [f"{name}={value}" for name, value in self.labels.items()]
        # docker makes a volume that has been removed meanwhile anew: with the labels, so that it is found again
        mount = ",".join(["type=volume", f"source={volume}", "target=/volume", *(f"volume-label={label}" for label in labels)])
        options = ["--rm", "--mount", mount, "--workdir", "/volume", "--network", "none", *(word for label in labels for word in ("--label", label))]
        subprocess.run(
            ["docker", "run", *options, "--entrypoint", arguments[0], image, *arguments[1:]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=120,
            check=False,
        )

    def remove_volume(self, name: str) -> None:
        """Remove a volume; nothing happens when there is none."""
        try:
            self.api.remove_volume(name, force=True)
        except docker.errors.NotFound:
            pass

    # ---- images

    def commit(self, name: str, image: str) -> None:
        """Make an image of a container's files, with this cloud's labels. What lies in its volumes is not in it."""
        changes = [f"LABEL {label}={value}" for label, value in self.labels.items()]
        self.api.commit(name, repository=image, tag="latest", changes=changes)

    def remove_image(self, image: str) -> None:
        """Remove an image; nothing happens when there is none."""
        try:
            self.api.remove_image(image, force=True)
        except docker.errors.NotFound:
            pass

    def copy_out(self, container: str, path: str, volume: str, image: str) -> None:
        """Copy a directory that is a volume of a container, running or not, into another volume. EngineError when that fails.

        With SYS_ADMIN: an engine's layers say what they hide by attributes that others may not read.
        """
        labels = [word for name, value in self.labels.items() for word in ("--label", f"{name}={value}")]
        options = ["--rm", "--network", "none", "--cap-add", "SYS_ADMIN", *labels, "--volumes-from", f"{container}:ro", "--volume", f"{volume}:/volume"]
        done = subprocess.run(
            ["docker", "run", *options, "--entrypoint", "cp", image, "-a", f"{path}/.", "/volume/"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=600,
            check=False,
        )
        if done.returncode != 0:
            raise EngineError(f"{path} of {container} was not copied: {done.stdout.decode(errors='replace').strip()}")

    # ---- networks

    def network(self, name: str, cidr: str, gateway: str) -> None:
        """Make a bridge with this block. EngineError when another network of the machine has addresses of it."""
        pool = docker.types.IPAMConfig(pool_configs=[docker.types.IPAMPool(subnet=cidr, gateway=gateway)])
        try:
            self.client.networks.create(name, driver="bridge", ipam=pool, labels=self.labels)
        except docker.errors.APIError as error:
            if "overlaps" in str(error):
                text = f"the addresses {cidr} are taken by another docker network of this machine; see `docker network ls`, or set FLOTILLA_CLOUD_NETWORK"
                raise EngineError(text) from error
            if "already exists" not in str(error):
                raise

    def connect(self, container: str, network: str, address: str | None = None) -> None:
        """Put a container into one more network."""
        try:
            self.api.connect_container_to_network(container, network, ipv4_address=address)
        except docker.errors.APIError as error:
            if "already exists" not in str(error):
                raise

    def remove_network(self, name: str) -> None:
        """Disconnect all and remove."""
        try:
            facts = self.api.inspect_network(name)
            for container in facts.get("Containers") or {}:
                self.api.disconnect_container_from_network(container, name, force=True)
            self.api.remove_network(name)
        except docker.errors.NotFound:
            pass

    # ---- all of it

    def mine(self) -> list[dict[str, Any]]:
        """The containers with this cloud's label, running or not."""
        return list(self.api.containers(all=True, filters={"label": f"{LABEL}={self.identity}"}))

    def clear(self, say: Callable[[str], None] = lambda text: None) -> int:
        """Remove every container, network, volume and image with this cloud's label. Returns how many there were."""
        count = 0
        containers = [str(one["Id"]) for one in self.mine()]
        for identifier in containers:
            self.remove(identifier)
            count += 1
        for network in self.api.networks(filters={"label": f"{LABEL}={self.identity}"}):
            self.remove_network(network["Id"])
            count += 1
        for volume in self.api.volumes(filters={"label": f"{LABEL}={self.identity}"})["Volumes"] or []:
            self.api.remove_volume(volume["Name"], force=True)
            count += 1
        for image in self.api.images(filters={"label": f"{LABEL}={self.identity}"}):
            self.remove_image(image["Id"])
            count += 1
        free_loop_devices(f"flotilla-{self.identity}-vol-", say)
        if count:
            say(f"removed {count} containers, networks, volumes and images")
        return count

    def abandoned(self) -> list[str]:
        """The other clouds of this engine of which something is left although the process that made it has ended."""
        owners: dict[str, set[str]] = {}
        made = {"label": OWNER}
        volumes = self.api.volumes(filters=made)["Volumes"] or []
        listed = [*self.api.containers(all=True, filters=made), *self.api.networks(filters=made), *volumes, *self.api.images(filters=made)]
        for labels in (one["Labels"] for one in listed):
            owners.setdefault(labels[LABEL], set()).add(labels[OWNER])
        return sorted(identity for identity, names in owners.items() if identity != self.identity and all(ended(name) for name in names))

    def events(self, kinds: Iterable[str]) -> Any:
        """A stream of this cloud's container events of these kinds (start, die …)."""
        return self.api.events(decode=True, filters={"label": f"{LABEL}={self.identity}", "type": "container", "event": list(kinds)})
