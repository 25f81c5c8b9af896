"""ECR: one registry container for the whole cloud (``images/edge/registry.py``), and an API that tells the truth about its content.

Hosts pull over TLS from the registry's name with the password of GetAuthorizationToken; the machine pushes to 127.0.0.1 at the push port.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import hmac
import http.client
import ipaddress
import json
import logging
import secrets
import threading
import time
from typing import Any

from moto.core.exceptions import ServiceException
from moto.core.responses import ActionResult
from moto.ecr import models, responses

from .base import Plane

log = logging.getLogger(__name__)

TOKEN_SECONDS = 12 * 3600  # GetAuthorizationToken: "The authorization token is valid for 12 hours."
STATE = "/etc/registry/state.json"


class ServerException(ServiceException):
    """ "These errors are usually caused by a server-side issue." (ECR API reference, all actions; status 500)"""

    code = "ServerException"


class ImageTagAlreadyExists(ServiceException):
    """PutImage: "The specified image is tagged with a tag that already exists. The repository is configured for tag immutability." """

    code = "ImageTagAlreadyExistsException"


def token(kind: str, secret: str, now: float) -> str:
    """A password that the registry takes for twelve hours; ``kind`` is ``push`` or ``pull``."""
    expiry = str(int(now) + TOKEN_SECONDS)
    return f"{kind}.{expiry}." + hmac.new(bytes.fromhex(secret), f"{kind}.{expiry}".encode(), hashlib.sha256).hexdigest()


def registry_name(account: str, region: str) -> str:
    return f"{account}.dkr.ecr.{region}.amazonaws.com"


def address_in(cidr: str) -> str:
    """Where the registry is in a VPC: near the end of its block, which moto's private addresses (from the start of subnets) do not reach."""
    return str(ipaddress.ip_network(cidr)[-3])


