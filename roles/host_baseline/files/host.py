"""The host's part in the life of a service. Whatever it asks AWS for, it asks for with the host's own role.

    host.py storage SERVICE                attach, format once and mount what the service keeps; its unit runs these three before each start
    host.py secrets SERVICE                write /run/flotilla/SERVICE/secrets/<name> and …/environment/variables
    host.py container SERVICE              make the service's container, unless the very one runs already
    host.py migrate SERVICE RELEASE        run the migration of a prepared release to its end, in a container of its own
    host.py console [SERVICE PROGRAM [new]]  open a program that the release allows; without arguments: list them
    host.py registry-login REGISTRY        write /run/flotilla/docker/config.json, a login that is good for 12 hours
    host.py boot BUNDLE SECONDS            make a new instance what its peers are, from an unpacked boot bundle, and start what the pointers name
    host.py bake BUNDLE SECONDS            have all that a host needs but a service that runs, then forget whose instance this was: it becomes an image
    host.py prove BUNDLE SECONDS           become a host from such an image, and start nothing
    host.py leave                          wait until Auto Scaling takes the host away; then stop its services and keep their logs (flotilla.leave.service)

What is written lies in memory. Nothing secret is printed, and nothing secret is on a command line. Python 3.9, boto3 1.20 and later.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import shlex
import shutil
import signal
import socket
import stat
import subprocess
import sys
import syslog
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

CONFIGURATION = Path("/etc/flotilla")
RUN = Path("/run/flotilla")
UNITS = Path("/run/systemd/system")
DEVICES = Path("/dev")
SOCKET = "/var/run/docker.sock"
SHELL = "/bin/busybox"  # of the package busybox-static: it needs nothing of the image that it is lent to
LENT_SHELL = "/run/flotilla/busybox"
ENVIRONMENT = "/run/flotilla/environment"
READ_VARIABLES = f'. {ENVIRONMENT}/variables && exec "$@"'
VOLUME_SECONDS = 180.0
LEAVING_HOOK = "flotilla-leave"
LOOK_SECONDS = 5.0
BLANK_BYTES = 4 * 1024 * 1024
PATIENCE_SECONDS = 120.0  # while AWS cannot be reached
PATIENCE_WITH_OLD_SECONDS = 15.0  # the same, when the secrets of an earlier start are still there


def say(text: str) -> None:
    """A line for the journal."""
    sys.stderr.write(f"flotilla: {text}\n")
    sys.stderr.flush()


def settings(path: Path) -> dict[str, str]:
    """The variables of a file of NAME=value lines."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def client(service: str):  # noqa: ANN201 boto3 makes its classes at run time
    """A client that speaks with the instance's role. Debian's boto3 does not know AWS_ENDPOINT_URL, so that it is handed over here."""
    known = settings(CONFIGURATION / "aws.env")
    if service in Plain.TARGETS:
        try:
            return Plain(service, known["AWS_REGION"], known.get("AWS_ENDPOINT_URL"))
        except (OSError, ValueError):
            pass  # no role in the metadata: boto3 knows other places
    import boto3
    from botocore.config import Config

    patience = Config(connect_timeout=3, read_timeout=5, retries={"max_attempts": 1})
    return boto3.client(service, region_name=known["AWS_REGION"], endpoint_url=known.get("AWS_ENDPOINT_URL"), config=patience)


def signature(keys: dict[str, str], region: str, service: str, headers: dict[str, str], body: bytes) -> str:
    """The Authorization header of a POST to / with these headers: AWS Signature Version 4."""
    names, moment = ";".join(sorted(headers)), headers["x-amz-date"]
    canonical = "\n".join(["POST", "/", "", *(f"{name}:{headers[name]}" for name in sorted(headers)), "", names, hashlib.sha256(body).hexdigest()])
    scope = f"{moment[:8]}/{region}/{service}/aws4_request"
    text = "\n".join(["AWS4-HMAC-SHA256", moment, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    signing = f"AWS4{keys['SecretAccessKey']}".encode()
    for part in scope.split("/"):
        signing = hmac.new(signing, part.encode(), hashlib.sha256).digest()
    signed = hmac.new(signing, text.encode(), hashlib.sha256).hexdigest()
    return f"AWS4-HMAC-SHA256 Credential={keys['AccessKeyId']}/{scope}, SignedHeaders={names}, Signature={signed}"


class Plain:
    """The two calls that a release makes on every host. To import boto3 and to make a client of it takes a small host twenty times as long as the call.

    OSError when the metadata service names no role.
    """

    TARGETS = {"secretsmanager": "secretsmanager", "ecr": "AmazonEC2ContainerRegistry_V20150921"}
    HOSTS = {"secretsmanager": "secretsmanager", "ecr": "api.ecr"}

    def __init__(self, service: str, region: str, endpoint: str | None) -> None:
        self.service, self.region = service, region
        role = metadata("iam/security-credentials/").strip()
        self.keys = json.loads(metadata(f"iam/security-credentials/{role}"))
        self.endpoint = (endpoint or f"https://{self.HOSTS[service]}.{region}.{metadata('services/domain').strip()}").rstrip("/")

    def call(self, operation: str, **arguments: str) -> dict[str, Any]:
        """What the service answers. RuntimeError with its words when it refuses, OSError when it cannot be reached."""
        import urllib.error
        import urllib.request

        body = json.dumps(arguments).encode()
        headers = {
            "content-type": "application/x-amz-json-1.1",
            "host": self.endpoint.partition("://")[2],
            "x-amz-date": time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()),
            "x-amz-security-token": self.keys["Token"],
            "x-amz-target": f"{self.TARGETS[self.service]}.{operation}",
        }
        sent = {**headers, "Authorization": signature(self.keys, self.region, self.service, headers, body)}
        try:
            with urllib.request.urlopen(urllib.request.Request(f"{self.endpoint}/", data=body, headers=sent), timeout=5) as answer:
                return dict(json.loads(answer.read()))
        except urllib.error.HTTPError as error:
            told = error.read().decode(errors="replace")
            try:
                known = json.loads(told)
                told = f"{str(known.get('__type', error.code)).rpartition('#')[2]}: {known.get('message') or known.get('Message') or 'no reason given'}"
            except (AttributeError, ValueError):
                pass
            raise RuntimeError(f"AWS answered {operation} with {told[:500]}") from error

    def get_secret_value(self, SecretId: str) -> dict[str, Any]:
        return self.call("GetSecretValue", SecretId=SecretId)

    def get_authorization_token(self) -> dict[str, Any]:
        return self.call("GetAuthorizationToken")


def fetch(wanted: dict[str, dict[str, str]]) -> dict[str, str]:
    """Name → value of each secret that a release names. ValueError when a secret has no such field."""
    texts: dict[str, str] = {}
    values: dict[str, str] = {}
    manager = client("secretsmanager")
    for name, source in wanted.items():
        secret, field = source["secret"], source.get("field")
        if secret not in texts:
            texts[secret] = manager.get_secret_value(SecretId=secret)["SecretString"]
        if not field:
            values[name] = texts[secret]
            continue
        fields = json.loads(texts[secret])
        if field not in fields:
            raise ValueError(f"secret {secret} has no field {field!r}; it has: {', '.join(sorted(fields))}")
        values[name] = str(fields[field])
    return values


def fetch_patiently(wanted: dict[str, dict[str, str]], old_is_there: bool) -> dict[str, str] | None:
    """The same, over and over while AWS cannot be reached; None when those of an earlier start shall be used."""
    deadline = time.monotonic() + (PATIENCE_WITH_OLD_SECONDS if old_is_there else PATIENCE_SECONDS)
    pause = 0.5
    while True:
        try:
            return fetch(wanted)
        except Exception as error:
            names = ", ".join(sorted({source["secret"] for source in wanted.values()}))
            if time.monotonic() + pause > deadline:
                if old_is_there:
                    say(f"cannot read {names}: {error}; going on with the values of the last start")
                    return None
                raise SystemExit(
                    f"flotilla: cannot read {names}: {error}. Fix: see that the secret exists, that the host's role may read it "
                    "(secretsmanager:GetSecretValue), and that Secrets Manager and 169.254.169.254 can be reached"
                )
            say(f"cannot read {names}: {error}; trying again")
        time.sleep(pause)
        pause = min(pause * 2, 5.0)


def write_private(path: Path, text: str, user: int, group: int) -> None:
    """Replace a file in one step; nobody but its owner can ever read it."""
    scratch = path.with_name(f".{path.name}.new")
    scratch.unlink(missing_ok=True)
    with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400), "w", encoding="utf-8") as sink:
        os.fchown(sink.fileno(), user, group)
        sink.write(text)
    scratch.replace(path)


