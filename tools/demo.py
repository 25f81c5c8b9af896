"""`make demo`: a stack on the local cloud, from nothing to a second release under load, and a summary.

Every step may be repeated, so a run that was interrupted goes on when the same command is given again, and a run on a finished
system ends with one more release under load.
Usage: python -m tools.demo [--stack hello]
"""

from __future__ import annotations

import argparse
import concurrent.futures
import fcntl
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import yaml

from plugins.module_utils.release import order
from tools import stack_images
from tools.phases import BUILD, ROOT, PhaseFailed, Phases, elapsed_text, main_guard

RATE = 100.0  # requests a second, where examples/<stack>/demo.yml has no other
LEAST_SECONDS = 50  # how long that goes on at least
LOGS = BUILD / "logs" / "demo"
RESULT = BUILD / "demo.json"
# Credentials and profiles of the person at the keyboard never reach a command of the demo.
FOREIGN = ("AWS_", "FLOTILLA_", "ANSIBLE_", "BOTO_", "MAKE", "MFLAGS")


def exported(text: str) -> dict[str, str]:
    """The variables of a file of `export NAME=value` lines."""
    pairs = (line.removeprefix("export ").split("=", 1) for line in text.splitlines() if line.startswith("export ") and "=" in line)
    return {name: "".join(shlex.split(value)) for name, value in pairs}


