#!/usr/bin/python3
"""The host's part in the life of a service. Whatever it asks AWS for, it asks for with the host's own role.

    host.py secrets SERVICE                       write /run/flotilla/SERVICE/secrets/<name>; the service's unit runs it before each start
    host.py container SERVICE CONFIGURATION …     make the service's container with the command that follows, unless the very one runs already
    host.py registry-login REGISTRY               write /run/flotilla/docker/config.json, a login that is good for 12 hours

What is written lies in memory. Nothing secret is printed, and nothing secret is on a command line. Python 3.9, boto3 1.20 and later.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

CONFIGURATION = Path("/etc/flotilla")
RUN = Path("/run/flotilla")
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
    import boto3
    from botocore.config import Config

    known = settings(CONFIGURATION / "aws.env")
    patience = Config(connect_timeout=3, read_timeout=5, retries={"max_attempts": 1})
    return boto3.client(service, region_name=known["AWS_REGION"], endpoint_url=known.get("AWS_ENDPOINT_URL"), config=patience)


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


def secrets(service: str) -> None:
    """Lay the secrets of the current release ready for its container."""
    release = CONFIGURATION / service / "current"
    wanted = json.loads((release / "secrets.json").read_text(encoding="utf-8"))
    user, _, group = json.loads((release / "release.json").read_text(encoding="utf-8"))["user"].partition(":")
    directory = RUN / service / "secrets"
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o750)
    os.chown(directory, 0, int(group or user))
    old_is_there = bool(wanted) and all((directory / name).is_file() for name in wanted)
    values = fetch_patiently(wanted, old_is_there) if wanted else {}
    for name, value in (values or {}).items():
        write_private(directory / name, value, int(user), int(group or user))
    for path in directory.iterdir():
        if path.name not in wanted:
            path.unlink()


def docker(*arguments: str) -> str:
    """What a docker command prints. SystemExit with the engine's words when it fails."""
    done = subprocess.run(["docker", *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"flotilla: docker {arguments[0]}: {done.stderr.strip()}")
    return done.stdout.strip()


def container(service: str, configuration: str, *command: str) -> None:
    """Make the container of a service. A container outlives its engine (live-restore): the one that still runs with this configuration goes on."""
    name = f"flotilla-{service}"
    ask = ["ps", "--all", "--no-trunc", "--filter", f"name=^/?{name}$"]
    if docker(*ask, "--filter", f"label=flotilla.configuration={configuration}", "--filter", "status=running", "--quiet"):
        say(f"{name} runs already and goes on")
        return
    if docker(*ask, "--quiet"):
        docker("rm", "--force", name)
    docker(*command)


def registry_login(registry: str) -> None:
    """Lay a docker configuration with a login for the registry ready."""
    token = client("ecr").get_authorization_token()["authorizationData"][0]["authorizationToken"]
    directory = RUN / "docker"
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o700)
    write_private(directory / "config.json", json.dumps({"auths": {registry: {"auth": token}}}), 0, 0)


def main() -> None:
    verbs: dict[str, Callable[..., None]] = {"secrets": secrets, "container": container, "registry-login": registry_login}
    verb, arguments = (sys.argv[1:2] or [""])[0], sys.argv[2:]
    if verb not in verbs or (len(arguments) < 3 if verb == "container" else len(arguments) != 1):
        raise SystemExit(__doc__)
    try:
        verbs[verb](*arguments)
    except SystemExit:
        raise
    except Exception as error:
        raise SystemExit(f"flotilla: {verb} {arguments[0]}: {error}")


if __name__ == "__main__":
    main()
