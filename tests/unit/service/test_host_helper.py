"""The helper that runs on hosts: secrets become private files, patience while AWS is away, readable words at the end."""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import io
import json
import os
import socket
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import boto3
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

SOURCE = Path(__file__).resolve().parents[3] / "roles" / "host_baseline" / "files" / "host.py"


class Manager:
    """Secrets Manager that fails `away` times first."""

    def __init__(self, away: int = 0) -> None:
        self.away = away
        self.asked: list[str] = []

    def get_secret_value(self, SecretId: str) -> dict[str, str]:
        self.asked.append(SecretId)
        if self.away > 0:
            self.away -= 1
            raise ConnectionError("no route to host")
        return {"SecretString": json.dumps({"username": "hello_web", "password": "p4ss"})}


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("flotilla_host", SOURCE)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    clock = {"now": 0.0}
    monkeypatch.setattr(module.time, "monotonic", lambda: clock["now"])
    monkeypatch.setattr(module.time, "sleep", lambda seconds: clock.update(now=clock["now"] + seconds))
    monkeypatch.setattr(module, "CONFIGURATION", tmp_path / "etc")
    monkeypatch.setattr(module, "RUN", tmp_path / "run")
    monkeypatch.setattr(module, "SOCKET", str(tmp_path / "docker.sock"))  # there is none: docker's program is asked
    return module


def release(helper: ModuleType, wanted: dict[str, Any], name: str = "current", **facts: Any) -> Path:
    directory = helper.CONFIGURATION / "web" / name
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "secrets.json").write_text(json.dumps(wanted))
    (directory / "container").write_text("--read-only\n--user=10001:10001\n")
    (directory / "release.json").write_text(json.dumps({"user": f"{os.getuid()}:{os.getgid()}", "image": "registry/web@sha256:1f", "release": 3} | facts))
    return Path(helper.RUN / "web" / "secrets")