def exports(values: dict[str, str]) -> str:
    """Lines that a shell reads as these variables."""
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in sorted(values.items()))


def is_variable(name: str) -> bool:
    """Whether a secret is handed over as an environment variable (a CAPITAL name) and not as a file."""
    return name[:1].isupper()


def private_directory(path: Path, group: int) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(0o750)
    os.chown(path, 0, group)
    return path


def lay_secrets(release: Path, base: Path) -> None:
    """Lay the secrets of a release ready: files below base/secrets, variables as the lines of base/environment/variables."""
    wanted = json.loads((release / "secrets.json").read_text(encoding="utf-8"))
    owner, _colon, owners_group = json.loads((release / "release.json").read_text(encoding="utf-8"))["user"].partition(":")
    user, group = int(owner), int(owners_group or owner)
    directory, variables = private_directory(base / "secrets", group), base / "environment" / "variables"
    names = {name for name in wanted if is_variable(name)}
    known = set(re.findall(r"^export (\w+)=", variables.read_text(encoding="utf-8"), re.M)) if variables.is_file() else set()
    old_is_there = bool(wanted) and names <= known and all((directory / name).is_file() for name in wanted if name not in names)
    values = fetch_patiently(wanted, old_is_there) if wanted else {}
    for name, value in (values or {}).items():
        if name not in names:
            write_private(directory / name, value, user, group)
    for path in directory.iterdir():
        if path.name not in wanted:
            path.unlink()
    if names and values is not None:
        write_private(private_directory(variables.parent, group) / variables.name, exports({name: values[name] for name in names}), user, group)
    elif not names:
        variables.unlink(missing_ok=True)


def secrets(service: str) -> None:
    """Lay the secrets of the current release ready for its container."""
    lay_secrets(CONFIGURATION / service / "current", RUN / service)


