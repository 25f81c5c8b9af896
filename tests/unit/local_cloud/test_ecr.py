"""ECR: the registry's front (rights, repositories, immutable tags, index) over HTTP, and the API's view of it. docker-registry itself is a stand-in."""

from __future__ import annotations

import base64
import hashlib
import http.client
import importlib.util
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local_cloud.fixes import ecr as fixes
from local_cloud.fixes.ecr import size_of
from local_cloud.planes.ecr import EcrPlane, address_in, token
from tests.unit.local_cloud.edge_support import client, paper_cloud

SOURCE = Path(__file__).parents[3] / "local_cloud/images/edge/registry.py"
SECRET = "00ff" * 16
TYPE = "application/vnd.docker.distribution.manifest.v2+json"


def manifest(text: str) -> bytes:
    return json.dumps({"schemaVersion": 2, "mediaType": TYPE, "config": {"size": 10, "digest": text}, "layers": [{"size": 100}, {"size": 1000}]}).encode()


def digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


class Inner(BaseHTTPRequestHandler):
    """docker-registry, as far as the front needs it: manifests by digest."""

    protocol_version = "HTTP/1.1"
    manifests: dict[str, bytes] = {}

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_PUT(self) -> None:
        self.manifests[self.path.rsplit("/", 1)[1]] = self.rfile.read(int(self.headers["Content-Length"]))
        self.reply(201, b"")

    def do_GET(self) -> None:
        found = self.manifests.get(self.path.rsplit("/", 1)[1])
        self.reply(200 if found else 404, found or b"{}")

    def do_DELETE(self) -> None:
        self.reply(202 if self.manifests.pop(self.path.rsplit("/", 1)[1], None) else 404, b"")

    def reply(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Registry:
    """The front on two ports of 127.0.0.1: ``plain`` is the push port, ``secure`` behaves as the one with TLS (without TLS)."""

    def __init__(self, directory: Path) -> None:
        specification = importlib.util.spec_from_file_location("edge_registry", SOURCE)
        assert specification and specification.loader
        module: Any = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(module)
        self.module = module
        inner = ThreadingHTTPServer(("127.0.0.1", 0), type("Fresh", (Inner,), {"manifests": {}}))
        self.module.STATE, self.module.INDEX = str(directory / "state.json"), str(directory / "index.json")
        self.module.INNER = ("127.0.0.1", inner.server_port)
        self.state: dict[str, Any] = {"secret": SECRET, "registry": "123456789012.dkr", "networks": [], "repositories": {}}
        self.tell()
        plain, secure = self.module.Server(0), self.module.Server(0)
        secure.secure = True
        self.ports = {"plain": plain.server_port, "secure": secure.server_port}
        self.servers = [inner, plain, secure]
        for server in self.servers:
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def tell(self, **changes: Any) -> None:
        self.state |= changes
        temporary = Path(self.module.STATE + ".new")
        temporary.write_text(json.dumps(self.state))
        temporary.replace(self.module.STATE)

    def ask(self, method: str, path: str, body: bytes | None = None, *, password: str | None = None, port: str = "plain") -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.ports[port], timeout=5)
        headers = {"Content-Type": TYPE}
        if password is not None:
            headers["Authorization"] = "Basic " + base64.b64encode(f"AWS:{password}".encode()).decode()
        connection.request(method, path, body=body, headers=headers)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, json.loads(content) if content else None

    def push(self, name: str, tag: str, content: bytes) -> tuple[int, Any]:
        return self.ask("PUT", f"/v2/{name}/manifests/{tag}", content)

    def close(self) -> None:
        for server in self.servers:
            server.shutdown()
            server.server_close()


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    made = Registry(tmp_path)
    yield made
    made.close()


def code(answer: tuple[int, Any]) -> tuple[int, str]:
    return answer[0], answer[1]["errors"][0]["code"]


def test_a_push_needs_a_repository(registry: Registry) -> None:
    assert code(registry.push("hello/web", "v1", manifest("a"))) == (404, "NAME_UNKNOWN")
    registry.tell(repositories={"hello/web": {"immutable": True}})
    assert registry.push("hello/web", "v1", manifest("a"))[0] == 201
    assert registry.ask("GET", "/v2/hello/web/tags/list")[1] == {"name": "hello/web", "tags": ["v1"]}
    assert registry.ask("GET", "/v2/hello/web/manifests/v1")[1]["config"]["digest"] == "a"


def test_immutable_tags_stay(registry: Registry) -> None:
    registry.tell(repositories={"hello/web": {"immutable": True}})
    registry.push("hello/web", "v1", manifest("a"))
    refused = registry.push("hello/web", "v1", manifest("b"))
    assert code(refused) == (400, "TAG_INVALID")
    assert "'v1' already exists in the 'hello/web' repository" in refused[1]["errors"][0]["message"]
    assert registry.push("hello/web", "v1", manifest("a"))[0] == 201, "the same image again is no change"
    assert registry.ask("GET", "/v2/hello/web/manifests/v1")[1]["config"]["digest"] == "a"