class EcrPlane(Plane):
    """See the module."""

    name = "ecr"

    def __init__(self, cloud: Any) -> None:
        super().__init__(cloud)
        self.lock = threading.RLock()
        self.secret = secrets.token_hex(32)
        self.networks: dict[str, str] = {}  # VPC id -> CIDR
        self.told: dict[str, Any] | None = None
        self.stopping = threading.Event()
        self.thread: threading.Thread | None = None

    @property
    def container(self) -> str:
        return str(self.cloud.container_name("registry"))

    @property
    def host(self) -> str:
        return registry_name(self.cloud.settings.account, self.cloud.settings.region)

    # -- the API's side -------------------------------------------------------------------------------------------------------------------

    def install(self) -> None:
        """Patch moto: repositories are known to the registry, images are those that it has."""
        plane, backend = self, models.ECRBackend

        def reading(original: Any) -> Any:
            def method(self: Any, repository_name: str, *args: Any, **options: Any) -> Any:
                plane.read(self, repository_name)
                return original(self, repository_name, *args, **options)

            return method

        for name in ("list_images", "describe_images", "batch_get_image"):
            setattr(backend, name, reading(getattr(backend, name)))
        create, delete, batch_delete = backend.create_repository, backend.delete_repository, backend.batch_delete_image
        put_mutability = backend.put_image_tag_mutability

        def creating(self: Any, *args: Any, **options: Any) -> Any:
            repository = create(self, *args, **options)
            plane.tell()
            return repository

        def deleting(self: Any, repository_name: str, *args: Any, **options: Any) -> Any:
            if repository_name in self.repositories:
                plane.read(self, repository_name)
            repository = delete(self, repository_name, *args, **options)
            plane.keep(repository_name, {})
            plane.tell()
            return repository

        def deleting_images(self: Any, repository_name: str, *args: Any, **options: Any) -> Any:
            plane.read(self, repository_name)
            result = batch_delete(self, repository_name, *args, **options)
            plane.keep(repository_name, {image.image_digest: list(image.image_tags) for image in self.repositories[repository_name].images})
            return result

        def putting_mutability(self: Any, *args: Any, **options: Any) -> Any:
            result = put_mutability(self, *args, **options)
            plane.tell()
            return result

        def putting_image(self: Any, repository_name: str, image_manifest: str, image_tag: str, media_type: Any = None, digest: Any = None) -> Any:
            repository = self._get_repository(repository_name)
            kind = media_type or json.loads(image_manifest).get("mediaType") or "application/vnd.docker.distribution.manifest.v2+json"
            found = digest or "sha256:" + hashlib.sha256(image_manifest.encode()).hexdigest()
            status, body = plane.ask("PUT", f"/v2/{repository_name}/manifests/{image_tag or found}", image_manifest.encode(), {"Content-Type": kind})
            if status == 400 and b"TAG_INVALID" in body:
                raise ImageTagAlreadyExists(json.loads(body)["errors"][0]["message"])
            if status != 201:
                raise ServerException(f"the registry answered {status}: {body.decode(errors='replace')}")
            plane.read(self, repository_name)
            return repository._get_image(image_tag, found)

        backend.create_repository, backend.delete_repository, backend.batch_delete_image = creating, deleting, deleting_images
        backend.put_image_tag_mutability, backend.put_image = putting_mutability, putting_image
        responses.ECRResponse.get_authorization_token = lambda self: plane.authorize(self)

    def authorize(self, request: Any) -> ActionResult:
        """GetAuthorizationToken: a password that may push if the caller may ``ecr:PutImage``, else one that may pull only."""
        now = time.time()
        kind = "push" if self.may_push(request) else "pull"
        password = token(kind, self.secret, now)
        data = {
            "authorizationToken": base64.b64encode(f"AWS:{password}".encode()).decode(),
            "expiresAt": datetime.datetime.fromtimestamp(int(now) + TOKEN_SECONDS, datetime.UTC),
            "proxyEndpoint": f"https://{self.host}",
        }
        return ActionResult({"authorizationData": [data]})

    def may_push(self, request: Any) -> bool:
        """Whether the caller's role allows ``ecr:PutImage``; the local cloud's own credentials may do everything."""
        from moto.iam.access_control import IAMPolicy, PermissionResult, create_access_key

        if "X-Amz-Security-Token" not in request.headers:
            return True
        try:
            key = create_access_key(request.current_account, "aws", request.get_access_key(), request.headers)
            policies = [IAMPolicy(policy) for policy in key.collect_policies()]
        except Exception:  # credentials that moto does not know: those of a guest whose role is gone
            return False
        results = [policy.is_action_permitted("ecr:PutImage") for policy in policies]
        return PermissionResult.PERMITTED in results and PermissionResult.DENIED not in results

    def read(self, backend: Any, repository_name: str) -> None:
        """Set moto's images of a repository to those that the registry has. ServerException when it does not answer."""
        repository = backend.repositories.get(repository_name)
        if repository is None:
            return
        status, body = self.ask("GET", f"/flotilla/images/{repository_name}")
        if status != 200:
            raise ServerException(f"the registry answered {status}")
        images = []
        for digest, known in json.loads(body).items():
            image = models.Image(backend.account_id, None, known["manifest"], repository_name, known["type"], digest)
            image.image_tags, image.image_pushed_at = list(known["tags"]), known["pushed"]
            image.image_tag = known["tags"][-1] if known["tags"] else None
            images.append(image)
        repository.images = images

    def keep(self, repository_name: str, wanted: dict[str, list[str]]) -> None:
        """Delete from the registry what is not in here."""
        status, _ = self.ask("PUT", f"/flotilla/images/{repository_name}", json.dumps(wanted).encode())
        if status != 200:
            raise ServerException(f"the registry answered {status}")

    def ask(self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
        """One request to the registry's push port. ServerException when it is away."""
        connection = http.client.HTTPConnection("127.0.0.1", self.cloud.settings.push_port, timeout=10)
        try:
            connection.request(method, path, body=body, headers=headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise ServerException(f"the registry is unavailable: {error}") from error
        finally:
            connection.close()

    # -- the container --------------------------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """What the registry has to know (``state.json``)."""
        repositories = {
            name: {"immutable": str(getattr(repository.image_tag_mutability, "value", repository.image_tag_mutability)).startswith("IMMUTABLE")}
            for name, repository in list(self.cloud.backend("ecr").repositories.items())
        }
        networks = [{"cidr": cidr, "gateway": str(ipaddress.ip_network(cidr)[1])} for cidr in self.networks.values()]
        return {"secret": self.secret, "registry": self.host, "networks": networks, "repositories": repositories}

    def tell(self) -> None:
        """Have the registry know the repositories and networks of now. It may be stopped: the file is read when it runs again."""
        with self.lock:
            state = self.state()
            if state != self.told:
                self.cloud.engine.put(self.container, {STATE: (json.dumps(state).encode(), 0o600)})
                self.told = state

    def start(self) -> None:
        """Start the registry, and the thread that connects it to the networks of VPCs."""
        certificate, key = self.cloud.authority.issue([self.host])
        state = self.state()
        self.cloud.engine.run(
            self.container,
            self.cloud.image("edge"),
            command=["python3", "/usr/local/lib/edge/registry.py"],
            files={STATE: (json.dumps(state).encode(), 0o600), "/etc/registry/server.pem": certificate, "/etc/registry/server.key": (key, 0o600)},
            ports={5000: ("127.0.0.1", self.cloud.settings.push_port)},
            labels={"flotilla.plane": self.name},
        )
        self.told = state
        self.stopping.clear()
        self.thread = threading.Thread(target=self._run, daemon=True, name="ecr")
        self.thread.start()

    def stop(self) -> None:
        self.stopping.set()
        if self.thread:
            self.thread.join(15)

    def _run(self) -> None:
        while not self.stopping.wait(0.3):
            try:
                self.connect()
            except Exception:
                log.exception("registry: connecting to the networks of VPCs failed, trying again")

    def connect(self) -> None:
        """Be in the network of each VPC that has one by now, under the registry's name."""
        known = self.cloud.backend("ec2").vpcs
        vpcs = {vpc: known[vpc].cidr_block for vpc in list(self.cloud.planes["vpc"].networks) if vpc in known}
        for gone in [vpc for vpc in self.networks if vpc not in vpcs]:
            del self.networks[gone]
        for vpc, cidr in vpcs.items():
            if vpc not in self.networks:
                address = address_in(cidr)
                self.cloud.engine.connect(self.container, self.cloud.network_of(vpc), address)
                self.networks[vpc] = cidr
                self.cloud.publish(self.host, address)
        self.tell()

    def status(self) -> list[dict[str, str]]:
        """One line for ``local_cloud status``."""
        state = "running" if self.cloud.engine.running(self.container) else "stopped"
        return [{"kind": "registry", "name": self.host, "state": state, "address": f"127.0.0.1:{self.cloud.settings.push_port}", "url": ""}]
