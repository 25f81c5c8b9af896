"""The instance metadata service, version 2 only (EC2 User Guide, "Use the Instance Metadata Service to access instance metadata").

Guests reach 169.254.169.254; their own network namespace sends that to the VPC's router, where this listens and knows the caller by its address.
"""

from __future__ import annotations

import datetime
import json
import logging
import secrets
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from .base import Plane

log = logging.getLogger(__name__)

LONGEST_TOKEN = 21600  # seconds: "up to a maximum of six hours"
CREDENTIALS_SECONDS = 6 * 3600


class Tokens:
    """Session tokens: each is good for the instance that asked and for the seconds that it asked for."""

    def __init__(self) -> None:
        self.known: dict[str, tuple[str, float]] = {}

    def make(self, instance: str, seconds: int, now: float) -> str:
        token = secrets.token_urlsafe(40)
        self.known = {one: value for one, value in self.known.items() if value[1] > now}
        self.known[token] = (instance, now + seconds)
        return token

    def good(self, token: str | None, instance: str, now: float) -> bool:
        owner, until = self.known.get(token or "", ("", 0.0))
        return owner == instance and until > now


class MetadataPlane(Plane):
    """See the module."""

    name = "metadata"

    def __init__(self, cloud: Any) -> None:
        super().__init__(cloud)
        self.tokens = Tokens()
        self.servers: dict[str, ThreadingHTTPServer] = {}
        self.credentials: dict[str, tuple[float, dict[str, Any]]] = {}
        self.lock = threading.Lock()

    def listen(self, address: str) -> None:
        """Serve on a VPC's router. Its address stays open when the VPC goes, for the next one with the same block."""
        if address in self.servers:
            return
        plane = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_PUT(self) -> None:
                lifetime, forwarded = self.headers.get("X-aws-ec2-metadata-token-ttl-seconds"), "X-Forwarded-For" in self.headers
                self.answer(*plane.put(self.client_address[0], self.path, lifetime, forwarded))

            def do_GET(self) -> None:
                if self.path.startswith("/local-cloud/"):
                    self.answer(*plane.aside(self.client_address[0], self.path))
                else:
                    self.answer(*plane.get(self.client_address[0], self.path, self.headers.get("X-aws-ec2-metadata-token")))

            def answer(self, status: int, text: str) -> None:
                body = text.encode()
                self.send_response(status)
                self.send_header("Content-Type", "text/plain")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Not one line a request."""

        server = ThreadingHTTPServer((address, self.cloud.settings.metadata_port), Handler)
        server.daemon_threads = True
        self.servers[address] = server
        threading.Thread(target=server.serve_forever, daemon=True, name=f"metadata {address}").start()

    def stop(self) -> None:
        for server in self.servers.values():
            server.shutdown()
            server.server_close()
        self.servers = {}

    def instance_at(self, address: str) -> Any:
        """The instance with this private address, or None."""
        return next((one for one in self.cloud.planes["vpc"].instances() if one.private_ip == address), None)  # type: ignore[attr-defined]

    def put(self, address: str, path: str, seconds: str | None, forwarded: bool) -> tuple[int, str]:
        """PUT /latest/api/token. 400 for a bad lifetime, 403 when forwarded by a proxy, 404 for another path or caller."""
        instance = self.instance_at(address)
        if instance is None or path != "/latest/api/token":
            return 404, "Not Found"
        if forwarded:
            return 403, "Forbidden"
        if seconds is None or not seconds.isdigit() or not 1 <= int(seconds) <= LONGEST_TOKEN:
            return 400, "Bad Request"
        return 200, self.tokens.make(instance.id, int(seconds), time.monotonic())

    def get(self, address: str, path: str, token: str | None) -> tuple[int, str]:
        """GET of an item, 401 without a valid token: IMDSv2 is required of every guest."""
        instance = self.instance_at(address)
        if instance is None:
            return 404, "Not Found"
        if not self.tokens.good(token, instance.id, time.monotonic()):
            return 401, "Unauthorized"
        value = self.item(instance, path.split("?")[0].rstrip("/"))
        return (404, "Not Found") if value is None else (200, value)

    def aside(self, address: str, path: str) -> tuple[int, str]:
        """What the guests' own helpers ask the cloud, beside the metadata."""
        instance, asked = self.instance_at(address), urllib.parse.urlsplit(path)
        if instance is None or asked.path != "/local-cloud/efs":
            return 404, "1 Not Found"
        query = {name: values[-1] for name, values in urllib.parse.parse_qs(asked.query).items()}
        return self.cloud.planes["efs"].mount(instance, **query)  # type: ignore[attr-defined,no-any-return]

    def item(self, instance: Any, path: str) -> str | None:
        """The text of one metadata item, None when there is none."""
        settings = self.cloud.settings
        role = self.role_of(instance)
        base = "/latest/meta-data"
        items = {
            f"{base}/instance-id": instance.id,
            f"{base}/ami-id": instance.image_id,
            f"{base}/instance-type": instance.instance_type,
            f"{base}/local-ipv4": instance.private_ip,
            f"{base}/local-hostname": instance.private_dns_name,
            f"{base}/hostname": instance.private_dns_name,
            f"{base}/placement/availability-zone": instance.availability_zone,
            f"{base}/placement/region": settings.region,
            f"{base}/security-groups": "\n".join(group.name for group in instance.security_groups),
            "/latest/dynamic/instance-identity/document": json.dumps(
                {
                    "accountId": settings.account,
                    "architecture": "x86_64",
                    "availabilityZone": instance.availability_zone,
                    "imageId": instance.image_id,
                    "instanceId": instance.id,
                    "instanceType": instance.instance_type,
                    "privateIp": instance.private_ip,
                    "region": settings.region,
                }
            ),
        }
        lifecycle = self.cloud.planes["autoscaling"].lifecycle_of(instance.id)  # type: ignore[attr-defined]
        if lifecycle:
            items[f"{base}/autoscaling/target-lifecycle-state"] = lifecycle
        if role:
            items[f"{base}/iam/security-credentials"] = role
            if path == f"{base}/iam/security-credentials/{role}":
                return json.dumps(self.credentials_of(role, instance.id))
            items[f"{base}/iam/info"] = json.dumps({"Code": "Success", "InstanceProfileArn": instance.iam_instance_profile["Arn"]})
        return items.get(path)

    def role_of(self, instance: Any) -> str | None:
        """The name of the role in the instance's profile."""
        given = instance.iam_instance_profile or {}
        name = given.get("Name") or str(given.get("Arn", "")).rpartition("/")[2]
        profiles = {one.name: one for one in self.cloud.backend("iam").instance_profiles.values()}
        profile = profiles.get(name)
        return str(profile.roles[0].name) if profile and profile.roles else None

    def credentials_of(self, role: str, session: str) -> dict[str, Any]:
        """Temporary credentials of the role for this instance, the same until an hour before they end."""
        with self.lock:
            until, known = self.credentials.get(f"{role}/{session}", (0.0, {}))
            if until - time.time() > 3600:
                return known
            arn = f"arn:aws:iam::{self.cloud.settings.account}:role/{role}"
            made = self.cloud.backend("sts").assume_role(self.cloud.settings.region, session, arn, policy=None, duration=CREDENTIALS_SECONDS, external_id=None)
            now = datetime.datetime.now(datetime.UTC)
            answer = {
                "Code": "Success",
                "LastUpdated": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
                "Type": "AWS-HMAC",
                "AccessKeyId": made.access_key_id,
                "SecretAccessKey": made.secret_access_key,
                "Token": made.session_token,
                "Expiration": (now + datetime.timedelta(seconds=CREDENTIALS_SECONDS)).strftime("%Y-%m-%dT%H:%M:%SZ"),
            }
            self.credentials[f"{role}/{session}"] = (time.time() + CREDENTIALS_SECONDS, answer)
            return answer
