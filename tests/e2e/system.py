"""A stack on a local cloud of its own, driven and watched from outside as a user would."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import boto3
import requests
import urllib3
import yaml
from botocore.config import Config
from botocore.exceptions import ClientError

from local_cloud.settings import Settings
from plugins.module_utils.release import order
from tools import stack_images

ROOT = Path(__file__).resolve().parents[2]
# A target is shown as draining for the whole deregistration delay (as on AWS), so every host of every release costs the grace period.
PATIENCE_SECONDS = 8
# Likewise every host of a release waits until it has been healthy for so long. Two seconds show that it waits.
HEALTHY_SECONDS = 2
# And every share of a service's traffic is watched for so long.
BAKE_SECONDS = 4
# In so few seconds a machine that all hosts share can hold up one colour's requests and not the other's: these are told from a slow colour by this much.
LATENCY_PERCENT = 1000
# Each stack's tests have addresses of their own, so that two of them can run at a time: first port of its cloud, block of its VPC.
PLACES = {
    "hello": (5041, "198.19.192.0/20"),
    "gifs": (5061, "198.19.208.0/20"),
    "media": (5081, "198.19.224.0/20"),
    "todo": (5101, "198.19.240.0/20"),
    "sums": (5121, "198.19.96.0/20"),
    "patch": (4871, "198.19.176.0/20"),
    "releases": (4751, "198.19.64.0/20"),
    "bench": (4751, "198.19.64.0/20"),
    "blue_green": (4731, "198.19.16.0/20"),
    "fleet": (4931, "198.19.48.0/20"),
    "scaling": (4901, "198.19.32.0/20"),
    "bake": (4971, "198.19.160.0/20"),
}
# Tests that are not about a stack of their own: the example that they release, without what is not needed for that.
EXAMPLES = {**dict.fromkeys(("releases", "bench", "blue_green", "fleet", "patch", "bake"), "hello"), "scaling": "sums"}
RECAP = re.compile(r"^(\S+)\s+: ok=(\d+)\s+changed=(\d+)\s+unreachable=(\d+)\s+failed=(\d+)", re.M)
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")  # what a terminal does with colours and cursor
CURSOR_WANTED = "\x1b[6n"  # a program asks the terminal where its cursor is, and waits for the answer
T = TypeVar("T")

urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)  # the stack's certificate is signed by itself


def say(text: str) -> None:
    """Print at once, past pytest's capture, so that a long test shows what it does."""
    print(f"    {time.strftime('%H:%M:%S')} {text}", file=sys.__stdout__, flush=True)


def wait_for(what: str, probe: Callable[[], T], timeout: float = 120.0, interval: float = 0.5) -> T:
    """The first true value of probe; AssertionError naming what and the last value or error after timeout seconds."""
    deadline = time.monotonic() + timeout
    last: object = None
    while time.monotonic() < deadline:
        try:
            value = probe()
            if value:
                return value
            last = value
        except (requests.RequestException, ClientError, OSError, AssertionError, KeyError, ValueError) as error:
            last = error
        time.sleep(interval)
    raise AssertionError(f"{what}: not within {timeout:.0f} s; last seen: {last!r}")


@dataclass
class Run:
    """One finished ansible-playbook: exit code, all it printed, and seconds."""

    name: str
    code: int
    output: str
    seconds: float

    @property
    def changed(self) -> int:
        """The sum of changed= over all hosts of the recap."""
        return sum(int(row[2]) for row in RECAP.findall(self.output))

    def succeeded(self) -> Run:
        assert self.code == 0, f"{self.name} ended with {self.code}:\n{self.output[-6000:]}"
        return self

    def refused(self, *texts: str) -> Run:
        """The run failed and said each of the texts (regular expressions)."""
        assert self.code != 0, f"{self.name} should have been refused:\n{self.output[-3000:]}"
        for text in texts:
            assert re.search(text, self.output, re.I | re.S), f"{self.name} did not say {text!r}:\n{self.output[-6000:]}"
        return self


