"""Makes an instance a host of its fleet, whoever launched it. Laid by user data; nothing secret is in here.

It reads where the fleet's boot bundle is, fetches it with the instance's own role, checks its sum, and hands over to the helper in it
(host.py boot). Exit code 75: nothing is published yet, configure.yml makes this a host; 1: it cannot be one, and is marked unhealthy.
"""

from __future__ import annotations

import hashlib
import hmac
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

SETTINGS = Path("/etc/flotilla/boot.json")
MANIFESTS = Path("/etc/flotilla/manifest.d")
STATE = Path("/var/lib/flotilla/boot")
BUSY = Path("/run/flotilla/booting")  # while it stands, a release waits for this host
HELPER = "usr/local/lib/flotilla/host.py"
AGAIN = 75
# What an instance is in the end, by what it was told to do: serve, become an image, or show that an image is good.
ENDS = {"boot": "is a host", "bake": "can be an image", "prove": "shows that the image makes a host"}
ATTEMPTS = 3  # with a bundle that is there and not what it should be
said: list[tuple[int, str]] = []


class CannotBoot(Exception):
    """Why this instance does not become a host."""


def say(text: str) -> None:
    """A line for the console and the log group."""
    said.append((int(time.time() * 1000), text))
    print(f"flotilla-boot: {text}", flush=True)


def passed(since: float) -> str:
    """How long something took, for people."""
    return f"{time.monotonic() - since:.1f} s"


def metadata(path: str) -> str:
    """An item of the metadata service (IMDSv2)."""
    base = "http://169.254.169.254/latest"
    token = urllib.request.Request(f"{base}/api/token", method="PUT", headers={"X-aws-ec2-metadata-token-ttl-seconds": "60"})
    with urllib.request.urlopen(token, timeout=5) as answer:
        headers = {"X-aws-ec2-metadata-token": answer.read().decode()}
    with urllib.request.urlopen(urllib.request.Request(f"{base}/meta-data/{path}", headers=headers), timeout=5) as answer:
        return str(answer.read().decode())