def engine(method: str, path: str) -> tuple[int, bytes]:
    """(status, body) of what the docker engine answers over its socket, in a tenth of what its program takes. OSError when it cannot be asked."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(120)
        connection.connect(SOCKET)
        connection.sendall(f"{method} {path} HTTP/1.0\r\nHost: docker\r\n\r\n".encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    head, _blank, body = answer.partition(b"\r\n\r\n")
    status = head.split(b" ", 2)[1:2]
    if not (status and status[0].isdigit()):
        raise OSError(f"the docker engine answers {path} with {head[:100]!r}")
    return int(status[0]), body


def known_container(name: str) -> dict[str, Any]:
    """What docker says of a container; {} when there is none."""
    try:
        status, body = engine("GET", f"/containers/{name}/json")
        if status in (200, 404):
            return dict(json.loads(body)) if status == 200 else {}
    except (OSError, ValueError):
        pass  # its program may know another way to it
    found = docker("ps", "--all", "--no-trunc", "--filter", f"name=^/?{name}$", "--quiet")
    return dict(json.loads(docker("container", "inspect", found))[0]) if found else {}


def remove_container(name: str) -> None:
    """End a container, if it runs, and remove it."""
    try:
        if engine("DELETE", f"/containers/{name}?force=1")[0] in (204, 404):
            return
    except OSError:
        pass
    docker("rm", "--force", name)


def docker(*arguments: str, seconds: float | None = None) -> str:
    """What a docker command prints. SystemExit with the engine's words when it fails, TimeoutExpired when it has not ended in time."""
    done = subprocess.run(["docker", *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=seconds)
    if done.returncode != 0:
        raise SystemExit(f"flotilla: docker {arguments[0]}: {done.stderr.strip()}")
    return done.stdout.strip()


# ---- containers


def facts_of(release: Path) -> dict[str, Any]:
    """What a release says of itself."""
    return dict(json.loads((release / "release.json").read_text(encoding="utf-8")))


def wrapped(image: str, program: list[str] | None, base: Path) -> tuple[list[str], list[str]]:
    """Options and command that start a program with the secret variables in its environment. Without a program: the image's own.

    The variables are read inside the container, by a shell that the host lends it, so that docker never learns them.
    """
    settings_of_image = json.loads(docker("image", "inspect", "--format", "{{json .Config}}", image))
    command = program or [*(settings_of_image.get("Entrypoint") or []), *(settings_of_image.get("Cmd") or [])]
    options = ["--volume", f"{base / 'environment'}:{ENVIRONMENT}:ro", "--volume", f"{SHELL}:{LENT_SHELL}:ro", "--entrypoint", LENT_SHELL]
    return options, ["sh", "-c", READ_VARIABLES, "sh", *command]


def create_command(release: Path, name: str, base: Path, program: list[str] | None = None) -> list[str]:
    """docker's arguments that create a container of a release: the service's own, or with a program a one-off with the same environment."""
    facts = facts_of(release)
    wanted = json.loads((release / "secrets.json").read_text(encoding="utf-8"))
    options = ["create", "--name", name, *(release / "container").read_text(encoding="utf-8").splitlines()]
    options += ["--volume", f"{base / 'secrets'}:/run/secrets:ro"]
    command: list[str] = []
    if any(is_variable(one) for one in wanted):
        wrapper, command = wrapped(facts["image"], program, base)
        options += wrapper
    elif program:
        options += ["--entrypoint", program[0]]
        command = program[1:]
    return [*options, facts["image"], *command]


def container(service: str) -> None:
    """Make the container of a service. A container outlives its engine (live-restore): the one that still runs with this configuration goes on."""
    release, name = CONFIGURATION / service / "current", f"flotilla-{service}"
    facts = facts_of(release)
    configuration = hashlib.sha256((release / "release.json").read_bytes()).hexdigest()[:16]
    known = known_container(name)
    labels = known.get("Config", {}).get("Labels") or {}
    if known.get("State", {}).get("Status") == "running" and labels.get("flotilla.configuration") == configuration:
        say(f"{name} runs already and goes on")
        return
    if known:
        remove_container(name)
    command = create_command(release, name, RUN / service)
    own = ["--label", f"flotilla.configuration={configuration}"]
    if facts.get("port"):
        own += ["--publish", f"{facts['port']}:{facts['container_port']}"]
    docker(*command[:3], *own, *command[3:])


def migrate(service: str, number: str) -> int:
    """Run a release's migration to its end and print what it prints; its exit code.

    A one-off container outlives whoever started it: one of this release that still runs is waited for, and one that has done its work is not run again.
    """
    release, name, base = CONFIGURATION / service / "releases" / number, f"flotilla-{service}-migration", RUN / service / "migration"
    migration = facts_of(release)["migration"]
    ask = ["ps", "--all", "--no-trunc", "--quiet", "--filter", f"name=^/?{name}$"]
    mine = [*ask, "--filter", f"label=flotilla.migration={number}"]
    if docker(*mine, "--filter", "status=running"):
        say(f"the migration of release {number} runs already and is waited for")
    elif docker(*mine, "--filter", "exited=0"):
        say(f"the migration of release {number} has ended well before")
    else:
        if docker(*ask):
            docker("rm", "--force", name)
        mount_all(service, release)
        lay_secrets(release, base)
        command = create_command(release, name, base, migration["command"])
        docker(*command[:3], "--label", f"flotilla.migration={number}", *command[3:])
        docker("start", name)
    try:
        code = int(docker("wait", name, seconds=float(migration["timeout_seconds"])))
    except subprocess.TimeoutExpired:
        docker("kill", name)
        say(f"no end within {migration['timeout_seconds']} s (migration.timeout_seconds); it was killed")
        code = 124
    logs = subprocess.run(["docker", "logs", name], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False).stdout
    sys.stdout.write(logs)
    if code == 0:
        subprocess.run(["rm", "-rf", str(base)], check=False)
    return code


# ---- console


def serving(service: str) -> str:
    """The name of a service's container and directory: with two colours, of the one that serves (on a new host, of the only one)."""
    try:
        return (CONFIGURATION / service / "live").read_text(encoding="utf-8").strip() or service
    except OSError:
        green = f"{service}-green"
        return green if not (CONFIGURATION / service / "current").exists() and (CONFIGURATION / green / "current").exists() else service


def allowed(service: str | None = None) -> str:
    """The programs that may be opened here, for people."""
    found = sorted({facts_of(path.parent).get("service") or path.parent.parent.name for path in CONFIGURATION.glob("*/current/release.json")})
    rows = [(name, sorted(facts_of(CONFIGURATION / serving(name) / "current").get("console") or {})) for name in found if service in (None, name)]
    return "; ".join(f"{name}: {', '.join(programs) or 'none'}" for name, programs in rows) or "none"


def keep_record(record: dict[str, Any]) -> None:
    """Write who opened what into the stack's bucket; the same object again at its end."""
    where = settings(CONFIGURATION / "console.env")
    began = re.sub(r"[^0-9TZ]", "", record["began"])
    key = f"consoles/{record['service']}/{began}-{record['who']}-{record['host']}.json"
    client("s3").put_object(Bucket=where["RECORDS_BUCKET"], Key=key, Body=json.dumps(record, indent=2).encode())


def told(event: str, record: dict[str, Any]) -> None:
    """A line for the journal, under the name flotilla-console."""
    syslog.openlog("flotilla-console", 0, syslog.LOG_AUTH)
    syslog.syslog(syslog.LOG_NOTICE, f"{event} {json.dumps(record, sort_keys=True)}")


def moment() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


@contextmanager
def recorded(record: dict[str, Any]) -> Iterator[None]:
    """A console session with its beginning and its end on record. Nothing is opened that could not be recorded."""
    try:
        keep_record(record)
    except Exception as error:
        told("refused", {**record, "reason": str(error)})
        raise SystemExit(f"flotilla: this console cannot be recorded, so it is not opened: {error}. Fix: see that the host reaches S3 and may write consoles/*")
    told("opened", record)
    try:
        yield
    finally:
        record["ended"] = moment()
        told("closed", record)
        try:
            keep_record(record)
        except Exception as error:
            say(f"the end of this console could not be recorded: {error}")


def end_on_hangup() -> None:
    """A connection that breaks ends the console like its last command does."""

    def end(number: int, _frame: Any) -> None:
        raise SystemExit(128 + number)

    for one in (signal.SIGHUP, signal.SIGTERM):
        signal.signal(one, end)


def console(service: str = "", program: str = "", how: str = "") -> int:
    """Open an allowed program of a service, in its running container or (new) in a one-off container of the same release. Its exit code."""
    if not service:
        sys.stdout.write(f"{allowed()}\n")
        return 0
    instance = serving(service) if re.fullmatch(r"[a-z][a-z0-9-]*", service) else "none"
    release = CONFIGURATION / instance / "current"
    who = re.sub(r"[^A-Za-z0-9._-]", "?", os.environ.get("SUDO_USER") or "root")
    host = settings(CONFIGURATION / "host.env").get("FLOTILLA_HOST", "")
    facts = facts_of(release) if (release / "release.json").is_file() else {}
    command = (facts.get("console") or {}).get(program)
    record = {"who": who, "host": host, "service": service, "program": program, "command": command, "release": facts.get("release"), "began": moment()}
    if not command or how not in ("", "new"):
        told("refused", record)
        why = f"{service} has no console program {program!r}" if facts else f"no service {service!r} runs on this host"
        raise SystemExit(f"flotilla: {why}. Allowed here: {allowed(service if facts else None)}. Fix: name one of these, or add it to the service's console")
    terminal = ["--tty"] if sys.stdin.isatty() else []
    record["container"] = "new" if how else "running"
    end_on_hangup()
    with recorded(record):
        code = one_off(instance, release, command, terminal, who) if how else inside(instance, release, command, terminal)
        record["exit_code"] = code
    return code


def inside(service: str, release: Path, command: list[str], terminal: list[str]) -> int:
    """Run a program in the service's running container."""
    wanted = json.loads((release / "secrets.json").read_text(encoding="utf-8"))
    wrapper = [LENT_SHELL, "sh", "-c", READ_VARIABLES, "sh"] if any(is_variable(one) for one in wanted) else []
    return subprocess.run(["docker", "exec", "--interactive", *terminal, f"flotilla-{service}", *wrapper, *command], check=False).returncode


def one_off(service: str, release: Path, command: list[str], terminal: list[str], who: str) -> int:
    """Run a program in a container of its own, which is gone afterwards."""
    task = f"console-{who.lower()}-{os.getpid()}"
    name, base = f"flotilla-{service}-{re.sub(r'[^a-z0-9_.-]', '-', task)}", RUN / service / task
    try:
        mount_all(service, release)
        lay_secrets(release, base)
        created = create_command(release, name, base, command)
        return subprocess.run(["docker", "run", "--rm", "--interactive", *terminal, *created[1:]], check=False).returncode
    finally:
        subprocess.run(["docker", "rm", "--force", name], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        subprocess.run(["rm", "-rf", str(base)], check=False)


# ---- storage


def storage(service: str) -> None:
    """Have everything mounted that the service keeps. SystemExit (and the unit tries again) while that cannot be done."""
    mount_all(service, CONFIGURATION / service / "current")


def mount_all(service: str, release: Path) -> None:
    """Attach and mount what a release of the service keeps, unless it is mounted."""
    facts = facts_of(release)
    user = facts["user"]
    for volume in facts.get("volumes") or []:
        if not os.path.ismount(volume["mount"]):
            ec2 = client("ec2")
            device = attached(ec2, volume["tag"], metadata("instance-id"))
            format_once(ec2, volume["tag"], device, user)
            mount(f"volume {volume['name']} of {service}", link_to(device), volume["mount"], "ext4", "noatime")
            os.chown(volume["mount"], *(int(one) for one in user.split(":")))
    media = facts.get("media")
    if media and not os.path.ismount(media["mount"]):
        options = f"tls,iam,accesspoint={media['access_point']},_netdev"
        mount(f"media of {service}", f"{media['file_system']}:/", media["mount"], "efs", options)


def mount(title: str, what: str, where: str, kind: str, options: str) -> None:
    """Mount by a unit of systemd, which keeps the helpers of the mount alive and unmounts after the services at shutdown."""
    Path(where).mkdir(parents=True, exist_ok=True)
    unit = systemctl_output("systemd-escape", "--path", "--suffix=mount", where)
    UNITS.mkdir(parents=True, exist_ok=True)
    lines = ["[Unit]", f"Description=flotilla {title}", "After=network-online.target", "[Mount]"]
    lines += [f"What={what}", f"Where={where}", f"Type={kind}", f"Options={options}", "TimeoutSec=90", ""]
    (UNITS / unit).write_text("\n".join(lines), encoding="utf-8")
    systemctl_output("systemctl", "daemon-reload")
    subprocess.run(["systemctl", "reset-failed", unit], stderr=subprocess.DEVNULL, check=False)
    done = subprocess.run(["systemctl", "start", unit], capture_output=True, text=True, check=False)
    if done.returncode != 0 or not os.path.ismount(where):
        words = subprocess.run(["journalctl", "--no-pager", "--quiet", "-o", "cat", "-n", "5", "-u", unit], capture_output=True, text=True, check=False).stdout
        raise SystemExit(f"flotilla: cannot mount the {title} ({what}) at {where}: {words.strip() or done.stderr.strip()}")


def systemctl_output(*command: str) -> str:
    return subprocess.run(list(command), capture_output=True, text=True, check=True).stdout.strip()


def metadata(name: str) -> str:
    """What the instance metadata service says, asked with a token (IMDSv2)."""
    import urllib.request  # takes a third of a start of this program, and a start of a service seldom asks

    base = "http://169.254.169.254/latest"
    asked = urllib.request.Request(f"{base}/api/token", method="PUT", headers={"X-aws-ec2-metadata-token-ttl-seconds": "60"})
    with urllib.request.urlopen(asked, timeout=5) as answer:
        token = answer.read().decode()
    with urllib.request.urlopen(urllib.request.Request(f"{base}/meta-data/{name}", headers={"X-aws-ec2-metadata-token": token}), timeout=5) as answer:
        return str(answer.read().decode())


def one_volume(ec2: Any, tag: str) -> dict[str, Any]:
    """The volume with the tag. SystemExit unless there is exactly one."""
    rows = ec2.describe_volumes(Filters=[{"Name": "tag:flotilla:volume", "Values": [tag]}])["Volumes"]
    rows = [row for row in rows if row["State"] not in ("deleting", "deleted", "error")]
    if len(rows) != 1:
        named = ", ".join(row["VolumeId"] for row in rows) or "none"
        raise SystemExit(f"flotilla: there must be exactly one volume with the tag flotilla:volume={tag}; there are: {named}. Fix: run provision.yml")
    return dict(rows[0])


def gone(ec2: Any, instance: str) -> bool:
    """Whether an instance has ended, so that its volume may be taken from it."""
    try:
        rows = ec2.describe_instances(InstanceIds=[instance])["Reservations"]
    except Exception as error:
        return "InvalidInstanceID" in str(error)
    states = [one["State"]["Name"] for row in rows for one in row["Instances"]]
    return all(state in ("terminated", "stopped") for state in states)


def attached(ec2: Any, tag: str, me: str) -> Path:
    """The device of the volume with the tag, attached to this instance. A volume of an instance that still lives is waited for, never taken."""
    asked_for = ""
    deadline = time.monotonic() + VOLUME_SECONDS
    while True:
        volume = one_volume(ec2, tag)
        identifier = volume["VolumeId"]
        holder = next((row for row in volume.get("Attachments", []) if row["State"] != "detached"), None)
        if holder and holder["InstanceId"] == me:
            device = device_of(identifier, holder["Device"])
            if device:
                return device
        elif holder and holder["State"] != "detaching" and gone(ec2, holder["InstanceId"]) and asked_for != "detach":
            say(f"{identifier} is released from {holder['InstanceId']}, which has ended")
            ec2.detach_volume(VolumeId=identifier, InstanceId=holder["InstanceId"])
            asked_for = "detach"
        elif not holder and volume["State"] == "available":
            say(f"{identifier} is attached")
            ec2.attach_volume(VolumeId=identifier, InstanceId=me, Device=free_device(ec2, me))
        if time.monotonic() > deadline:
            where = f"it is {holder['State']} at {holder['InstanceId']}" if holder else f"it is {volume['State']}"
            raise SystemExit(
                f"flotilla: {identifier} (flotilla:volume={tag}) is not here after {VOLUME_SECONDS:.0f} s: {where}. "
                "It is tried again; while the other instance lives, the volume is never taken from it"
            )
        time.sleep(1.0)


def free_device(ec2: Any, me: str) -> str:
    """A device name that no volume of this instance has."""
    rows = ec2.describe_volumes(Filters=[{"Name": "attachment.instance-id", "Values": [me]}])["Volumes"]
    used = {one["Device"] for row in rows for one in row["Attachments"]}
    return next(f"/dev/sd{letter}" for letter in "fghijklmnop" if f"/dev/sd{letter}" not in used)


def device_of(identifier: str, name: str) -> Path | None:
    """The block device of an attached volume: by its id on NVMe instances, by its name on older ones. None while it has not appeared."""
    by_id = DEVICES / "disk/by-id" / f"nvme-Amazon_Elastic_Block_Store_{identifier.replace('-', '')}"
    letter = name.rpartition("/")[2]
    for path in (by_id, DEVICES / letter, DEVICES / letter.replace("sd", "xvd")):
        if path.exists() and stat.S_ISBLK(path.stat().st_mode):
            return path
    return None


def link_to(device: Path) -> str:
    """Another name of a device: systemd waits for units of names below /dev, which need udev."""
    link = RUN / "volumes" / device.name
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(device.resolve())
    return str(link)


def format_once(ec2: Any, tag: str, device: Path, user: str) -> None:
    """Make a file system on a volume that never had one. Whatever is not certainly blank is never written to."""
    probe = subprocess.run(["blkid", "--probe", "--output", "value", "--match-tag", "TYPE", str(device)], capture_output=True, text=True, check=False)
    kind = probe.stdout.strip()
    volume = one_volume(ec2, tag)
    formatted = next((one["Value"] for one in volume.get("Tags", []) if one["Key"] == "flotilla:formatted"), "")
    if not (probe.returncode == 0 and kind == "ext4"):
        if formatted or kind or probe.returncode != 2 or not is_zero(device):
            holds = kind or ("nothing that can be read" if formatted else "something that is no file system")
            since = f" although it was formatted at {formatted}" if formatted else ""
            raise SystemExit(
                f"flotilla: {volume['VolumeId']} ({device}) holds {holds}{since}; it is neither formatted nor mounted. "
                "Fix: look at it by hand, or restore the volume from a snapshot"
            )
        say(f"{volume['VolumeId']} is blank and gets its file system")
        subprocess.run(["mkfs.ext4", "-q", "-m", "0", "-E", f"root_owner={user}", str(device)], check=True, stdin=subprocess.DEVNULL)
    if not formatted:
        ec2.create_tags(Resources=[volume["VolumeId"]], Tags=[{"Key": "flotilla:formatted", "Value": moment()}])


def is_zero(device: Path) -> bool:
    """Whether the first and the last 4 MiB are all zero, as they are on a volume that AWS has just made."""
    with device.open("rb") as source:
        end = source.seek(0, os.SEEK_END)
        for start in (0, max(0, end - BLANK_BYTES)):
            source.seek(start)
            if any(source.read(min(BLANK_BYTES, end))):
                return False
    return end > 0


# ---- leaving


def leave() -> None:
    """Wait until Auto Scaling takes this host away, which may be never. Then end its services in order, keep their logs, and let Auto Scaling go on.

    Whatever fails ends this, and its unit begins again: each step may be done twice.
    """
    while target_state() != "Terminated":
        time.sleep(LOOK_SECONDS)
    identifier, autoscaling = metadata("instance-id"), client("autoscaling")
    say("this host is to be terminated; waiting until its requests are drained")
    while True:
        found = autoscaling.describe_auto_scaling_instances(InstanceIds=[identifier])["AutoScalingInstances"]
        if found and found[0]["LifecycleState"] == "Terminating:Wait":
            break
        time.sleep(LOOK_SECONDS)
    names = sorted(path.parent.name for path in CONFIGURATION.glob("*/current"))
    if names:
        subprocess.run(["systemctl", "stop", *(f"flotilla-{name}.service" for name in names)], check=False)
    try:
        keep_logs(identifier, names)
    except Exception as error:  # a host without its logs is better than one that stays
        say(f"the logs could not be kept: {error}")
    autoscaling.complete_lifecycle_action(
        LifecycleHookName=LEAVING_HOOK, AutoScalingGroupName=found[0]["AutoScalingGroupName"], InstanceId=identifier, LifecycleActionResult="CONTINUE"
    )
    say("this host may go")
    while True:  # its unit need not begin again
        time.sleep(LOOK_SECONDS)


def target_state() -> str:
    """The state that Auto Scaling brings this host to: "InService", "Terminated" …; empty when the host is in no group, or nobody answers."""
    try:
        return metadata("autoscaling/target-lifecycle-state")
    except OSError:
        return ""


def keep_logs(identifier: str, names: list[str]) -> None:
    """Write what the services have logged, and the host's own journal of the last day, into the stack's bucket below logs/<instance>/."""
    import gzip

    bucket, s3 = settings(CONFIGURATION / "console.env")["RECORDS_BUCKET"], client("s3")
    commands = {name: ["docker", "logs", "--timestamps", f"flotilla-{name}"] for name in names}
    commands["host"] = ["journalctl", "--no-pager", "--since", "-1d", "--output", "short-iso"]
    kept = []
    for name, command in commands.items():
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        if done.returncode:  # a colour that has never run here has no container
            say(f"there is no log of {name}: {done.stdout.decode(errors='replace').strip()[-200:]}")
            continue
        s3.put_object(Bucket=bucket, Key=f"logs/{identifier}/{name}.log.gz", Body=gzip.compress(done.stdout))
        kept.append(name)
    say(f"the logs of {', '.join(kept)} are kept in s3://{bucket}/logs/{identifier}/")


# ---- registry


def registry_login(registry: str) -> None:
    """Lay a docker configuration with a login for the registry ready."""
    token = client("ecr").get_authorization_token()["authorizationData"][0]["authorizationToken"]
    directory = RUN / "docker"
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o700)
    write_private(directory / "config.json", json.dumps({"auths": {registry: {"auth": token}}}), 0, 0)


# ---- boot

AGAIN = 75  # exit code: fetch the bundle anew
BOOTED = Path("/var/lib/flotilla/boot/started")  # what this instance has started by itself: instance of a service -> release
MANIFESTS = "/etc/flotilla/manifest.d/"
SYSTEM_UNITS = Path("/etc/systemd/system")
ENGINE_SECONDS = 60.0
SPARE_SECONDS = 120.0  # for the images of older releases


def boot(bundle: str, seconds: str) -> int:
    """Lay what the peers have, install what the image lacks, start what the pointers name. Every step may be done again."""
    deadline = time.monotonic() + float(seconds)
    index = prepared(Path(bundle), deadline)
    for service in index["services"]:
        if not start_current(service, deadline):
            say(f"the current release of {service['name']} is not in this bundle; a newer one is fetched")
            return AGAIN
    pull_spares()
    return 0


def prepared(place: Path, deadline: float) -> dict[str, Any]:
    """Have what the peers have, and an engine that answers; the bundle's index."""
    index: dict[str, Any] = json.loads((place / "boot.json").read_text(encoding="utf-8"))
    began = time.monotonic()
    add_accounts(index["groups"], index["users"])
    lay_files(place / "root", index)
    install_packages(index["packages"], index["programs"], deadline)
    for command in index["commands"]:
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, timeout=120)
    say(f"as its peers after {time.monotonic() - began:.1f} s: {len(index['files'])} files, {len(index['packages'])} packages")
    wait_for_engine(min(deadline, time.monotonic() + ENGINE_SECONDS))
    return index


