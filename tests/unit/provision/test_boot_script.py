"""What user data lays on an instance: small, without secrets, signed as AWS wants it, and never taken in by a bundle that is not the published one."""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import io
import json
import os
import re
import subprocess
import sys
import tarfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import boto3
import pytest
import yaml
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

ROLE = Path(__file__).resolve().parents[3] / "roles" / "fleet"
USER_DATA_LIMIT = 16384  # "User data is limited to 16 KB, in raw form, before it is base64-encoded" (EC2 User Guide)
SETTINGS = {"region": "eu-central-1", "domain": "amazonaws.com", "endpoint": "", "root": "/flotilla/p/s", "fleet": "web", "log_group": "g", "seconds": 600}


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("flotilla_boot", ROLE / "files" / "boot.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    clock = {"now": 0.0}
    monkeypatch.setattr(module.time, "monotonic", lambda: clock["now"])
    monkeypatch.setattr(module.time, "sleep", lambda seconds: clock.update(now=clock["now"] + seconds))
    for name in ("STATE", "BUSY", "MANIFESTS"):
        monkeypatch.setattr(module, name, tmp_path / name.lower())
    module.STATE.mkdir()
    (tmp_path / "settings").write_text(json.dumps(SETTINGS))
    monkeypatch.setattr(module, "SETTINGS", tmp_path / "settings")
    monkeypatch.setattr(module, "metadata", lambda _path: "i-new")
    return module


def bundle(**files: str) -> bytes:
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as archive:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    return gzip.compress(plain.getvalue())


class Aws:
    """An account with a bundle; what the instance did there."""

    def __init__(self, data: bytes | None, published: bytes | None = None, away: int = 0) -> None:
        self.data, self.away = data, away
        self.pointer = None if data is None else {"bucket": "b", "key": "boot/web/1", "sha256": hashlib.sha256(published or data).hexdigest()}
        self.marked: list[str] = []
        self.logged: list[str] = []

    def parameter(self, _name: str) -> dict[str, str] | None:
        if self.away:
            self.away -= 1
            raise urllib.error.URLError("no route to host")
        return self.pointer

    def send(self, _service: str, **_options: Any) -> bytes:
        assert self.data is not None
        return self.data

    def unhealthy(self, instance: str) -> None:
        self.marked.append(instance)

    def log(self, group: str, stream: str) -> None:
        self.logged.append(f"{group} {stream}")


def booted(script: ModuleType, monkeypatch: pytest.MonkeyPatch, aws: Aws, ends: tuple[str, int] = ("", 0)) -> int:
    class Child:
        returncode = ends[1]
        stdout = io.StringIO(ends[0])

        def wait(self) -> int:
            return ends[1]

        def kill(self) -> None:
            raise AssertionError("it has ended")

    monkeypatch.setattr(script, "Aws", lambda *_: aws)
    monkeypatch.setattr(script.subprocess, "Popen", lambda *_, **__: Child())
    return int(script.main())


def test_user_data_is_small_and_lays_script_settings_and_unit(tmp_path: Path) -> None:
    facts = {"parameter_root": "/flotilla/production/a-long-name-of-a-stack", "environment": {"region": "eu-central-1"}, "hosts": {"aws_endpoint_url": None}}
    for name in ("files", "templates"):
        (tmp_path / name).symlink_to(ROLE / name)
    render = "{{ lookup('ansible.builtin.template', 'user_data.j2') }}"
    play = {
        "hosts": "localhost",
        "gather_facts": False,
        "vars_files": [str(ROLE / "defaults/main.yml"), str(ROLE / "vars/main.yml")],
        "vars": {"item": {"name": "web"}},
        "tasks": [
            {"ansible.builtin.set_fact": {"flotilla": facts, "cacheable": True}},
            {"ansible.builtin.copy": {"content": render, "dest": str(tmp_path / "user_data")}},
        ],
    }
    (tmp_path / "play.yml").write_text(yaml.safe_dump([play]))
    command = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", "localhost,", "-c", "local", "-e", f"ansible_python_interpreter={sys.executable}"]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    environment = {**kept, "ANSIBLE_HOME": str(tmp_path / "home")}
    done = subprocess.run([*command, "play.yml"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stdout + done.stderr
    text = (tmp_path / "user_data").read_text()
    assert text.startswith("#cloud-config\n") and len(text.encode()) < USER_DATA_LIMIT
    laid = {one["path"]: one["content"] for one in yaml.safe_load(text)["write_files"]}
    assert laid["/usr/local/lib/flotilla/boot.py"] == (ROLE / "files" / "boot.py").read_text()
    assert json.loads(laid["/etc/flotilla/boot.json"]) == {**SETTINGS, "root": facts["parameter_root"], "log_group": f"{facts['parameter_root']}/boot"}
    assert "ExecStart=/usr/bin/python3 -I /usr/local/lib/flotilla/boot.py" in laid["/etc/systemd/system/flotilla-boot.service"].splitlines()


def test_requests_are_signed_as_botocore_signs_them(script: ModuleType) -> None:
    body, moment = b'{"Name": "x"}', "20260101T100000Z"
    headers = {"host": "ssm.eu-central-1.amazonaws.com", "x-amz-date": moment, "x-amz-security-token": "t", "x-amz-target": "AmazonSSM.GetParameter"}
    digest = hashlib.sha256(body).hexdigest()
    ours = script.signature("key", "secret", "eu-central-1", "ssm", moment, ("POST", "/", "", headers, digest))
    theirs = SigV4Auth(Credentials("key", "secret", "t"), "ssm", "eu-central-1")
    request = AWSRequest("POST", "https://ssm.eu-central-1.amazonaws.com/", headers={"X-Amz-Target": "AmazonSSM.GetParameter"}, data=body)
    request.context["timestamp"] = moment
    request.headers["X-Amz-Date"] = moment
    request.headers["X-Amz-Security-Token"] = "t"
    string = theirs.string_to_sign(request, theirs.canonical_request(request))
    assert ours.endswith(f"Signature={theirs.signature(string, request)}")


def test_credentials_are_asked_for_once_a_minute(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    answers = {"iam/security-credentials/": "role\n", "iam/security-credentials/role": '{"Token": "t"}'}

    def metadata(path: str) -> str:
        asked.append(path)
        return answers[path]

    monkeypatch.setattr(script, "metadata", metadata)
    aws = script.Aws("eu-central-1", "amazonaws.com", None)
    assert aws.keys() == aws.keys() == {"Token": "t"} and asked == list(answers)
    script.time.sleep(61)
    assert aws.keys() == {"Token": "t"} and len(asked) == 4


def test_before_anything_is_published_the_instance_waits(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    aws = Aws(None)
    assert booted(script, monkeypatch, aws) == 75
    assert aws.marked == [] and not script.BUSY.exists() and not (script.STATE / "done").exists()


def test_an_instance_that_is_a_host_already_is_left_alone(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    script.MANIFESTS.mkdir()
    assert booted(script, monkeypatch, Aws(None)) == 0
    assert (script.STATE / "done").exists()


def test_a_host_says_so_in_the_log_group_and_is_never_made_again(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    aws = Aws(bundle(**{"boot.json": "{}"}), away=3)
    assert booted(script, monkeypatch, aws) == 0
    assert (aws.marked, aws.logged) == ([], ["g i-new"])
    assert (script.STATE / "done").exists()


@pytest.mark.parametrize(
    ("aws", "reason"),
    [
        pytest.param(lambda: Aws(b"else", published=b"what was published"), "has the checksum [0-9a-f]{64}, and [0-9a-f]{64} was published", id="checksum"),
        pytest.param(lambda: Aws(b"no archive"), "does not become a host of web: ", id="no archive"),
        pytest.param(lambda: Aws(bundle(**{"../../etc/passwd": "x"})), "which may not be in one", id="out of its place"),
        pytest.param(lambda: Aws(bundle(), away=10**6), "the Parameter Store: .*no route to host", id="unreachable"),
    ],
)
def test_an_instance_that_cannot_be_a_host_says_why_and_has_itself_replaced(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], aws: Any, reason: str
) -> None:
    account = aws()
    assert booted(script, monkeypatch, account) == 1
    assert (account.marked, account.logged) == (["i-new"], ["g i-new"])
    assert re.search(reason, capsys.readouterr().out)
    assert not (script.STATE / "done").exists() and not script.BUSY.exists()


@pytest.mark.parametrize(
    ("verb", "ends", "code", "words"),
    [
        ("bake", ("flotilla: identity machine-id=1\n", 0), 0, "i-new can be an image of web after"),
        ("prove", ("", 0), 0, "i-new shows that the image makes a host of web after"),
        ("bake", ("flotilla: cannot pull x\n", 1), 1, "i-new does not become a host of web: cannot pull x"),
    ],
)
def test_beside_the_group_it_says_how_it_went_and_nobody_replaces_it(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], verb: str, ends: tuple[str, int], code: int, words: str
) -> None:
    script.SETTINGS.write_text(json.dumps({**SETTINGS, "verb": verb}))
    aws = Aws(bundle(**{"boot.json": "{}"}))
    tries = [OSError("throttled"), OSError("throttled")]

    def log(group: str, stream: str) -> None:
        if tries:
            raise tries.pop()
        aws.logged.append(f"{group} {stream}")

    monkeypatch.setattr(aws, "log", log)
    assert booted(script, monkeypatch, aws, ends) == code
    assert (aws.marked, aws.logged) == ([], ["g i-new"]), "somebody waits for the log"
    assert words in capsys.readouterr().out and not (script.STATE / "done").exists()


def test_the_helpers_last_words_are_the_reason(script: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    aws = Aws(bundle(**{"boot.json": "{}"}))
    assert booted(script, monkeypatch, aws, ("flotilla: cannot pull x from the registry y\n", 1)) == 1
    assert "i-new does not become a host of web: cannot pull x from the registry y" in capsys.readouterr().out


@pytest.fixture
def account(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, Callable[[str], Any]]]:
    """(the script's way to an API server, boto3 clients of the same)."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    role = {"AccessKeyId": "key", "SecretAccessKey": "secret", "Token": "token"}
    answers = {"iam/security-credentials/": "role", "iam/security-credentials/role": json.dumps(role), "instance-id": "i-new"}
    monkeypatch.setattr(script, "metadata", lambda path: answers[path])
    url = f"http://{host}:{port}"

    def client(service: str) -> Any:
        return boto3.client(service, region_name="eu-central-1", endpoint_url=url, aws_access_key_id="a", aws_secret_access_key="b")

    try:
        yield script.Aws("eu-central-1", "amazonaws.com", url), client
    finally:
        urllib.request.urlopen(urllib.request.Request(f"{url}/moto-api/reset", method="POST")).close()
        server.stop()


@pytest.mark.filterwarnings("ignore:Exception.InvalidInstanceIdError:UserWarning")
def test_the_calls_are_ones_that_the_api_understands(script: ModuleType, account: tuple[Any, Callable[[str], Any]]) -> None:
    """Parameter Store, bucket, log group, and the health of an instance that no group has."""
    aws, client = account
    assert aws.parameter("/x") is None
    client("ssm").put_parameter(Name="/x", Value='{"a": 1}', Type="String")
    assert aws.parameter("/x") == {"a": 1}
    client("s3").create_bucket(Bucket="records", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    client("s3").put_object(Bucket="records", Key="boot/web/a b.tar.gz", Body=b"data")
    assert aws.send("s3", path="/boot/web/a b.tar.gz", bucket="records") == b"data"
    with pytest.raises(urllib.error.HTTPError, match="404"):
        aws.send("s3", path="/boot/web/none", bucket="records")
    client("logs").create_log_group(logGroupName="/boot")
    script.said[:] = [(int(time.time() * 1000), "it is a host")]
    for _ in range(2):
        aws.log("/boot", "i-new")
    events = client("logs").get_log_events(logGroupName="/boot", logStreamName="i-new")["events"]
    assert [row["message"] for row in events] == ["it is a host"] * 2
    with pytest.raises(urllib.error.HTTPError, match="400"):
        aws.unhealthy("i-unknown")