def signature(key: str, secret: str, region: str, service: str, moment: str, request: tuple[str, str, str, dict[str, str], str]) -> str:
    """The Authorization header of a request (method, path, query, headers, hash of the body): AWS Signature Version 4."""
    method, path, query, headers, digest = request
    names = ";".join(sorted(headers))
    canonical = "\n".join([method, path, query, *(f"{name}:{headers[name]}" for name in sorted(headers)), "", names, digest])
    scope = f"{moment[:8]}/{region}/{service}/aws4_request"
    text = "\n".join(["AWS4-HMAC-SHA256", moment, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    signing = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        signing = hmac.new(signing, part.encode(), hashlib.sha256).digest()
    signed = hmac.new(signing, text.encode(), hashlib.sha256).hexdigest()
    return f"AWS4-HMAC-SHA256 Credential={key}/{scope}, SignedHeaders={names}, Signature={signed}"


class Aws:
    """The few calls that are needed before boto3 is installed."""

    def __init__(self, region: str, domain: str, endpoint: str | None) -> None:
        self.region, self.domain, self.endpoint = region, domain, endpoint
        self.known: tuple[float, dict] | None = None

    def keys(self) -> dict:
        """The role's credentials, asked for again after a minute: there are new ones five minutes before the old ones end."""
        if self.known is None or time.monotonic() - self.known[0] > 60:
            role = metadata("iam/security-credentials/").strip()
            self.known = time.monotonic(), json.loads(metadata(f"iam/security-credentials/{role}"))
        return self.known[1]

    def send(self, service: str, body: bytes = b"", path: str = "/", bucket: str = "", **headers: str) -> bytes:
        """One request: POST with a body, GET without."""
        keys = self.keys()
        base = self.endpoint or f"https://{bucket}{'.' if bucket else ''}{service}.{self.region}.{self.domain}"
        path = urllib.parse.quote(f"/{bucket}{path}" if bucket and self.endpoint else path)
        moment, digest = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()), hashlib.sha256(body).hexdigest()
        known = {"host": urllib.parse.urlsplit(base).netloc, "x-amz-date": moment, "x-amz-security-token": keys["Token"], "x-amz-content-sha256": digest}
        known.update({name.replace("_", "-"): value for name, value in headers.items()})
        method = "POST" if body else "GET"
        sign = signature(keys["AccessKeyId"], keys["SecretAccessKey"], self.region, service, moment, (method, path, "", known, digest))
        sent = {**known, "Authorization": sign}
        with urllib.request.urlopen(urllib.request.Request(base + path, data=body or None, method=method, headers=sent), timeout=30) as answer:
            return bytes(answer.read())

    def json(self, service: str, target: str, **arguments: object) -> dict:
        """A call of a service that speaks JSON."""
        answer = self.send(service, json.dumps(arguments).encode(), content_type="application/x-amz-json-1.1", x_amz_target=target)
        return dict(json.loads(answer or b"{}"))

    def parameter(self, name: str) -> dict | None:
        """The JSON document of a parameter, None when there is none."""
        try:
            return dict(json.loads(self.json("ssm", "AmazonSSM.GetParameter", Name=name)["Parameter"]["Value"]))
        except urllib.error.HTTPError as error:
            if error.code == 400 and b"ParameterNotFound" in error.read():
                return None
            raise

    def unhealthy(self, instance: str) -> None:
        """Have the Auto Scaling group replace this instance."""
        form = {"Action": "SetInstanceHealth", "Version": "2011-01-01", "InstanceId": instance, "HealthStatus": "Unhealthy"}
        body = urllib.parse.urlencode({**form, "ShouldRespectGracePeriod": "false"}).encode()
        self.send("autoscaling", body, content_type="application/x-www-form-urlencoded")

    def log(self, group: str, stream: str) -> None:
        """Leave all that was said in a stream of its own."""
        try:
            self.json("logs", "Logs_20140328.CreateLogStream", logGroupName=group, logStreamName=stream)
        except urllib.error.HTTPError as error:
            if b"ResourceAlreadyExists" not in error.read():
                raise
        events = [{"timestamp": at, "message": text} for at, text in said if text]
        self.json("logs", "Logs_20140328.PutLogEvents", logGroupName=group, logStreamName=stream, logEvents=events)


def persist(what: str, act, deadline: float, pause: float = 2.0):  # noqa: ANN001, ANN201
    """The answer of act, asked again until the deadline. CannotBoot with the last error then."""
    while True:
        try:
            return act()
        except (OSError, ValueError, KeyError) as error:
            if time.monotonic() + pause > deadline:
                raise CannotBoot(f"{what}: {error}") from error
            say(f"{what}: {error}; trying again")
        time.sleep(pause)


def unpacked(data: bytes, pointer: dict) -> Path:
    """The directory with the bundle's content; ValueError when it is not what the pointer names."""
    found = hashlib.sha256(data).hexdigest()
    if found != pointer["sha256"]:
        raise ValueError(f"the boot bundle {pointer['key']} has the checksum {found}, and {pointer['sha256']} was published")
    place = STATE / found[:16]
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True, mode=0o700)
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive:
        for entry in archive:
            if not entry.isfile() or entry.name.startswith("/") or ".." in Path(entry.name).parts:
                raise ValueError(f"the boot bundle {pointer['key']} holds {entry.name}, which may not be in one")
            target = place / entry.name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(archive.extractfile(entry).read())  # type: ignore[union-attr]
    return place