def clean_environment() -> dict[str, str]:
    """This process's environment without anybody's AWS account; the settings of the local cloud itself stay."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN) or name.startswith("FLOTILLA_CLOUD_")}
    return {
        **kept,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        "PYTHONUNBUFFERED": "1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def version_number(tag: str | None) -> int:
    """`v3-1f…` → 3; 0 when nothing, or nothing of ours, is released."""
    found = re.match(r"v(\d+)\b", tag or "")
    return int(found.group(1)) if found else 0


class Demo:
    """One run. `environment` is what every command gets, once the cloud is up."""

    def __init__(self, stack: str) -> None:
        self.stack = stack
        self.file = ROOT / "examples" / stack / "stack.yml"
        if not self.file.is_file():
            known = sorted(path.parent.name for path in (ROOT / "examples").glob("*/stack.yml"))
            raise PhaseFailed(
                "demo", f"there is no stack {stack!r}; stacks are: {', '.join(known)}.\nTo mend it: make demo STACK={known[0] if known else 'hello'}"
            )
        self.name = yaml.safe_load(self.file.read_text(encoding="utf-8"))["flotilla_stack"]["name"]
        # What this system is asked for and what to try by hand (examples/<stack>/demo.yml).
        self.example: dict[str, Any] = yaml.safe_load((self.file.parent / "demo.yml").read_text(encoding="utf-8"))
        made = stack_images.services(stack)
        declared = yaml.safe_load(self.file.read_text(encoding="utf-8"))["flotilla_stack"]["services"]
        # In the order of their releases.
        self.services = {name: made[name] for name in order.of_stack(declared) if name in made}
        # A service that is stopped before it is started is away for a moment, and those that need it fail: no release to be shown under load.
        self.stopped_first = [name for name in self.services if declared[name].get("strategy") == "recreate"]
        self.rate = float(self.example.get("rate", RATE))
        self.environment = clean_environment()
        self.phases = Phases("demo", LOGS)
        self.load: dict[str, Any] = {}

    # ---- steps

    def cloud(self) -> None:
        python = sys.executable
        self.phases.run(
            "cloud images",
            [python, "-m", "local_cloud", "images"],
            self.environment,
            remedy="Debian's package mirrors must be reachable; what was built is kept, so give the same command again",
        )
        self.phases.run("local cloud", [python, "-m", "local_cloud", "up"], self.environment, remedy="make down, then make demo")
        self.environment |= exported((BUILD / "local.env").read_text(encoding="utf-8"))
        if others := self.stacks() - {self.name}:
            raise PhaseFailed(
                "local cloud",
                f"the stack {', '.join(sorted(others))} is in the local cloud, which has the addresses of one.\n"
                f"To mend it: make down, then make demo STACK={self.stack}",
            )

    def playbook(self, phase: str, verb: str, **variables: str) -> None:
        """A verb of the collection, or any playbook by its path."""
        extra = [word for name, value in variables.items() for word in ("-e", f"{name}={value}")]
        file = verb if "/" in verb else f"playbooks/{verb}.yml"
        command = ["ansible-playbook", "-i", "inventories/local", file, "-e", f"@{self.file.relative_to(ROOT)}", *extra]
        self.phases.run(phase, command, self.environment, remedy=f"read the log, then `make demo STACK={self.stack}` goes on from here")

    def build(self, *versions: str) -> dict[tuple[str, str], str]:
        """(service, version) → image."""
        return {(service, version): stack_images.build(self.stack, service, version, self.environment) for service in self.services for version in versions}

    def push(self, images: Mapping[tuple[str, str], str]) -> dict[tuple[str, str], str]:
        """(service, version) → tag in the registry."""
        tags: dict[tuple[str, str], str] = {}

        def push(show: Any) -> str:
            for (service, version), image in images.items():
                show(f"{self.services[service]} {version}")
                tags[service, version] = stack_images.push(image, self.services[service], self.environment)
            return ", ".join(tags.values())

        self.phases.call("push", push)
        return tags

    # ---- what runs now

    def client(self, service: str) -> Any:
        return boto3.client(
            service,
            endpoint_url=self.environment["AWS_ENDPOINT_URL"],
            region_name=self.environment["AWS_REGION"],
            aws_access_key_id=self.environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.environment["AWS_SECRET_ACCESS_KEY"],
        )

    def stacks(self) -> set[str]:
        """The stacks that have been provisioned in the cloud."""
        pages = self.client("ssm").get_paginator("describe_parameters").paginate()
        names = [str(one["Name"]).split("/") for page in pages for one in page["Parameters"]]
        return {words[3] for words in names if words[:3] == ["", "flotilla", "local"] and words[4:] == ["outputs"]}

    def parameter(self, name: str) -> dict[str, Any]:
        """A JSON parameter of the stack, or {} where there is none."""
        found = self.client("ssm").get_parameters(Names=[f"/flotilla/local/{self.name}/{name}"])["Parameters"]
        return json.loads(found[0]["Value"]) if found else {}

    def released(self) -> int:
        """The version that all services are on; 0 when one has none yet."""
        return min((version_number(self.parameter(f"services/{service}/release").get("tag")) for service in self.services), default=0)

    @property
    def urls(self) -> dict[str, str]:
        port = int(self.environment.get("FLOTILLA_CLOUD_PORT", stack_images.DEFAULT_PORT))
        return {"http": f"http://127.0.0.1:{port + 3}/", "https": f"https://127.0.0.1:{port + 4}/"}

    # ---- load

    @contextmanager
    def under_load(self) -> Iterator[None]:
        """Requests from before the block begins until after it ends, and for LEAST_SECONDS at least."""
        result, progress = LOGS / "load.json", LOGS / "load-progress.json"
        result.unlink(missing_ok=True)
        progress.unlink(missing_ok=True)
        command = [sys.executable, "-m", "tools.load", self.urls["https"], "--rate", str(self.rate), "--result", str(result), "--progress", str(progress)]
        command += [word for path in self.example.get("load", []) for word in ("--request", path)]
        with (LOGS / "load.log").open("w") as log:
            client = subprocess.Popen(
                command, cwd=ROOT, env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True
            )
        assert client.stdout is not None
        try:
            if "ready" not in client.stdout.readline():
                raise PhaseFailed("load", f"the load client got no good answers from {self.urls['https']}; see {LOGS / 'load.log'}")
            self.phases.say(f"    load  {self.rate:g} requests a second to {self.urls['https']}, whether or not earlier ones are answered")
            time.sleep(2)
            yield
            self._finish_load(progress)
            client.send_signal(signal.SIGTERM)
            client.wait(timeout=60)
        finally:
            if client.poll() is None:
                client.kill()
                client.wait()
        self.load = json.loads(result.read_text(encoding="utf-8"))

    def _finish_load(self, progress: Path) -> None:
        def finish(show: Any) -> str:
            time.sleep(3)
            sent, least = 0, int(self.rate * LEAST_SECONDS)
            for turn in range(1200):
                sent = json.loads(progress.read_text(encoding="utf-8"))["sent"] if progress.exists() else 0
                if sent >= least:
                    break
                if turn % 30 == 0:
                    show(f"{sent} of at least {least} requests sent")
                time.sleep(0.2)
            return f"{sent} requests"

        self.phases.call("load after the release", finish)

    # ---- the whole

    def run(self) -> int:
        LOGS.mkdir(parents=True, exist_ok=True)
        self.cloud()
        current = self.released()
        first, second = max(current, 1), max(current, 1) + 1
        with concurrent.futures.ThreadPoolExecutor(max_workers=1) as builder:
            building = builder.submit(self.build, f"v{first}", f"v{second}")
            if self.example.get("prepare"):
                self.playbook("what the stack adopts", self.example["prepare"])
            self.playbook("provision", "provision")
            images: dict[tuple[str, str], str] = {}
            self.phases.call("application images", lambda show: images.update(building.result()) or ", ".join(images.values()))
        tags = self.push(images)
        self.playbook("configure", "configure")
        if not current:
            for service in self.services:
                self.playbook(
                    f"release {first} of {service}" if len(self.services) > 1 else "release 1",
                    "deploy",
                    release_service=service,
                    release_tag=tags[service, f"v{first}"],
                )
        for service in self.stopped_first:
            self.playbook(f"release {second} of {service}", "deploy", release_service=service, release_tag=tags[service, f"v{second}"])
        with self.under_load():
            for service in [name for name in self.services if name not in self.stopped_first]:
                title = f"release {second} under load" if len(self.services) == 1 else f"release {second} of {service} under load"
                self.playbook(title, "deploy", release_service=service, release_tag=tags[service, f"v{second}"])
        return self.finish(f"v{second}")

    def finish(self, version: str) -> int:
        """Write build/demo.json, print the summary; 1 when a request was lost."""
        result = {
            "stack": self.stack,
            "version": version,
            **{
                name: self.load[name] for name in ("requests_sent", "requests_failed", "requests_retried", "p50_ms", "p99_ms", "max_ms", "versions", "failures")
            },
            "seconds": round(self.phases.seconds, 1),
            "phases": self.phases.times,
            "urls": self.urls,
        }
        RESULT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        for line in self.summary(result):
            self.phases.say(line)
        return 1 if result["requests_failed"] else 0

    def summary(self, result: Mapping[str, Any]) -> list[str]:
        """The closing lines: what was made, where it answers, how long it took, what the visitors noticed, what to try next."""
        outputs = self.parameter("outputs")
        hosts = [
            f"{host['InstanceId']} in {host['Placement']['AvailabilityZone']}"
            for page in self.client("ec2").describe_instances(
                Filters=[{"Name": "tag:flotilla:stack", "Values": [self.name]}, {"Name": "instance-state-name", "Values": ["running"]}]
            )["Reservations"]
            for host in page["Instances"]
        ]
        releases = {service: self.parameter(f"services/{service}/release") for service in self.services}
        database = outputs.get("database") or {}
        rows = [
            ("network", outputs.get("vpc_id", "")),
            ("load balancer", (outputs.get("load_balancer") or {}).get("dns_name", "")),
            ("hosts", ", ".join(sorted(hosts))),
            ("database", f"{database['host']}:{database['port']}" if database else "none"),
            *((f"release of {service}", f"number {release.get('number')}, tag {release.get('tag')}") for service, release in releases.items()),
        ]
        play = f"ansible-playbook -i inventories/local -e @{self.file.relative_to(ROOT)}"
        which = f" -e release_service={next(reversed(self.services))}" if len(self.services) > 1 else ""
        return [
            "",
            f"{self.stack} is up: {self.urls['http']} and {self.urls['https']} (certificate signed by itself)",
            "",
            *(f"  {name:<18} {text}" for name, text in rows),
            "",
            *(f"  {name:<28} {elapsed_text(seconds):>12}" for name, seconds in result["phases"].items()),
            f"  {'all':<28} {elapsed_text(result['seconds']):>12}",
            "",
            f"  Requests during the release: {result['requests_sent']} sent, {result['requests_failed']} failed; "
            f"half answered within {result['p50_ms']} ms, 99 % within {result['p99_ms']} ms",
            *(f"    failed: {failure['at_seconds']} s {failure['path']}: {failure['error']}" for failure in result["failures"][:10]),
            "",
            "  Next:",
            *(f"    {line.replace('{http}', self.urls['http']).replace('{https}', self.urls['https'])}" for line in self.example.get("try", [])),
            "    . .venv/bin/activate && . build/local.env",
            f"    {play} playbooks/status.yml",
            f"    {play} playbooks/rollback.yml{which}",
            "    make down      removes all of it",
            "",
        ]


def main() -> int:
    parser = argparse.ArgumentParser(description="A stack on the local cloud, up to a second release under load.")
    parser.add_argument("--stack", default="hello")
    demo = Demo(parser.parse_args().stack)
    BUILD.mkdir(exist_ok=True)
    with (BUILD / "demo.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise PhaseFailed(
                "demo", "another `make demo` runs in this directory.\nTo mend it: let it end, or end it, and give the same command again"
            ) from error
        return demo.run()


if __name__ == "__main__":
    sys.exit(main_guard(main))