@dataclass
class System:
    """One stack on its cloud."""

    stack: str  # given as the name of the tests, which in most cases is that of the example
    name: str = "local"  # the environment's
    inventory: Path = ROOT / "inventories" / "local"
    environment: dict[str, str] = field(default_factory=dict)
    runs: int = 0
    provisioned: Any = None  # the first run of provision
    first: Any = None  # what a module's tests keep of their beginning
    given: Any = None  # what the stack found and may not touch
    variables: dict[str, Any] = field(default_factory=dict)  # what every playbook is given, besides the stack file

    def __post_init__(self) -> None:
        # As a user's shell has it: where Python may not keep what it has compiled, every ansible-playbook compiles all of itself, one and a half seconds.
        foreign = ("AWS_", "FLOTILLA_", "ANSIBLE_", "MAKE", "MFLAGS", "PYTHONDONTWRITEBYTECODE")
        known = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        self.tests = self.stack
        self.stack = EXAMPLES.get(self.tests, self.tests)
        self.build = ROOT / "build" / "e2e" / self.tests
        self.settings = Settings(PLACES[self.tests][0], self.build / "cloud", PLACES[self.tests][1], cgroup=os.environ.get("FLOTILLA_CLOUD_CGROUP", ""))
        self.http, self.https = (f"{scheme}://127.0.0.1:{port}" for scheme, port in (("http", self.settings.http_port), ("https", self.settings.https_port)))
        self.environment = {
            **known,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_DEPRECATION_WARNINGS": "true",
            **self.settings.shell_variables(),
        }

        self.demo: dict[str, Any] = yaml.safe_load((ROOT / "examples" / self.stack / "demo.yml").read_text(encoding="utf-8"))

    def beside(self, name: str) -> System:
        """A second environment of the stack on the same cloud, by an inventory that differs in the environment's name alone."""
        inventory = self.build / "inventories" / name
        shutil.copytree(self.inventory, inventory, dirs_exist_ok=True)
        for file in ("aws_ec2.yml", "group_vars/all/environment.yml"):
            text = (inventory / file).read_text(encoding="utf-8")
            (inventory / file).write_text(re.sub(r"^(.*(?:environment|name): )local$", rf"\g<1>{name}", text, flags=re.M), encoding="utf-8")
        other = copy.copy(self)
        other.name, other.inventory = name, inventory
        # The addresses of the account's second load balancer.
        other.http, other.https = f"http://127.0.0.1:{self.settings.http_port + 5}", f"https://127.0.0.1:{self.settings.https_port + 5}"
        return other

    # ---- commands

    def command(self, arguments: list[str], timeout: float = 600.0) -> Run:
        """Run to the end; the output goes to a numbered log below build/e2e/<stack> too."""
        began = time.monotonic()
        done = subprocess.run(
            arguments,
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
            check=False,
        )
        run = Run(Path(arguments[0]).name, done.returncode, done.stdout, time.monotonic() - began)
        return self._logged(run, " ".join(arguments[1:3]))

    def cloud(self, verb: str, *arguments: str) -> Run:
        return self.command([sys.executable, "-m", "local_cloud", verb, *arguments], timeout=900)

    def playbook(self, verb: str, *options: str, **variables: Any) -> list[str]:
        """The command line of a verb of this stack."""
        return ["ansible-playbook", f"playbooks/{verb}.yml", *self.options(**variables), *options]

    def options(self, **variables: Any) -> list[str]:
        """What every playbook is called with: the inventory, the example's stack file but for the seconds above, and variables."""
        file = self.build / "stack.yml"
        file.write_text(yaml.safe_dump({"flotilla_stack": self.stack_facts()}, sort_keys=False), encoding="utf-8")
        kept = {"release_result_file": str(self.build / "release.json"), "release_report_directory": str(self.build / "releases")}
        variables = {**kept, **self.variables, **variables}
        return ["-i", str(self.inventory), "-e", f"@{file}", *(word for name, value in variables.items() for word in ("-e", json.dumps({name: value})))]

    def at_a_terminal(self, arguments: list[str], *lines: str, prompt: str, timeout: float = 60.0) -> Run:
        """Run with a terminal, and type a line each time that the prompt (a regular expression) is shown."""
        began, output, answered = time.monotonic(), "", 0
        terminal, end = pty.openpty()
        termios.tcsetwinsize(end, (40, 120))
        process = subprocess.Popen(arguments, cwd=ROOT, env=self.environment, stdin=end, stdout=end, stderr=end, start_new_session=True)
        os.close(end)
        with contextlib.suppress(OSError):  # a terminal that nobody holds any more
            while time.monotonic() < began + timeout:
                if select.select([terminal], [], [], 0.2)[0]:
                    shown = os.read(terminal, 65536).decode(errors="replace")
                    os.write(terminal, b"\x1b[1;1R" * shown.count(CURSOR_WANTED))
                    output = ESCAPES.sub("", output + shown)
                if answered < min(len(lines), len(re.findall(prompt, output))):
                    os.write(terminal, f"{lines[answered]}\n".encode())
                    answered += 1
        os.close(terminal)
        process.terminate()
        return self._logged(Run(" ".join(arguments[:3]), process.wait(20), output, time.monotonic() - began), " ".join(arguments[1:3]))

    def play(self, verb: str, *options: str, **variables: Any) -> Run:
        run = self.command(self.playbook(verb, *options, **variables))
        run.name = " ".join([verb, *options, *(name if isinstance(value, dict) else f"{name}={value}" for name, value in variables.items())])
        say(f"{run.name}: exit {run.code}, changed {run.changed}, {run.seconds:.0f} s")
        # One deprecation is the inventory plugin's own (amazon.aws 10.1.2, TemplatedOptions); nothing else may use what a later ansible-core removes.
        deprecated = [line for line in run.output.splitlines() if "[DEPRECATION WARNING]" in line and "disable_lookups" not in line]
        assert deprecated == [], deprecated
        return run

    def result(self) -> dict[str, Any]:
        """What the last release says of itself, for machines."""
        return dict(json.loads((self.build / "release.json").read_text()))

    def start(self, verb: str, **variables: Any) -> subprocess.Popen[bytes]:
        """A playbook in a process group of its own, to be killed."""
        self.runs += 1
        sink = (self.build / f"{self.runs:02d}-{verb}-killed.log").open("wb")
        return subprocess.Popen(
            self.playbook(verb, **variables),
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def killed(self, verb: str, seconds: float, **variables: Any) -> bool:
        """Kill a playbook and its children after so long; whether it had not ended before."""
        process = self.start(verb, **variables)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
        alive = process.poll() is None
        if alive:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        return alive

    def newest_record(self, service: str = "web") -> dict[str, Any]:
        """The newest record of a service's releases; {} when there is none."""
        api, bucket = self.client("s3"), self.outputs()["bucket"]
        rows = api.list_objects_v2(Bucket=bucket, Prefix=f"releases/{service}/0").get("Contents", [])
        newest = max((row["Key"] for row in rows), default="")
        return dict(json.loads(api.get_object(Bucket=bucket, Key=newest)["Body"].read())) if newest else {}

    def unfinished(self, service: str = "web") -> bool:
        """Whether the newest record is that of a release that was begun and has not ended."""
        return self.newest_record(service).get("outcome") == "started"

    def _logged(self, run: Run, what: str) -> Run:
        self.runs += 1
        name = re.sub(r"[^a-z0-9]+", "-", what.lower()).strip("-")[-40:]
        self.build.mkdir(parents=True, exist_ok=True)
        (self.build / f"{self.runs:02d}-{name}.log").write_text(run.output)
        return run

    # ---- releases

    @cached_property
    def repositories(self) -> dict[str, str]:
        """Service → repository, for the services whose image is built here."""
        return stack_images.services(self.stack)

    def push(self, service: str, version: str) -> str:
        """Have the image of a version of a service in the registry; returns its tag. `broken` never becomes healthy."""
        return stack_images.push(stack_images.build(self.stack, service, version, self.environment), self.repositories[service], self.environment)

    def release(self, service: str, version: str) -> Run:
        """Push and deploy."""
        return self.play("deploy", release_service=service, release_tag=self.push(service, version))

    def up(self) -> Run:
        """Provision while the images are built, configure while they are pushed, release the first version of every service; the last one's run."""
        services = [name for name in order.of_stack(self.stack_facts()["services"]) if name in self.repositories]
        with ThreadPoolExecutor(1) as images:
            built = images.submit(lambda: [stack_images.build(self.stack, one, "v1", self.environment) for one in services])
            self.provisioned = self.play("provision").succeeded()
            built.result()
            pushed = images.submit(lambda: [self.push(one, "v1") for one in services])
            self.play("configure").succeeded()
            pushed.result()
        return [self.release(one, "v1").succeeded() for one in services][-1]

    # ---- the account

    def client(self, service: str) -> Any:
        return boto3.client(
            service,
            endpoint_url=self.environment["AWS_ENDPOINT_URL"],
            region_name="eu-central-1",
            aws_access_key_id="local",
            aws_secret_access_key="local",
            config=Config(retries={"max_attempts": 2}, read_timeout=60),
        )

    def stack_facts(self) -> dict[str, Any]:
        """The stack file, to be changed and handed over as flotilla_stack. A host that leaves or enters service is given less time than the examples give."""
        stack = dict(yaml.safe_load((ROOT / "examples" / self.stack / "stack.yml").read_text(encoding="utf-8"))["flotilla_stack"])
        for service in stack["services"].values():
            service["grace_seconds"] = min(service["grace_seconds"], PATIENCE_SECONDS)
            service.setdefault("release", {})["min_healthy_seconds"] = HEALTHY_SECONDS
            if service.get("strategy") == "blue_green":
                service["release"] |= {"bake_seconds": BAKE_SECONDS, "max_latency_percent": LATENCY_PERCENT}
        if self.tests != self.stack == "hello":  # a release is the same with a database and without
            stack = {key: value for key, value in stack.items() if key != "database"}
            stack["services"] = {name: {**service, "environment": {}, "secrets": {}} for name, service in stack["services"].items()}
        return stack

    def environment_facts(self) -> dict[str, Any]:
        """The local environment, to be changed and handed over as flotilla_environment."""
        path = self.inventory / "group_vars" / "all" / "environment.yml"
        return dict(yaml.safe_load(path.read_text(encoding="utf-8"))["flotilla_environment"])

    def outputs(self) -> dict[str, Any]:
        """What provisioning has written down."""
        value = self.client("ssm").get_parameter(Name=f"/flotilla/{self.name}/{self.stack}/outputs")["Parameter"]["Value"]
        return dict(json.loads(value))

    def instances(self, fleet: str = "*") -> dict[str, dict[str, Any]]:
        """The running instances of the stack, or of one fleet of it, by id."""
        wanted = {"tag:flotilla:stack": [self.stack], "tag:flotilla:environment": [self.name], "tag:flotilla:fleet": [fleet]}
        wanted["instance-state-name"] = ["pending", "running"]
        pages = self.client("ec2").describe_instances(Filters=[{"Name": name, "Values": values} for name, values in wanted.items()])
        return {host["InstanceId"]: host for page in pages["Reservations"] for host in page["Instances"]}

    def targets(self, service: str = "") -> dict[str, str]:
        """Target id → state, of a service's target group or of every one of the stack, but for colours that have no traffic."""
        api = self.client("elbv2")
        prefix = f"{self.stack}-{self.name}-{service}"
        groups = [group["TargetGroupArn"] for group in api.describe_target_groups()["TargetGroups"] if group["TargetGroupName"].startswith(prefix)]
        idle = self.idle()
        answers = [row for arn in groups if arn not in idle for row in api.describe_target_health(TargetGroupArn=arn)["TargetHealthDescriptions"]]
        return {row["Target"]["Id"]: row["TargetHealth"]["State"] for row in answers}

    def weights(self, service: str) -> dict[str, int]:
        """Name on the hosts → weight, of both colours of a service; {} when it has none."""
        outputs = self.outputs()
        if service not in outputs.get("rules", {}):
            return {}
        (rule,) = self.client("elbv2").describe_rules(RuleArns=[outputs["rules"][service]])["Rules"]
        weights = {one["TargetGroupArn"]: one["Weight"] for one in rule["Actions"][0].get("ForwardConfig", {}).get("TargetGroups", [])}
        return {name: weights[arn] for name, arn in outputs["target_groups"].items() if arn in weights}

    def live(self, service: str) -> str:
        """The name on the hosts of a service's container that serves: its own, or its green colour's."""
        weights = self.weights(service)
        return max(weights, key=lambda name: weights[name]) if weights else service

    def idle(self) -> set[str]:
        """The target groups of colours that have no traffic."""
        outputs = self.outputs()
        return {outputs["target_groups"][name] for service in outputs.get("rules", {}) for name, weight in self.weights(service).items() if not weight}

    def healthy(self, count: int = 2, service: str = "") -> dict[str, str]:
        """The targets once count of them, and no others, are registered and healthy."""

        def probe() -> dict[str, str]:
            seen = self.targets(service)
            return seen if len(seen) == count and set(seen.values()) == {"healthy"} else {}

        return wait_for(f"{count} healthy targets", probe, 180)

    def suspended(self) -> list[str]:
        groups = self.client("autoscaling").describe_auto_scaling_groups()["AutoScalingGroups"]
        return sorted({process["ProcessName"] for group in groups for process in group["SuspendedProcesses"]})

    # ---- the hosts

    def on_host(self, instance: str, script: str, check: bool = True) -> str:
        """What a root shell on the host prints."""
        return self.logged_in(instance, "admin", self.build / "cloud" / "ssh" / "id_ed25519", "sudo sh", script, check)

    def logged_in(self, instance: str, user: str, key: Path, command: str, typed: str = "", check: bool = True) -> str:
        """What a command prints to somebody who logs in to the host."""
        address = self.instances()[instance]["PrivateIpAddress"]
        options = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-o", "ConnectTimeout=10", "-i", str(key)]
        done = subprocess.run(
            ["ssh", *options, f"{user}@{address}", command], input=typed, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, check=False
        )
        assert done.returncode == 0 or not check, f"{instance}: {typed or command}: {done.stdout}"
        return done.stdout.strip()

    def reaches(self, instance: str, host: str, port: int) -> bool:
        """Whether a TCP connection from the host is accepted within two seconds."""
        probe = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 2); print('open')"
        return self.on_host(instance, f'python3 -c "{probe}" {host} {port} 2>/dev/null', check=False) == "open"

    def containers(self, service: str = "web", fleet: str = "*") -> dict[str, str]:
        """Instance → "container id, start time, image" of the service on it."""
        form = "{{.Id}} {{.State.StartedAt}} {{.Config.Image}}"
        return {host: self.on_host(host, f"docker inspect --format '{form}' flotilla-{service}") for host in self.instances(fleet)}

    def restarted(self, before: dict[str, str], service: str, fleet: str = "*", timeout: float = 60.0) -> dict[str, str]:
        """The containers once they are not those of before."""
        return wait_for(f"another container of {service}", lambda: (now := self.containers(service, fleet)) != before and now or {}, timeout)

    # ---- the client

    def get(self, path: str, timeout: float = 15.0) -> requests.Response:
        return requests.get(self.https + path, verify=False, timeout=timeout)

    def versions(self, count: int = 20, path: str = "/whoami") -> set[str]:
        return {self.get(path).headers["X-App-Version"] for _ in range(count)}

    def answers(self, count: int, timeout: float = 30) -> None:
        """Wait until so many hosts have answered. With a slow request one gets no others meanwhile (least outstanding requests), so it takes several looks."""
        seen: set[str] = set()

        def all_of_them() -> bool:
            seen.update(self.get("/whoami").json()["host"] for _ in range(20))
            assert len(seen) >= count, (sorted(seen), self.targets())
            return True

        wait_for(f"answers of {count}", all_of_them, timeout)

    @contextlib.contextmanager
    def load(self, name: str, rate: int = 60, lost: int = 0) -> Iterator[dict[str, Any]]:
        """A constant-rate client around a block; afterwards no request may have failed, but for so many that were on a host that was lost.

        Yields the dict that holds its figures at the end.
        """
        result = self.build / f"load-{name}.json"
        log = (self.build / f"load-{name}.log").open("w+")
        result.unlink(missing_ok=True)
        mix = [word for request in self.demo["load"] for word in ("--request", request)]
        arguments = [sys.executable, "tools/load.py", self.https, "--rate", str(rate), "--result", str(result), "--seconds", "900", *mix]
        client = subprocess.Popen(arguments, cwd=ROOT, env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True)
        figures: dict[str, Any] = {}
        try:
            assert client.stdout
            first = client.stdout.readline()
            assert "ready" in first, f"the load client did not start: {first} {Path(log.name).read_text()}"
            yield figures
            client.send_signal(signal.SIGTERM)
            client.wait(60)
        finally:
            client.kill()
            client.wait()
        figures.update(json.loads(result.read_text()))
        say(f"load {name}: {figures['requests_sent']} sent, {figures['requests_failed']} failed, p99 {figures['p99_ms']} ms")
        assert figures["requests_failed"] <= lost, f"{name}: {json.dumps(figures, indent=1)[:3000]}"
        assert figures["requests_sent"] > 0