def add_accounts(groups: list[str], users: list[dict[str, Any]]) -> None:
    """Groups and users that there are not yet."""
    for group in groups:
        if subprocess.run(["getent", "group", group], stdout=subprocess.DEVNULL, check=False).returncode:
            subprocess.run(["groupadd", "--system", group], check=True)
    for user in users:
        if subprocess.run(["getent", "passwd", user["name"]], stdout=subprocess.DEVNULL, check=False).returncode:
            options = ["--create-home", "--password", "*", "--shell", user["shell"], "--groups", ",".join(user["groups"])]
            subprocess.run(["useradd", *options, user["name"]], check=True)


def lay_files(source: Path, index: dict[str, Any], root: Path = Path("/")) -> None:
    """Write the bundle's directories and files with their modes and owners, each file in one step; the manifests, which hold sums of the others, last."""
    sums: dict[str, str] = {}
    for entry in index["directories"]:
        path = root / entry["path"].lstrip("/")
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(int(entry["mode"], 8))
        shutil.chown(path, entry["owner"], entry["group"])
    for entry in sorted(index["files"], key=lambda one: one["path"].startswith(MANIFESTS)):
        path, data = root / entry["path"].lstrip("/"), (source / entry["path"].lstrip("/")).read_bytes()
        found = hashlib.sha256(data).hexdigest()
        if found != entry["sha256"]:
            raise SystemExit(f"flotilla: {entry['path']} in the boot bundle has the checksum {found} instead of {entry['sha256']}")
        for name, item in entry.get("own", {}).items():
            value = metadata(item).encode()
            data = re.sub(rb"(?m)^" + name.encode() + rb"=$", lambda found, value=value: found[0] + value, data)  # type: ignore[misc]
        sums[entry["path"]] = hashlib.sha256(data).hexdigest()
        if entry["path"].startswith(MANIFESTS):
            data = signed(data, sums)
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_name(f".{path.name}.new")
        scratch.write_bytes(data)
        scratch.chmod(int(entry["mode"], 8))
        shutil.chown(scratch, entry["owner"], entry["group"])
        scratch.replace(path)