def test_mutable_tags_move(registry: Registry) -> None:
    registry.tell(repositories={"hello/web": {"immutable": False}})
    registry.push("hello/web", "v1", manifest("a"))
    registry.push("hello/web", "v1", manifest("b"))
    images = registry.ask("GET", "/flotilla/images/hello/web")[1]
    assert {found: one["tags"] for found, one in images.items()} == {digest(manifest("a")): [], digest(manifest("b")): ["v1"]}


def test_hosts_need_a_token_and_may_only_pull_with_theirs(registry: Registry) -> None:
    registry.tell(repositories={"hello/web": {"immutable": True}})
    registry.push("hello/web", "v1", manifest("a"))
    pull, push = (token(kind, SECRET, time.time()) for kind in ("pull", "push"))
    assert registry.ask("GET", "/v2/", port="secure")[0] == 401
    assert registry.ask("GET", "/v2/", port="secure", password=pull)[0] == 200
    assert registry.ask("GET", "/v2/hello/web/manifests/v1", port="secure", password=pull)[0] == 200
    assert code(registry.ask("PUT", "/v2/hello/web/manifests/v2", manifest("b"), port="secure", password=pull)) == (403, "DENIED")
    assert registry.ask("PUT", "/v2/hello/web/manifests/v2", manifest("b"), port="secure", password=push)[0] == 201


def test_forged_and_expired_tokens(registry: Registry) -> None:
    now = time.time()
    good = token("pull", SECRET, now)
    forged = [token("pull", "11" * 32, now), "push" + good.removeprefix("pull"), "pull.9999999999.00", "pull", ""]
    for password in [token("pull", SECRET, now - 12 * 3600 - 1), *forged]:
        assert registry.ask("GET", "/v2/", port="secure", password=password)[0] in (401, 403), password


def test_the_push_port_is_for_the_machine_only(registry: Registry) -> None:
    registry.tell(networks=[{"cidr": "127.0.0.0/8", "gateway": "127.0.0.2"}])
    assert code(registry.ask("GET", "/v2/")) == (403, "DENIED")
    registry.tell(networks=[{"cidr": "127.0.0.0/8", "gateway": "127.0.0.1"}])
    assert registry.ask("GET", "/v2/")[0] == 200


def test_hosts_cannot_manage(registry: Registry) -> None:
    assert registry.ask("GET", "/flotilla/images/x", port="secure", password=token("push", SECRET, time.time()))[0] == 404


def test_deleted_images_are_gone(registry: Registry) -> None:
    registry.tell(repositories={"hello/web": {"immutable": True}})
    registry.push("hello/web", "v1", manifest("a"))
    registry.push("hello/web", "v2", manifest("b"))
    registry.ask("PUT", "/flotilla/images/hello/web", json.dumps({digest(manifest("b")): ["v2"]}).encode())
    assert code(registry.ask("GET", "/v2/hello/web/manifests/v1")) == (404, "MANIFEST_UNKNOWN")
    assert registry.ask("GET", "/v2/hello/web/manifests/v2")[0] == 200


def test_the_index_survives_a_restart(registry: Registry) -> None:
    registry.tell(repositories={"hello/web": {"immutable": True}})
    registry.push("hello/web", "v1", manifest("a"))
    assert registry.module.Index().digest_of("hello/web", "v1") == digest(manifest("a"))


# -- the API


@pytest.fixture
def plane(registry: Registry) -> Iterator[EcrPlane]:
    with paper_cloud() as cloud:
        fixes.apply()
        cloud.settings.push_port = registry.ports["plain"]
        made = EcrPlane(cloud)
        made.install()
        made.secret = SECRET
        cloud.engine.put = lambda name, files: registry.tell(**json.loads(next(iter(files.values()))[0]))  # type: ignore[method-assign]
        yield made


def fails(call: Any, expected: str, status: int = 400) -> None:
    with pytest.raises(ClientError) as caught:
        call()
    response = caught.value.response
    assert (response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]) == (expected, status)


