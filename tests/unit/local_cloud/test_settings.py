"""Where a cloud listens and keeps its files, and its certificate authority."""

from __future__ import annotations

import os
import ssl
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from local_cloud import __main__ as command
from local_cloud import engine
from local_cloud import settings as settings_module
from local_cloud.authority import Authority
from local_cloud.settings import CHECKOUT, Settings, SettingsError


def test_defaults() -> None:
    settings = Settings.from_environment({})
    assert (settings.port, settings.metadata_port, settings.push_port, settings.http_port, settings.https_port) == (4577, 4578, 4579, 4580, 4581)
    assert (settings.state, settings.network) == (CHECKOUT / "build" / "cloud", "198.18.0.0/16")


@pytest.mark.parametrize(
    ("variable", "value"),
    [("FLOTILLA_CLOUD_PORT", "http"), ("FLOTILLA_CLOUD_PORT", "80"), ("FLOTILLA_CLOUD_NETWORK", "198.18.0.1/16"), ("FLOTILLA_CLOUD_CGROUP", "v2")],
)
def test_a_setting_that_cannot_work_is_named_with_its_fix(variable: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"{variable}.*leave it out"):
        Settings.from_environment({variable: value})


def test_the_version_of_cgroups_is_handed_on_and_one_that_the_machine_lacks_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings_module, "CGROUPS", tmp_path)
    given = {version: Settings.from_environment({"FLOTILLA_CLOUD_CGROUP": version}) for version in ("", "1", "2")}
    assert {version: settings.variables()["FLOTILLA_CLOUD_CGROUP"] for version, settings in given.items()} == {"": "", "1": "1", "2": "2"}
    (tmp_path / "cgroup.controllers").touch()
    with pytest.raises(SettingsError, match="version 2 of cgroups alone; leave it out"):
        Settings.from_environment({"FLOTILLA_CLOUD_CGROUP": "1"})


def test_clouds_side_by_side_have_names_of_their_own(tmp_path: Path) -> None:
    first, second = (Settings.from_environment({"FLOTILLA_CLOUD_STATE": str(tmp_path / name)}) for name in ("a", "b"))
    assert first.identity != second.identity
    assert first.identity == Settings(9999, tmp_path / "a", "10.0.0.0/16").identity


def test_the_secret_key_is_no_part_of_a_name() -> None:
    """Ansible masks the key's text wherever it stands in a result: with `local`, every hello-local-… would become hello-********-…"""
    assert Settings.from_environment({}).variables()["AWS_SECRET_ACCESS_KEY"] not in "arn:aws:iam::123456789012:role/hello-local-host"


def test_the_path_of_an_ssh_socket_fits_however_long_the_checkouts_is(monkeypatch: pytest.MonkeyPatch) -> None:
    for length, elsewhere in ((64, None), (65, "~/.ansible/cp")):
        monkeypatch.setattr(settings_module, "CHECKOUT", Path("/" + "x" * (length - 1)))
        assert Settings.from_environment({}).shell_variables().get("ANSIBLE_SSH_CONTROL_PATH_DIR") == elsewhere


def test_status_of_a_cloud_that_does_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("FLOTILLA_CLOUD_STATE", str(tmp_path))
    monkeypatch.setenv("FLOTILLA_CLOUD_PORT", "4697")
    assert command.main(["status"]) == 3
    assert "make cloud-up" in capsys.readouterr().out


@pytest.mark.parametrize(("error", "fix"), [("Permission denied", "usermod -aG docker"), ("Connection refused", "make setup")])
def test_no_engine_names_the_fix(error: str, fix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_options: object) -> None:
        raise OSError(error)

    monkeypatch.setattr(engine.docker, "from_env", refuse)
    with pytest.raises(engine.EngineError, match=fix):
        engine.connect()


def test_the_authority_is_kept_and_its_certificates_verify(tmp_path: Path) -> None:
    made = Authority(tmp_path)
    assert Authority(tmp_path).certificate_pem == made.certificate_pem
    assert stat.S_IMODE((tmp_path / "ca.key").stat().st_mode) == 0o600
    certificate, key = made.issue(["registry.example", "127.0.0.1"])
    (tmp_path / "server.pem").write_bytes(certificate + key)
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context(cadata=made.certificate_pem.decode())
    server.load_cert_chain(tmp_path / "server.pem")
    assert shakes(server, client, "registry.example") and shakes(server, client, "127.0.0.1")
    assert not shakes(server, client, "other.example")


def shakes(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> bool:
    """Whether a TLS handshake over a pair of memory buffers succeeds."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [client.wrap_bio(to_client, to_server, server_hostname=name), server.wrap_bio(to_server, to_client, server_side=True)]
    done: set[int] = set()
    for _ in range(10):
        for number, end in enumerate(ends):
            try:
                end.do_handshake()
                done.add(number)
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLError:
                return False
    return done == {0, 1}


def test_a_process_is_known_by_boot_namespace_number_and_start() -> None:
    name = engine.process_name()
    boot, namespace, pid, start = name.split("/")
    assert not engine.ended(name)
    assert engine.ended("/".join((boot, namespace, pid, str(int(start) + 1)))), "the number was given to another process"
    assert engine.ended("/".join(("another-boot", namespace, pid, start)))
    assert not engine.ended("/".join((boot, "pid:[1]", pid, start))), "nothing is known about processes of another namespace"
    child = subprocess.Popen(["true"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert engine.ended("/".join((boot, namespace, str(child.pid), "1"))), "it waits for its parent"
    child.wait()


def test_a_process_of_another_user_is_not_taken_for_ended() -> None:
    """What only its owner may read of a process must not be asked for: a plain user would clear root's clouds."""
    init = f"{engine.process_name().rsplit('/', 2)[0]}/1/{engine.started(1)}"
    program = "import os, sys; from local_cloud import engine; engine.ended(sys.argv[1]); os.setuid(65534); sys.exit(engine.ended(sys.argv[1]))"
    if os.geteuid() == 0:
        assert subprocess.run([sys.executable, "-c", program, init], cwd=CHECKOUT, check=False).returncode == 0
    assert not engine.ended(init)