def signed(data: bytes, sums: dict[str, str]) -> bytes:
    """A manifest with the sums of the files that are this host's own."""
    known = json.loads(data)
    for path, row in known["files"].items():
        row["sha256"] = row["sha256"] or sums.get(path, "")
    return (json.dumps(known, indent=1, sort_keys=True) + "\n").encode()


def install_packages(names: list[str], programs: dict[str, str], deadline: float) -> None:
    """Install what the image lacks, over and over until the deadline; at last the packages of those programs that have not come with the others."""
    installed: list[str] = []
    while True:
        query = ["dpkg-query", "--show", "--showformat=${Package} ${db:Status-Status}\n", *names]
        known = subprocess.run(query, capture_output=True, text=True, check=False).stdout.splitlines()
        missing = sorted({*names} - {line.split(" ")[0] for line in known if line.endswith(" installed")})
        missing = missing or sorted({package for program, package in programs.items() if not shutil.which(program)})
        if not missing:
            return
        if missing == installed:
            raise SystemExit(f"flotilla: {', '.join(missing)} is installed, and there is still no program {' or '.join(sorted(programs))}")
        say(f"installing {', '.join(missing)}")
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        apt = ["apt-get", "-q", "-o", "DPkg::Lock::Timeout=120"]
        for command in ([*apt, "update"], [*apt, "install", "--yes", "--no-install-recommends", *missing]):
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment, check=False)
        if done.returncode and time.monotonic() + 5 > deadline:
            raise SystemExit(f"flotilla: cannot install {', '.join(missing)}: {done.stderr.strip()[-500:]}")
        installed = [] if done.returncode else missing
        time.sleep(5.0 if done.returncode else 0.0)


