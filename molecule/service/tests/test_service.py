"""A container under systemd: confined, with its secret in memory only, back whatever ends it."""

import json
import time

import pytest

CONTAINER = "flotilla-web"


def inspect(host):
    return json.loads(host.check_output(f"docker inspect {CONTAINER}"))[0]


def answer(host, words="200", seconds=60):
    """Wait until the service answers; the journal and the container's log tell why it does not."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        seen = host.run("curl -sS -m 5 -o /dev/null -D - http://127.0.0.1:8080/healthz")
        if words in seen.stdout:
            return seen.stdout
        time.sleep(0.5)
    raise AssertionError(seen.stderr + host.run(f"journalctl --no-pager -u {CONTAINER} -n 30; docker logs --tail 30 {CONTAINER}").stdout)


def test_the_second_release_answers_and_the_first_lies_ready(host):
    assert "x-app-version: v2" in answer(host).lower()
    assert host.check_output("readlink /etc/flotilla/web/current") == "releases/2"
    assert sorted(host.file("/etc/flotilla/web/releases").listdir()) == ["1", "2"]
    assert host.service(CONTAINER).is_enabled


def test_the_container_is_confined(host):
    facts = inspect(host)
    settings = facts["HostConfig"]
    assert facts["Config"]["User"] == "10001:10001"
    assert settings["ReadonlyRootfs"] is True
    assert settings["CapDrop"] == ["ALL"]
    assert settings["SecurityOpt"] == ["no-new-privileges"]
    # A guest on version 2 of cgroups, on a machine whose controllers are version 1's, has none: its engine says so and drops the limit.
    limited = host.check_output("docker info --format '{{.MemoryLimit}}'") == "true"
    assert settings["Memory"] == (256 * 1024 * 1024 if limited else 0)
    assert "--memory=256m" in host.check_output("cat /etc/flotilla/web/releases/2/container")
    assert "@sha256:" in facts["Config"]["Image"]
    status = host.check_output(f"docker exec {CONTAINER} cat /proc/1/status")
    assert int(next(line for line in status.splitlines() if line.startswith("CapEff")).split()[1], 16) == 0


def test_the_secret_is_a_private_file_in_memory_and_nowhere_else(host):
    assert host.check_output(f"docker exec {CONTAINER} cat /run/secrets/database_password") == "molecule-password"
    file = host.file("/run/flotilla/web/secrets/database_password")
    assert (file.mode, file.uid) == (0o400, 10001)
    assert host.check_output("stat -f -c %T /run/flotilla/web/secrets") == "tmpfs"
    assert "molecule-password" not in json.dumps(inspect(host))
    # Spelt so that sudo's record of the command is not found itself.
    assert host.run("grep -rl molecule-[p]assword /etc/flotilla /etc/systemd /var/log").stdout == ""
    assert "molecule-password" not in host.check_output("journalctl --no-pager")
    assert not host.file("/run/flotilla/docker").exists


def test_a_secret_variable_is_in_the_programs_environment_and_nowhere_else(host):
    answer(host)
    facts = inspect(host)
    assert "DATABASE_TOKEN" not in json.dumps(facts["Config"]["Env"])
    assert "molecule-token" not in json.dumps(facts)
    program = host.check_output(f"docker inspect --format '{{{{.State.Pid}}}}' {CONTAINER}")
    children = f"pgrep --parent {program} | head -1"
    assert "DATABASE_TOKEN=molecule-token" in host.check_output(f"tr '\\0' '\\n' < /proc/$({children})/environ")
    assert "molecule-token" not in host.check_output("ps -eo args")
    file = host.file("/run/flotilla/web/environment/variables")
    assert (file.mode, file.uid) == (0o400, 10001)


def test_a_migration_runs_once_with_the_services_secrets(host):
    helper = "/usr/local/lib/flotilla/host.py"
    first = host.run(f"{helper} migrate web 2")
    assert (first.rc, first.stdout.strip()) == (0, "migrating with 14 characters"), first.stderr
    again = host.run(f"{helper} migrate web 2")
    assert again.rc == 0 and "has ended well before" in again.stderr
    assert host.check_output("docker ps --all --quiet --filter name=flotilla-web-migration | wc -l") == "1"


def as_developer(host, command):
    return host.run(f"echo {command!r} | su - ann -s /bin/sh")


def test_a_developer_opens_what_is_allowed_and_is_on_record(host):
    answer(host)
    shown = as_developer(host, "sudo -n /usr/local/bin/flotilla-console web env")
    assert shown.rc == 0 and "DATABASE_TOKEN=molecule-token" in shown.stdout, shown.stderr
    fresh = as_developer(host, "sudo -n /usr/local/bin/flotilla-console web env new")
    assert "DATABASE_TOKEN=molecule-token" in fresh.stdout, fresh.stderr
    journal = host.check_output("journalctl --no-pager --output cat -t flotilla-console")
    assert '"who": "ann"' in journal and "closed" in journal and "molecule-token" not in journal
    read = "import boto3; s = boto3.client('s3', endpoint_url='http://198.19.48.1:4601', region_name='eu-central-1'); b = 'molecule-records'; "
    read += "print([s.get_object(Bucket=b, Key=one['Key'])['Body'].read().decode() for one in s.list_objects_v2(Bucket=b)['Contents']])"
    records = host.check_output(f'python3 -c "{read}"')
    assert "consoles" not in records and '"program": "env"' in records and '"ended"' in records


def test_a_developer_can_do_nothing_else(host):
    refused = as_developer(host, "sudo -n /usr/local/bin/flotilla-console web bash")
    assert refused.rc != 0 and "Allowed here: web: env, shell" in refused.stderr
    for command in ("sudo -n id", "docker ps", "cat /run/flotilla/web/environment/variables"):
        assert as_developer(host, command).rc != 0, command


def unit(host):
    """State of the unit, and the identity of its present start."""
    shown = host.check_output(f"systemctl show --property ActiveState,InvocationID {CONTAINER}")
    return dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)


@pytest.mark.parametrize("end", ["systemctl restart docker", "kill -9 $(pidof dockerd)"])
def test_it_goes_on_while_its_engine_is_away(host, end):
    answer(host)
    before, start = inspect(host), unit(host)["InvocationID"]
    host.check_output(end)
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        now = unit(host)
        if now["ActiveState"] == "active" and now["InvocationID"] != start:
            break
        time.sleep(0.5)
    answer(host)
    after = inspect(host)
    words = host.run(f"journalctl --no-pager -u {CONTAINER} -n 40").stdout
    assert (after["Id"], after["State"]["StartedAt"]) == (before["Id"], before["State"]["StartedAt"]), words
    assert f"{CONTAINER} runs already and goes on" in words, words


@pytest.mark.parametrize("end", [f"docker kill {CONTAINER}", f"docker stop -t 5 {CONTAINER}", f"docker rm --force {CONTAINER}"])
def test_it_comes_back_whatever_ends_it(host, end):
    before = inspect(host)["State"]["StartedAt"]
    host.check_output(end)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = host.run(f"docker inspect --format '{{{{.State.StartedAt}}}} {{{{.State.Running}}}}' {CONTAINER}")
        if found.rc == 0 and before not in found.stdout and "true" in found.stdout:
            break
        time.sleep(0.5)
    answer(host)


def test_a_stop_is_clean(host):
    host.check_output(f"systemctl stop {CONTAINER}")
    assert host.check_output(f"systemctl is-active {CONTAINER} || true") == "inactive"
    host.check_output(f"systemctl start {CONTAINER}")
    answer(host)


def test_the_release_before_comes_back_and_the_newer_one_again(host):
    module = "flotilla.ec2.service_release"
    for release in (1, 2):
        result = host.ansible(module, f"name=web state=active release={release} port=8080 path=/healthz", check=False)
        assert result["changed"], result
        assert f"x-app-version: v{release}" in answer(host).lower()
        seen = host.ansible("flotilla.ec2.service_info", "services=web")["services"]["web"]
        assert (seen["release"], seen["running"], seen["unit"], seen["prepared"]) == (release, True, "active", [1, 2])
        assert not host.ansible(module, f"name=web state=active release={release} port=8080", check=False)["changed"]