WANTED = {"database_password": {"secret": "flotilla/x", "field": "password"}, "database_user": {"secret": "flotilla/x", "field": "username"}}


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives files away")
def test_secrets_are_private_files_and_asked_for_once(helper: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = release(helper, WANTED)
    manager = Manager()
    monkeypatch.setattr(helper, "client", lambda service: manager)
    helper.secrets("web")
    assert (directory / "database_password").read_text() == "p4ss"
    assert (directory / "database_password").stat().st_mode & 0o777 == 0o400
    assert manager.asked == ["flotilla/x"]
    release(helper, {})
    helper.secrets("web")
    assert list(directory.iterdir()) == []


def test_patience_while_secrets_manager_is_away(helper: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    manager = Manager(away=3)
    monkeypatch.setattr(helper, "client", lambda service: manager)
    assert helper.fetch_patiently(WANTED, False) == {"database_password": "p4ss", "database_user": "hello_web"}
    words = capsys.readouterr().err
    assert words.count("no route to host; trying again") == 3
    assert "p4ss" not in words


def test_patience_ends_with_what_is_wrong_and_the_fix(helper: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(helper, "client", lambda service: Manager(away=10**6))
    with pytest.raises(SystemExit, match=r"cannot read flotilla/x: no route to host\. Fix: .*GetSecretValue"):
        helper.fetch_patiently(WANTED, False)


def test_the_values_of_the_last_start_serve_while_aws_is_away(helper: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(helper, "client", lambda service: Manager(away=10**6))
    assert helper.fetch_patiently(WANTED, True) is None


def test_a_missing_field_names_those_there_are(helper: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(helper, "client", lambda service: Manager())
    with pytest.raises(ValueError, match="no field 'pin'; it has: password, username"):
        helper.fetch({"pin": {"secret": "flotilla/x", "field": "pin"}})


def test_settings_are_read_as_an_environment_file(helper: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "aws.env").write_text("# managed\nAWS_REGION=eu-central-1\nAWS_ENDPOINT_URL=http://198.18.0.1:4577/?a=b\n")
    assert helper.settings(tmp_path / "aws.env") == {"AWS_REGION": "eu-central-1", "AWS_ENDPOINT_URL": "http://198.18.0.1:4577/?a=b"}


class Aws:
    """The metadata service and an endpoint of AWS, asked by urllib. status and answer are the endpoint's."""

    def __init__(self, helper: ModuleType, monkeypatch: pytest.MonkeyPatch, status: int = 200, answer: str = "{}", role: bool = True) -> None:
        self.status, self.answer = status, answer
        self.requests: list[urllib.request.Request] = []
        items = {"iam/security-credentials/": "web", "services/domain": "amazonaws.com"}
        items["iam/security-credentials/web"] = json.dumps({"AccessKeyId": "AKID", "SecretAccessKey": "SECRET", "Token": "TOKEN"})

        def metadata(name: str) -> str:
            if not role:
                raise urllib.error.HTTPError(name, 404, "Not Found", {}, None)  # type: ignore[arg-type]
            return items[name]

        monkeypatch.setattr(helper, "metadata", metadata)
        monkeypatch.setattr(urllib.request, "urlopen", self.urlopen)
        helper.CONFIGURATION.mkdir(parents=True, exist_ok=True)
        (helper.CONFIGURATION / "aws.env").write_text("AWS_REGION=eu-central-1\n")

    def urlopen(self, request: urllib.request.Request, timeout: float) -> io.BytesIO:
        self.requests.append(request)
        if self.status != 200:
            raise urllib.error.HTTPError(request.full_url, self.status, "Bad Request", {}, io.BytesIO(self.answer.encode()))  # type: ignore[arg-type]
        return io.BytesIO(self.answer.encode())


@pytest.mark.parametrize(
    ("service", "url", "call"),
    [
        ("secretsmanager", "https://secretsmanager.eu-central-1.amazonaws.com/", lambda client: client.get_secret_value(SecretId="flotilla/x")),
        ("ecr", "https://api.ecr.eu-central-1.amazonaws.com/", lambda client: client.get_authorization_token()),
    ],
)
def test_a_call_without_boto3_is_signed_as_botocore_signs_it(
    helper: ModuleType, monkeypatch: pytest.MonkeyPatch, service: str, url: str, call: Callable[[Any], Any]
) -> None:
    aws = Aws(helper, monkeypatch, answer='{"SecretString": "p4ss"}')
    assert call(helper.client(service)) == {"SecretString": "p4ss"}
    (sent,) = aws.requests
    assert (sent.full_url, sent.get_method(), sent.get_header("X-amz-security-token")) == (url, "POST", "TOKEN")
    headers = {name: sent.get_header(name) for name in ("Content-type", "X-amz-target")}
    request = AWSRequest("POST", url, headers=headers, data=sent.data)
    moment = datetime.strptime(str(sent.get_header("X-amz-date")), "%Y%m%dT%H%M%SZ")
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda *_: moment, raising=False)
    SigV4Auth(Credentials("AKID", "SECRET", "TOKEN"), service, "eu-central-1").add_auth(request)
    assert sent.get_header("Authorization") == request.headers["Authorization"]
    expected = boto3.client(service, region_name="eu-central-1", aws_access_key_id="a", aws_secret_access_key="b")
    assert f"{expected.meta.endpoint_url}/" == url
    assert sent.get_header("X-amz-target") == f"{expected.meta.service_model.metadata['targetPrefix']}.{request.headers['X-amz-target'].rpartition('.')[2]}"


def test_a_call_that_is_refused_says_why(helper: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    Aws(helper, monkeypatch, 400, '{"__type": "com.amazonaws#AccessDeniedException", "Message": "not authorized to perform secretsmanager:GetSecretValue"}')
    with pytest.raises(RuntimeError, match="GetSecretValue with AccessDeniedException: not authorized to perform"):
        helper.client("secretsmanager").get_secret_value(SecretId="flotilla/x")


def test_without_a_role_in_the_metadata_boto3_is_asked(helper: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    Aws(helper, monkeypatch, role=False)
    assert type(helper.client("secretsmanager")).__module__.startswith("botocore")


def engine(helper: ModuleType, monkeypatch: pytest.MonkeyPatch, **answers: str) -> list[tuple[str, ...]]:
    """Stand in for docker. answers: `same` and `any` are ids of containers with the same configuration or migration, and of any; `inspect` what is said
    of one; `image` its settings;
    `exited` one that has ended well; `code` what wait says. Returns what was run beside questions."""
    acted: list[tuple[str, ...]] = []

    def docker(*arguments: str, seconds: float | None = None) -> str:
        words = " ".join(arguments)
        if arguments[0] == "ps":
            return answers.get("exited" if "exited=0" in words else "same" if "label=" in words else "any", "")
        if arguments[:2] == ("image", "inspect"):
            return answers.get("image", "{}")
        if arguments[:2] == ("container", "inspect"):
            return answers["inspect"]
        if arguments[0] == "wait":
            if answers.get("code") == "late":
                raise helper.subprocess.TimeoutExpired("docker", seconds or 0)
            return answers.get("code", "0")
        acted.append(arguments)
        return ""

    monkeypatch.setattr(helper, "docker", docker)
    return acted


def inspected(helper: ModuleType, status: str = "running", **labels: str) -> str:
    """What docker says of a container with the current configuration, or with these labels."""
    configuration = hashlib.sha256((helper.CONFIGURATION / "web/current/release.json").read_bytes()).hexdigest()[:16]
    known = {"State": {"Status": status}, "Config": {"Labels": labels or {"flotilla.configuration": configuration}}}
    return json.dumps([known])


def test_a_container_that_outlived_its_engine_goes_on(helper: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    release(helper, {})
    acted = engine(helper, monkeypatch, any="3f", inspect=inspected(helper))
    helper.container("web")
    assert acted == []


def test_a_container_that_has_ended_is_made_anew(helper: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    release(helper, {})
    acted = engine(helper, monkeypatch, any="3f", inspect=inspected(helper, "exited"))
    helper.container("web")
    assert [one[0] for one in acted] == ["rm", "create"]


def test_the_engine_is_asked_over_its_socket(helper: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its program is started for what it alone can do: to make the container."""
    release(helper, {})
    asked: list[str] = []
    gone = json.dumps({"State": {"Status": "exited"}, "Config": {"Labels": {}}}).encode()

    def serve() -> None:
        for answer in (b"HTTP/1.0 200 OK\r\n\r\n" + gone, b"HTTP/1.0 204 No Content\r\n\r\n"):
            connection = listener.accept()[0]
            asked.append(connection.recv(4096).decode().split("\r\n")[0])
            connection.sendall(answer)
            connection.close()

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(helper.SOCKET)
        listener.listen()
        server = threading.Thread(target=serve, daemon=True)
        server.start()
        acted = engine(helper, monkeypatch)
        helper.container("web")
        server.join(5)
    assert asked == ["GET /containers/flotilla-web/json HTTP/1.0", "DELETE /containers/flotilla-web?force=1 HTTP/1.0"]
    assert [one[0] for one in acted] == ["create"]


def test_a_container_of_another_configuration_makes_way(helper: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    release(helper, {}, port=8080, container_port=80)
    acted = engine(helper, monkeypatch, any="3f", inspect=inspected(helper, **{"flotilla.configuration": "another"}))
    helper.container("web")
    assert acted[0] == ("rm", "--force", "flotilla-web")
    create = acted[1]
    configuration = hashlib.sha256((helper.CONFIGURATION / "web/current/release.json").read_bytes()).hexdigest()[:16]
    assert create[:3] == ("create", "--name", "flotilla-web")
    assert create[-1] == "registry/web@sha256:1f"
    for pair in (("--publish", "8080:80"), ("--label", f"flotilla.configuration={configuration}")):
        assert pair in list(zip(create, create[1:], strict=False))
    assert "--read-only" in create


VARIABLES = {"API_TOKEN": {"secret": "flotilla/x", "field": "password"}, "database_user": {"secret": "flotilla/x", "field": "username"}}


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives files away")
def test_a_secret_with_a_capital_name_is_a_line_of_a_private_file_that_a_shell_reads(helper: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = release(helper, VARIABLES)
    monkeypatch.setattr(helper, "client", lambda service: Manager())
    monkeypatch.setattr(Manager, "get_secret_value", lambda self, SecretId: {"SecretString": json.dumps({"username": "u", "password": "it's $HOME"})})
    helper.secrets("web")
    file = directory.parent / "environment" / "variables"
    assert file.stat().st_mode & 0o777 == 0o400
    shown = subprocess.run(["sh", "-c", f'. {file}; printf %s "$API_TOKEN"'], capture_output=True, text=True, check=True).stdout
    assert shown == "it's $HOME"
    assert [path.name for path in directory.iterdir()] == ["database_user"]
    release(helper, {})
    helper.secrets("web")
    assert not file.exists()


def test_secret_variables_reach_the_images_own_program_through_a_lent_shell(helper: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    release(helper, VARIABLES)
    engine(helper, monkeypatch, image=json.dumps({"Entrypoint": ["/app"], "Cmd": ["serve", "--fast"]}))
    current = helper.CONFIGURATION / "web" / "current"
    own = helper.create_command(current, "flotilla-web", helper.RUN / "web")
    assert own[-7:] == ["registry/web@sha256:1f", "sh", "-c", helper.READ_VARIABLES, "sh", "/app", "serve", "--fast"][-7:]
    assert own[own.index("--entrypoint") + 1] == helper.LENT_SHELL
    assert helper.create_command(current, "x", helper.RUN / "web", ["irb", "-f"])[-3:] == ["sh", "irb", "-f"]
    release(helper, {})
    plain = helper.create_command(current, "x", helper.RUN / "web", ["irb", "-f"])
    assert plain[-4:] == ["--entrypoint", "irb", "registry/web@sha256:1f", "-f"]


MIGRATION = {"command": ["migrate", "up"], "timeout_seconds": 30}


def migrated(helper: ModuleType, monkeypatch: pytest.MonkeyPatch, **answers: str) -> tuple[int, list[tuple[str, ...]]]:
    release(helper, {}, name="releases/3", migration=MIGRATION)
    acted = engine(helper, monkeypatch, **answers)
    monkeypatch.setattr(helper.os, "chown", lambda *arguments: None)
    monkeypatch.setattr(helper.subprocess, "run", lambda command, **more: subprocess.CompletedProcess(command, 0, "output\n", ""))
    return helper.migrate("web", "3"), acted


def test_a_migration_runs_in_a_container_of_its_own(helper: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    code, acted = migrated(helper, monkeypatch, any="old")
    assert code == 0
    assert [words[0] for words in acted] == ["rm", "create", "start"]
    assert acted[1][:5] == ("create", "--name", "flotilla-web-migration", "--label", "flotilla.migration=3")
    assert acted[1][-4:] == ("--entrypoint", "migrate", "registry/web@sha256:1f", "up")
    assert "output" in capsys.readouterr().out


def test_a_migration_whose_caller_was_killed_is_waited_for_and_not_run_beside_itself(helper: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    assert migrated(helper, monkeypatch, any="a", same="a") == (0, [])
    assert migrated(helper, monkeypatch, any="a", exited="a") == (0, [])


def test_a_migration_that_was_cut_off_runs_again_and_one_that_never_ends_is_killed(helper: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    code, acted = migrated(helper, monkeypatch, any="dead", code="3")
    assert (code, [words[0] for words in acted]) == (3, ["rm", "create", "start"])
    code, acted = migrated(helper, monkeypatch, code="late")
    assert (code, acted[-1]) == (124, ("kill", "flotilla-web-migration"))


def test_a_console_that_is_not_allowed_names_those_that_are(helper: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    release(helper, {}, console={"irb": ["irb"], "sql": ["mysql"]})
    (helper.CONFIGURATION / "host.env").write_text("FLOTILLA_HOST=i-1\n")
    lines: list[str] = []
    monkeypatch.setattr(helper.syslog, "syslog", lambda level, text: lines.append(text))
    monkeypatch.setenv("SUDO_USER", "ann")
    with pytest.raises(SystemExit, match=r"web has no console program 'bash'\. Allowed here: web: irb, sql"):
        helper.console("web", "bash")
    assert lines[0].startswith("refused ") and '"who": "ann"' in lines[0]
    for service in ("api", "../web", ""):
        with pytest.raises(SystemExit):
            helper.console(service or "x", "irb")


def test_a_console_opens_in_the_colour_that_serves(helper: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    release(helper, {}, service="web", console={"irb": ["irb"]})
    green = helper.CONFIGURATION / "web-green" / "current"
    green.mkdir(parents=True)
    (green / "release.json").write_text(json.dumps({"service": "web", "user": "1:1", "image": "x", "console": {"sql": ["mysql"]}}))
    assert (helper.serving("web"), helper.allowed()) == ("web", "web: irb")
    (helper.CONFIGURATION / "web" / "live").write_text("web-green\n")
    assert (helper.serving("web"), helper.allowed("web"), helper.allowed()) == ("web-green", "web: sql", "web: sql")


class Bucket:
    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}

    def put_object(self, Bucket: str, Key: str, Body: bytes) -> None:
        self.objects[f"{Bucket}/{Key}"] = json.loads(Body)


def test_a_console_is_on_record_with_its_beginning_and_its_end(helper: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    release(helper, VARIABLES, console={"irb": ["irb", "-f"]})
    (helper.CONFIGURATION / "host.env").write_text("FLOTILLA_HOST=i-1\n")
    (helper.CONFIGURATION / "console.env").write_text("RECORDS_BUCKET=b\n")
    bucket, ran, lines = Bucket(), [], []
    monkeypatch.setattr(helper, "client", lambda service: bucket)
    monkeypatch.setattr(helper.syslog, "syslog", lambda level, text: lines.append(text.split()[0]))

    def run(command: list[str], **more: Any) -> Any:
        ran.append(command)
        return subprocess.CompletedProcess(command, 7)

    monkeypatch.setattr(helper.subprocess, "run", run)
    monkeypatch.setattr(helper.sys, "stdin", io.StringIO())
    monkeypatch.setenv("SUDO_USER", "ann")
    assert helper.console("web", "irb") == 7
    assert ran == [["docker", "exec", "--interactive", "flotilla-web", helper.LENT_SHELL, "sh", "-c", helper.READ_VARIABLES, "sh", "irb", "-f"]]
    [(key, record)] = bucket.objects.items()
    assert key.startswith("b/consoles/web/") and key.endswith("-ann-i-1.json")
    assert (record["who"], record["program"], record["release"], record["exit_code"]) == ("ann", "irb", 3, 7)
    assert record["began"] <= record["ended"]
    assert lines == ["opened", "closed"]


def test_a_console_that_cannot_be_recorded_is_not_opened(helper: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    release(helper, {}, console={"irb": ["irb"]})
    (helper.CONFIGURATION / "host.env").write_text("FLOTILLA_HOST=i-1\n")
    (helper.CONFIGURATION / "console.env").write_text("RECORDS_BUCKET=b\n")
    monkeypatch.setattr(helper, "client", lambda service: object())
    monkeypatch.setattr(helper.syslog, "syslog", lambda level, text: None)
    monkeypatch.setattr(helper.subprocess, "run", lambda *arguments, **more: pytest.fail("it was opened"))
    with pytest.raises(SystemExit, match="cannot be recorded, so it is not opened"):
        helper.console("web", "irb")


class Volumes:
    """EC2 with one volume. It is attached and detached at the second look after the call."""

    def __init__(self, holder: str = "", state: str = "terminated", tags: dict[str, str] | None = None) -> None:
        self.holder, self.holder_state, self.tags = holder, state, tags or {}
        self.acted: list[str] = []

    def describe_volumes(self, Filters: list[dict[str, Any]]) -> dict[str, Any]:
        if Filters[0]["Name"] == "attachment.instance-id":
            return {"Volumes": []}
        attachments = [{"InstanceId": self.holder, "State": "attached", "Device": "/dev/sdf"}] if self.holder else []
        tags = [{"Key": key, "Value": value} for key, value in self.tags.items()]
        return {"Volumes": [{"VolumeId": "vol-1", "State": "in-use" if self.holder else "available", "Attachments": attachments, "Tags": tags}]}

    def describe_instances(self, InstanceIds: list[str]) -> dict[str, Any]:
        return {"Reservations": [{"Instances": [{"State": {"Name": self.holder_state}}]}]}

    def detach_volume(self, VolumeId: str, InstanceId: str) -> None:
        self.acted.append(f"detach {InstanceId}")
        self.holder = ""

    def attach_volume(self, VolumeId: str, InstanceId: str, Device: str) -> None:
        self.acted.append(f"attach {InstanceId} {Device}")
        self.holder = InstanceId

    def create_tags(self, Resources: list[str], Tags: list[dict[str, str]]) -> None:
        self.tags |= {tag["Key"]: tag["Value"] for tag in Tags}


@pytest.mark.parametrize(
    ("volumes", "acted"),
    [
        pytest.param(Volumes(), ["attach i-2 /dev/sdf"], id="free"),
        pytest.param(Volumes("i-1"), ["detach i-1", "attach i-2 /dev/sdf"], id="its instance has ended"),
        pytest.param(Volumes("i-2"), [], id="here already"),
    ],
)
def test_a_volume_comes_to_its_host(helper: ModuleType, monkeypatch: pytest.MonkeyPatch, volumes: Volumes, acted: list[str]) -> None:
    monkeypatch.setattr(helper, "device_of", lambda identifier, name: Path("/dev/nvme1n1"))
    assert helper.attached(volumes, "shop-local-redis-data", "i-2") == Path("/dev/nvme1n1")
    assert volumes.acted == acted


def test_a_volume_is_never_taken_from_an_instance_that_lives(helper: ModuleType) -> None:
    volumes = Volumes("i-1", "running")
    with pytest.raises(SystemExit, match="vol-1 .* is not here after 180 s: it is attached at i-1"):
        helper.attached(volumes, "t", "i-2")
    assert volumes.acted == []


@pytest.mark.parametrize(
    ("content", "tags", "outcome"),
    [
        pytest.param(b"", {}, "formatted", id="blank"),
        pytest.param(b"ext4", {}, "kept", id="has its file system"),
        pytest.param(b"ext4", {"flotilla:formatted": "2026"}, "kept", id="has its file system and its tag"),
        pytest.param(b"", {"flotilla:formatted": "2026"}, "although it was formatted at 2026", id="blank but was formatted once"),
        pytest.param(b"something", {}, "holds something that is no file system", id="bytes without a file system"),
        pytest.param(b"swap", {}, "holds swap", id="another kind"),
    ],
)
def test_only_a_volume_that_never_had_a_file_system_is_formatted(
    helper: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes, tags: dict[str, str], outcome: str
) -> None:
    device = tmp_path / "device"
    device.write_bytes(content + b"\0" * 10_000_000)
    volumes, ran = Volumes(tags=dict(tags)), []
    kind = content.decode() if content in (b"ext4", b"swap") else ""

    def run(command: list[str], **more: Any) -> Any:
        ran.append(command[0])
        return subprocess.CompletedProcess(command, (0 if kind else 2) if command[0] == "blkid" else 0, kind, "")

    monkeypatch.setattr(helper.subprocess, "run", run)
    if outcome in ("formatted", "kept"):
        helper.format_once(volumes, "t", device, "10001:10001")
        assert ("mkfs.ext4" in ran) == (outcome == "formatted")
        assert volumes.tags.keys() == {"flotilla:formatted"}
    else:
        with pytest.raises(SystemExit, match=outcome):
            helper.format_once(volumes, "t", device, "10001:10001")
        assert ran == ["blkid"]


def test_an_engine_that_is_away_is_told_and_nothing_is_removed(helper: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    release(helper, {})
    fake = tmp_path / "docker"
    fake.write_text(f"#!/bin/sh\necho $1 >> {tmp_path}/seen\necho 'Cannot connect to the Docker daemon' >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(SystemExit, match="Cannot connect to the Docker daemon"):
        helper.container("web")
    assert (tmp_path / "seen").read_text() == "ps\n"


def test_a_host_that_leaves_drains_stops_keeps_its_logs_and_lets_auto_scaling_go_on(helper: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """In this order, and with no service stopped before the requests are drained (state Terminating:Wait). A service without a container has no log."""
    release(helper, {})
    (helper.CONFIGURATION / "web-green" / "current").mkdir(parents=True)
    (helper.CONFIGURATION / "console.env").write_text("RECORDS_BUCKET=records\n")
    states, lives, done = iter(["InService", "Terminated"]), iter(["Terminating", "Terminating:Wait"]), list[str]()

    class Aws:
        def describe_auto_scaling_instances(self, InstanceIds: list[str]) -> dict[str, Any]:
            done.append(next(lives))
            return {"AutoScalingInstances": [{"InstanceId": InstanceIds[0], "LifecycleState": done[-1], "AutoScalingGroupName": "shop-production-web"}]}

        def put_object(self, Bucket: str, Key: str, Body: bytes) -> None:
            done.append(f"{Bucket}/{Key} {gzip.decompress(Body).decode()}")
            if "host" in Key:
                raise ConnectionError("no route to host")

        def complete_lifecycle_action(self, **parameters: str) -> None:
            done.append(" ".join(parameters.values()))
            monkeypatch.setattr(helper.time, "sleep", lambda seconds: exit(0))

    def run(command: list[str], **_options: Any) -> subprocess.CompletedProcess[bytes]:
        if command[0] == "systemctl":
            done.append(" ".join(command))
        return subprocess.CompletedProcess(command, int(command[-1] == "flotilla-web-green"), stdout=command[0].encode())

    monkeypatch.setattr(helper, "metadata", lambda name: next(states) if "lifecycle" in name else "i-1")
    monkeypatch.setattr(helper, "client", lambda service: Aws())
    monkeypatch.setattr(helper.subprocess, "run", run)
    with pytest.raises(SystemExit):
        helper.leave()
    assert done == [
        "Terminating",
        "Terminating:Wait",
        "systemctl stop flotilla-web.service flotilla-web-green.service",
        "records/logs/i-1/web.log.gz docker",
        "records/logs/i-1/host.log.gz journalctl",
        "flotilla-leave shop-production-web i-1 CONTINUE",
    ]