def wait_for_engine(deadline: float) -> None:
    while True:
        try:
            docker("version", "--format", "{{.Server.Version}}", seconds=10)
            return
        except (SystemExit, subprocess.TimeoutExpired) as error:
            if time.monotonic() > deadline:
                raise SystemExit(f"flotilla: the docker engine does not answer: {error}")
        time.sleep(0.5)


def parameter(name: str) -> dict[str, Any] | None:
    """The JSON document of a parameter, None when there is none."""
    ssm = client("ssm")
    try:
        return dict(json.loads(ssm.get_parameter(Name=name)["Parameter"]["Value"]))
    except ssm.exceptions.ParameterNotFound:
        return None


def start_current(service: dict[str, Any], deadline: float) -> bool:
    """Start the release that the pointer names, unless a release of the control node has come before; False when it is not here.

    A release that ended meanwhile has moved the pointer without knowing this host: it is read once more when the service answers.
    """
    done = None
    while (pointer := parameter(service["pointer"])) and pointer["number"] != done:
        number = int(pointer["number"])
        instance = service["instances"].get(pointer.get("colour") or "", service["name"])
        directory = CONFIGURATION / instance
        release, link = directory / "releases" / str(number), directory / "current"
        if not (release / "release.json").is_file():
            return False
        own = json.loads(BOOTED.read_text(encoding="utf-8")) if BOOTED.is_file() else {}
        if link.is_symlink() and os.readlink(link) != f"releases/{own.get(instance)}":
            say(f"{instance} runs {os.readlink(link)} already, and is left to whoever started it")
            return True
        began = time.monotonic()
        pull(facts_of(release)["image"], deadline)
        say(f"the image of release {number} of {instance} is here after {time.monotonic() - began:.1f} s")
        BOOTED.parent.mkdir(parents=True, exist_ok=True)
        BOOTED.write_text(json.dumps({**own, instance: number}), encoding="utf-8")
        replace_link(link, f"releases/{number}")
        unit = f"flotilla-{instance}.service"
        replace_link(SYSTEM_UNITS / unit, str(link / unit))
        replace_link(SYSTEM_UNITS / "multi-user.target.wants" / unit, f"../{unit}")  # as a release does it: files are the same on all hosts
        if pointer.get("colour"):
            (CONFIGURATION / service["name"]).mkdir(parents=True, exist_ok=True)
            (CONFIGURATION / service["name"] / "live").write_text(f"{instance}\n", encoding="utf-8")
        for command in (["daemon-reload"], ["restart", "--no-block", unit]):
            subprocess.run(["systemctl", *command], check=True, stdin=subprocess.DEVNULL)
        began = time.monotonic()
        answered = wait_for_answer(service, f"flotilla-{instance}", facts_of(release).get("port"), deadline)
        # A new instance would not do better: whatever it waits for, the load balancer sends nothing until it is healthy.
        say(f"release {number} of {instance} " + (f"answers after {time.monotonic() - began:.1f} s" if answered else "does not answer yet"))
        done = pointer["number"]
    return True