def fetched(aws: Aws, where: str, deadline: float) -> Path:
    """The bundle that the pointer names now, fetched and checked."""
    reason = ""
    for attempt in range(ATTEMPTS):
        time.sleep(2.0 if attempt else 0.0)
        pointer = persist("the pointer to the boot bundle", lambda: aws.parameter(where), deadline)

        def get(pointer: dict = pointer) -> bytes | urllib.error.HTTPError:
            try:
                return aws.send("s3", path=f"/{pointer['key']}", bucket=pointer["bucket"])
            except urllib.error.HTTPError as error:
                if error.code in (403, 404):
                    return error
                raise

        data = persist("the boot bundle", get, deadline)
        try:
            if not isinstance(data, bytes):
                raise ValueError(f"the boot bundle s3://{pointer['bucket']}/{pointer['key']} cannot be read: {data}")
            return unpacked(data, pointer)
        except (ValueError, tarfile.TarError, EOFError) as error:
            reason = str(error)
            say(reason)
    raise CannotBoot(f"{reason}. Fix: run configure.yml, which publishes it anew")


def become_host(aws: Aws, settings: dict, deadline: float) -> None:
    """Fetch the bundle and do what it says; once more with a newer one when a release went on meanwhile."""
    where = f"{settings['root']}/fleets/{settings['fleet']}/boot"
    while True:
        began = time.monotonic()
        place = fetched(aws, where, deadline)
        say(f"the boot bundle is here after {passed(began)}")
        (STATE / "begun").touch()
        command = [sys.executable, "-I", str(place / "root" / HELPER), settings.get("verb", "boot"), str(place), str(max(1, int(deadline - time.monotonic())))]
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
        # Beyond its own patience: something in it hangs.
        end = threading.Timer(max(0.0, deadline - time.monotonic()) + 60, child.kill)
        end.daemon = True
        end.start()
        last = ""
        for line in child.stdout or ():
            last = line.strip().removeprefix("flotilla: ")
            say(last)
        code = child.wait()
        end.cancel()
        if code == 0:
            return
        if child.returncode != AGAIN or time.monotonic() > deadline:
            raise CannotBoot(last or f"the helper ended with {child.returncode}")
        time.sleep(2.0)


def main() -> int:
    settings = json.loads(SETTINGS.read_text(encoding="utf-8"))
    began = time.monotonic()
    deadline = began + float(settings["seconds"])
    aws = Aws(settings["region"], settings["domain"], settings.get("endpoint"))
    instance = ""
    BUSY.parent.mkdir(parents=True, exist_ok=True)
    STATE.mkdir(parents=True, exist_ok=True)
    BUSY.touch()
    code, verb = 0, settings.get("verb", "boot")
    try:
        instance = persist("the metadata service", lambda: metadata("instance-id"), deadline)
        if MANIFESTS.is_dir() and not (STATE / "begun").exists():
            say("configure.yml has made this a host")
        elif persist("the Parameter Store", lambda: aws.parameter(f"{settings['root']}/fleets/{settings['fleet']}/boot"), deadline) is None:
            print("flotilla-boot: nothing is published for this fleet yet; waiting for configure.yml", flush=True)
            return AGAIN
        else:
            become_host(aws, settings, deadline)
            say(f"{instance} {ENDS[verb]} of {settings['fleet']} after {passed(began)}")
        if verb == "boot":
            (STATE / "done").touch()
    except Exception as error:  # whatever it is, the group shall have another instance
        say(f"{instance or 'this instance'} does not become a host of {settings['fleet']}: {error or repr(error)}")
        code = 1
    finally:
        BUSY.unlink(missing_ok=True)
    close(aws, settings, instance, code)
    return code


def close(aws: Aws, settings: dict, instance: str, code: int) -> None:
    """Leave the log; after a failure, ask to be replaced. Beside the group there is nobody to do that, and somebody who waits for the log."""
    until, beside = time.monotonic() + 60, settings.get("verb", "boot") != "boot"
    steps = [("the log group", lambda: aws.log(settings["log_group"], instance))]
    if code and not beside:
        steps.append(("the health of this instance", lambda: aws.unhealthy(instance)))
    for what, act in steps:
        try:
            persist(what, act, until if code or beside else 0.0)
        except CannotBoot as error:
            print(f"flotilla-boot: {error}", flush=True)


if __name__ == "__main__":
    os.umask(0o022)
    sys.exit(main())