def test_what_was_pushed_is_described(plane: EcrPlane, registry: Registry) -> None:
    api = client("ecr")
    api.create_repository(repositoryName="hello/web", imageTagMutability="IMMUTABLE")
    assert api.describe_images(repositoryName="hello/web")["imageDetails"] == []
    registry.push("hello/web", "v1", manifest("a"))
    (image,) = api.describe_images(repositoryName="hello/web", imageIds=[{"imageTag": "v1"}])["imageDetails"]
    assert (image["imageDigest"], image["imageTags"], image["imageSizeInBytes"]) == (digest(manifest("a")), ["v1"], 1110)
    assert abs(image["imagePushedAt"].timestamp() - time.time()) < 60
    assert api.list_images(repositoryName="hello/web")["imageIds"] == [{"imageDigest": image["imageDigest"], "imageTag": "v1"}]
    assert api.batch_get_image(repositoryName="hello/web", imageIds=[{"imageTag": "v1"}])["images"][0]["imageManifest"].encode() == manifest("a")
    fails(lambda: api.describe_images(repositoryName="hello/web", imageIds=[{"imageTag": "v9"}]), "ImageNotFoundException")
    fails(lambda: api.describe_images(repositoryName="nope"), "RepositoryNotFoundException")


def test_deleting_images_and_repositories(plane: EcrPlane, registry: Registry) -> None:
    api = client("ecr")
    api.create_repository(repositoryName="hello/web")
    registry.push("hello/web", "v1", manifest("a"))
    registry.push("hello/web", "v2", manifest("b"))
    api.batch_delete_image(repositoryName="hello/web", imageIds=[{"imageTag": "v1"}])
    assert registry.ask("GET", "/v2/hello/web/tags/list")[1]["tags"] == ["v2"]
    fails(lambda: api.delete_repository(repositoryName="hello/web"), "RepositoryNotEmptyException")
    api.delete_repository(repositoryName="hello/web", force=True)
    assert code(registry.push("hello/web", "v1", manifest("a"))) == (404, "NAME_UNKNOWN")


def test_put_image_adds_a_tag_and_respects_immutability(plane: EcrPlane, registry: Registry) -> None:
    api = client("ecr")
    api.create_repository(repositoryName="hello/web", imageTagMutability="IMMUTABLE")
    registry.push("hello/web", "v1", manifest("a"))
    registry.push("hello/web", "v2", manifest("b"))
    api.put_image(repositoryName="hello/web", imageManifest=manifest("a").decode(), imageTag="stable")
    assert registry.ask("GET", "/v2/hello/web/tags/list")[1]["tags"] == ["stable", "v1", "v2"]
    fails(lambda: api.put_image(repositoryName="hello/web", imageManifest=manifest("b").decode(), imageTag="v1"), "ImageTagAlreadyExistsException")
    api.put_image_tag_mutability(repositoryName="hello/web", imageTagMutability="MUTABLE")
    assert registry.push("hello/web", "v1", manifest("b"))[0] == 201


def test_a_stopped_registry_is_a_server_error(plane: EcrPlane, monkeypatch: pytest.MonkeyPatch) -> None:
    api = client("ecr")
    api.create_repository(repositoryName="hello/web")
    monkeypatch.setattr(plane.cloud.settings, "push_port", 1)
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # boto3 tries again
    fails(lambda: api.describe_images(repositoryName="hello/web"), "ServerException", 500)


def test_the_token_given_out_is_one_the_registry_takes(plane: EcrPlane, registry: Registry) -> None:
    data = client("ecr").get_authorization_token()["authorizationData"][0]
    user, _, password = base64.b64decode(data["authorizationToken"]).decode().partition(":")
    assert (user, data["proxyEndpoint"]) == ("AWS", "https://123456789012.dkr.ecr.eu-central-1.amazonaws.com")
    assert abs(data["expiresAt"].timestamp() - time.time() - 12 * 3600) < 60
    assert registry.ask("GET", "/v2/", port="secure", password=password)[0] == 200
    assert password.startswith("push.")


@pytest.mark.parametrize(("actions", "kind"), [(["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"], "pull"), (["ecr:*"], "push")])
def test_the_token_of_a_role_may_push_only_if_the_role_may(plane: EcrPlane, actions: list[str], kind: str) -> None:
    import boto3

    iam = client("iam")
    trust = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}]}
    role = iam.create_role(RoleName="host", AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
    policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": actions, "Resource": "*"}]}
    iam.put_role_policy(RoleName="host", PolicyName="pull", PolicyDocument=json.dumps(policy))
    given = client("sts").assume_role(RoleArn=role, RoleSessionName="i-1")["Credentials"]
    config = client("ecr").meta.config
    keys = {"aws_access_key_id": given["AccessKeyId"], "aws_secret_access_key": given["SecretAccessKey"], "aws_session_token": given["SessionToken"]}
    caller = boto3.client("ecr", region_name="eu-central-1", config=config, endpoint_url="https://api.ecr.eu-central-1.amazonaws.com", **keys)
    password = base64.b64decode(caller.get_authorization_token()["authorizationData"][0]["authorizationToken"]).decode().partition(":")[2]
    assert password.split(".")[0] == kind


def test_sizes_and_addresses() -> None:
    assert size_of({"manifests": []}) is None
    assert size_of({"layers": [{"size": 5}], "config": {"size": 2}}) == 7
    assert address_in("198.18.0.0/16") == "198.18.255.253"