def replace_link(link: Path, target: str) -> None:
    """Make a symbolic link, replacing an older one in one step."""
    link.parent.mkdir(parents=True, exist_ok=True)
    scratch = link.with_name(f".{link.name}.new")
    scratch.unlink(missing_ok=True)
    scratch.symlink_to(target)
    scratch.replace(link)


def pull(image: str, deadline: float) -> None:
    """Pull an image by its digest, over and over until the deadline."""
    registry = image.split("/", 1)[0]
    while subprocess.run(["docker", "image", "inspect", image], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode:
        try:
            options: tuple[str, ...] = ()
            if ".dkr.ecr." in registry:
                registry_login(registry)
                options = ("--config", str(RUN / "docker"))
            docker(*options, "pull", "--quiet", image, seconds=max(5.0, deadline - time.monotonic()))
        except (Exception, SystemExit) as error:
            reason = str(error).removeprefix("flotilla: ").strip()
            if time.monotonic() + 2 > deadline:
                raise SystemExit(
                    f"flotilla: cannot pull {image} from the registry {registry}: {reason}. Fix: see that the registry can be reached from this "
                    "subnet, that it has this digest, and that the host's role may pull from it"
                )
            say(f"cannot pull from {registry}: {reason}; trying again")
            time.sleep(2.0)
        finally:
            shutil.rmtree(RUN / "docker", ignore_errors=True)


def wait_for_answer(service: dict[str, Any], name: str, port: int | None, deadline: float) -> bool:
    """Whether the service answers on this host before the deadline; any status will do, for the load balancer judges it."""
    import urllib.error
    import urllib.request

    while time.monotonic() < deadline:
        try:
            if not port or service["probe"] == "none":
                if docker("ps", "--quiet", "--filter", f"name=^/?{name}$"):
                    return True
            elif service["probe"] == "tcp":
                socket.create_connection(("127.0.0.1", port), 2).close()
                return True
            else:
                urllib.request.urlopen(f"http://127.0.0.1:{port}{service['path'] or '/'}", timeout=2).close()
                return True
        except urllib.error.HTTPError:
            return True
        except (OSError, SystemExit):
            pass
        time.sleep(0.2)
    return False


def pull_spares() -> None:
    """Have the images of the older releases too, for a way back; a release whose image is gone cannot be gone back to."""
    deadline = time.monotonic() + SPARE_SECONDS
    for release in sorted(CONFIGURATION.glob("*/releases/[0-9]*")):
        try:
            pull(facts_of(release)["image"], min(deadline, time.monotonic() + 20))
        except SystemExit as error:
            say(f"{release} is removed, for its image cannot be had: {error}")
            shutil.rmtree(release, ignore_errors=True)


# ---- images

# What an instance has of its own, in cloud-init's, ssh's, systemd's, dbus's, the engine's and Debian's places; below a directory that stays, its content.
OWN_FILES = (
    "/etc/machine-id:", "/var/lib/dbus/machine-id", "/etc/ssh/ssh_host_*", "/root/.ssh", "/root/.*history", "/home/*/.ssh/authorized_keys",
    "/home/*/.*history", "/root/.docker", "/home/*/.docker", "/root/.aws", "/etc/sudoers.d/90-cloud-init-users", "/var/lib/cloud",
    "/var/lib/systemd/random-seed", "/var/lib/systemd/credential.secret", "/var/lib/systemd/timesync", "/var/lib/dhcp/*",
    "/etc/docker/key.json", "/var/lib/docker/engine-id", "/var/lib/docker/network/*", "/var/lib/docker/containers/*", "/var/lib/docker/tmp/*",
    "/var/lib/flotilla", "/etc/flotilla", "/etc/systemd/system/flotilla-*", "/etc/systemd/system/*.wants/flotilla-*",
    "/usr/local/lib/flotilla", "/var/cache/apt/archives/*.deb", "/var/tmp/*", "/tmp/*",
)  # fmt: skip


def current_images(index: dict[str, Any]) -> dict[str, str] | None:
    """Service → image of the release that its pointer names; None when such a release is not in this bundle."""
    found = {}
    for service in index["services"]:
        pointer = parameter(service["pointer"])
        if pointer:
            instance = service["instances"].get(pointer.get("colour") or "", service["name"])
            release = CONFIGURATION / instance / "releases" / str(pointer["number"])
            if not (release / "release.json").is_file():
                say(f"the current release of {service['name']} is not in this bundle; a newer one is fetched")
                return None
            found[service["name"]] = facts_of(release)["image"]
    return found


def bake(bundle: str, seconds: str) -> int:
    """Have packages, engine and images of all releases, and start no service. Then forget whatever is this instance's own."""
    deadline = time.monotonic() + float(seconds)
    index = prepared(Path(bundle), deadline)
    wanted = current_images(index)
    if wanted is None:
        return AGAIN
    for image in wanted.values():
        pull(image, deadline)
    pull_spares()
    say(f"has the images of {', '.join(wanted) or 'no service'}")
    say_identity()
    # It writes down how the boot went, last of all.
    subprocess.run(["cloud-init", "status", "--wait"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, timeout=max(5.0, deadline - time.monotonic()))
    forget(index)
    return 0


def prove(bundle: str, seconds: str) -> int:
    """Become what the peers are and start nothing. SystemExit when the image lacks what it is for."""
    began = time.monotonic()
    deadline = began + float(seconds)
    index = prepared(Path(bundle), deadline)
    wanted = current_images(index)
    if wanted is None:
        return AGAIN
    for service, image in wanted.items():
        # Made, not started: what the service does with other systems is left to the hosts.
        docker("rm", docker("create", "--pull", "never", "--network", "none", image, "none").strip())
        say(f"has the image of {service}")
    say_identity()
    return 0


def say_identity() -> None:
    """Sums of what no two machines share."""
    keys = b"".join(path.read_bytes() for path in sorted(Path("/etc/ssh").glob("ssh_host_*.pub")))
    known = {"machine-id": Path("/etc/machine-id").read_bytes(), "ssh": keys}
    say("identity " + " ".join(f"{name}={hashlib.sha256(value).hexdigest()[:16]}" for name, value in known.items()))


def forget(index: dict[str, Any], root: Path = Path("/")) -> None:
    """Remove what is this instance's own: identity, keys, accounts, logs, and the files that each host is given at its boot anyway."""
    units = [Path(entry["path"]).name for entry in index["files"] if entry["path"].startswith("/etc/systemd/system/")]
    units = [name for name in units if name.endswith((".service", ".timer"))]
    for command in (["docker", "container", "prune", "--force"], ["systemctl", "stop", *units, "docker.socket", "docker.service", "containerd.service"]):
        subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    for user in index["users"]:
        subprocess.run(["userdel", "--remove", "--force", user["name"]], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    # From here on in memory.
    subprocess.run(["journalctl", "--relinquish-var"], check=False)
    wipe(index, root)
    subprocess.run(["systemctl", "daemon-reload"], check=True)
    os.sync()


def wipe(index: dict[str, Any], root: Path = Path("/")) -> None:
    """The files of that."""
    for entry in index["files"]:
        (root / entry["path"].lstrip("/")).unlink(missing_ok=True)
    for entry in sorted(index["directories"], key=lambda one: str(one["path"]), reverse=True):
        with suppress(OSError):  # not there, or not ours alone
            (root / entry["path"].lstrip("/")).rmdir()
    for pattern in OWN_FILES:
        for path in root.glob(pattern.rstrip(":").lstrip("/")):
            if pattern.endswith(":"):
                path.write_bytes(b"")  # empty: made anew at the next boot (machine-id(5), "First Boot Semantics")
            elif path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
    for path in sorted((root / "var/log").rglob("*"), reverse=True):
        if path.is_file() or path.is_symlink():
            path.unlink()
        elif path.parent.name == "journal":
            path.rmdir()


VERBS: dict[str, tuple[Callable[..., int | None], int, int]] = {
    "storage": (storage, 1, 1),
    "secrets": (secrets, 1, 1),
    "container": (container, 1, 1),
    "migrate": (migrate, 2, 2),
    "console": (console, 0, 3),
    "registry-login": (registry_login, 1, 1),
    "boot": (boot, 2, 2),
    "bake": (bake, 2, 2),
    "prove": (prove, 2, 2),
    "leave": (leave, 0, 0),
}


def main() -> int:
    verb, arguments = (sys.argv[1:2] or [""])[0], sys.argv[2:]
    act, least, most = VERBS.get(verb, (None, 0, 0))
    if act is None or not least <= len(arguments) <= most or (verb == "console" and len(arguments) == 1):
        raise SystemExit(__doc__)
    try:
        return act(*arguments) or 0
    except Exception as error:
        raise SystemExit(f"flotilla: {verb} {' '.join(arguments)}: {error}")


if __name__ == "__main__":
    sys.exit(main())
