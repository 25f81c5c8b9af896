"""The front of the local ECR registry: authentication, repositories, immutable tags and an index of what was pushed; blobs are docker-registry's.

Listens with TLS on 443, for the hosts of the VPCs: a token from GetAuthorizationToken is needed, and one of a role that may only pull cannot
push. Listens without TLS on 5000, which is published on 127.0.0.1 of the machine: images are pushed there, and the local cloud asks there what
the repositories hold (``/flotilla/…``).

Reads ``/etc/registry/state.json`` at each change: ``{"secret": hex, "registry": host, "networks": [{"cidr", "gateway"}],
"repositories": {name: {"immutable": bool}}}``. A token is ``<class>.<expiry>.<signature>`` with class ``push`` or ``pull``.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import http.client
import ipaddress
import json
import os
import re
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

STATE = "/etc/registry/state.json"
INDEX = "/var/lib/registry/index.json"
INNER = ("127.0.0.1", 5001)
CHUNK = 256 * 1024
PATH = re.compile(r"/v2/(?P<name>[a-z0-9._/-]+?)/(?P<kind>manifests|blobs|tags)/(?P<rest>[^?]*)(\?.*)?")
CONFIGURATION = """version: 0.1
log: {level: warn}
storage: {filesystem: {rootdirectory: /var/lib/registry}, delete: {enabled: true}}
http: {addr: "127.0.0.1:5001", relativeurls: true}
"""


class Refusal(Exception):
    """An error answer in the form of the distribution specification."""

    def __init__(self, status: int, code: str, message: str, **headers: str) -> None:
        super().__init__(message)
        self.status, self.headers = status, headers
        self.body = json.dumps({"errors": [{"code": code, "message": message}]}).encode()


class State:
    """``state.json`` as it is now."""

    def __init__(self) -> None:
        self.read_at: tuple[int, int] | None = None
        self.data: dict = {}

    def now(self) -> dict:
        found = os.stat(STATE)
        if self.read_at != (found.st_mtime_ns, found.st_ino):
            with open(STATE, encoding="utf-8") as file:
                self.data = json.load(file)
            self.read_at = (found.st_mtime_ns, found.st_ino)
        return self.data


class Index:
    """``{repository: {digest: {"tags", "type", "size", "pushed", "manifest"}}}``, kept over restarts of the container."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        try:
            with open(INDEX, encoding="utf-8") as file:
                self.data: dict = json.load(file)
        except FileNotFoundError:
            self.data = {}

    def save(self) -> None:
        with open(INDEX + ".new", "w", encoding="utf-8") as file:
            json.dump(self.data, file)
        os.replace(INDEX + ".new", INDEX)

    def digest_of(self, name: str, reference: str) -> str | None:
        images = self.data.get(name, {})
        if reference.startswith("sha256:"):
            return reference if reference in images else None
        return next((digest for digest, image in images.items() if reference in image["tags"]), None)

    def add(self, name: str, digest: str, tag: str | None, manifest: bytes, kind: str) -> None:
        with self.lock:
            images = self.data.setdefault(name, {})
            content = json.loads(manifest)
            parts = [*content.get("layers", []), content.get("config", {})]
            image = images.setdefault(
                digest,
                {"tags": [], "type": kind, "size": sum(part.get("size", 0) for part in parts), "pushed": int(time.time()), "manifest": manifest.decode()},
            )
            if tag:
                for other in images.values():
                    other["tags"] = [one for one in other["tags"] if one != tag]
                image["tags"].append(tag)
            self.save()

    def keep(self, name: str, wanted: dict[str, list[str]]) -> list[str]:
        """Reduce a repository to these digests with these tags; the digests that were dropped."""
        with self.lock:
            images = self.data.get(name, {})
            gone = [digest for digest in images if digest not in wanted]
            for digest in gone:
                del images[digest]
            for digest, image in images.items():
                image["tags"] = [tag for tag in image["tags"] if tag in wanted[digest]]
            self.save()
            return gone


STATE_FILE = State()
IMAGES = Index()
PUSHING = threading.Lock()


def grant(password: str, secret: str) -> str:
    """The class of a token. Refusal when it was not given out by this registry or is too old (12 hours)."""
    kind, _, rest = password.partition(".")
    expiry, _, signature = rest.partition(".")
    right = hmac.new(bytes.fromhex(secret), f"{kind}.{expiry}".encode(), hashlib.sha256).hexdigest()
    if not hmac.compare_digest(right, signature) or float(expiry) < time.time():
        raise Refusal(403, "DENIED", "Your authorization token has expired. Reauthenticate and try again.")
    return kind


class Front(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, format: str, *args: object) -> None:
        pass

    def handle_any(self) -> None:
        self.unread = self.command in ("PUT", "POST", "PATCH")
        try:
            self.answer()
        except Refusal as refusal:
            self.respond(refusal.status, refusal.body, {"Content-Type": "application/json", **refusal.headers})
        except (ConnectionError, TimeoutError, http.client.HTTPException) as error:
            self.close_connection = True
            print(f"{self.command} {self.path}: {error!r}", file=sys.stderr, flush=True)
            try:
                self.respond(502, b'{"errors":[{"code":"UNAVAILABLE","message":"the registry is unavailable"}]}', {"Content-Type": "application/json"})
            except OSError:
                pass

    do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = handle_any  # noqa: N815

    def respond(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        if self.unread:
            # A body that was not taken would be read as the next request.
            self.close_connection = True
            headers = {**headers, "Connection": "close"}
        self.send_response(status)
        self.send_header("Docker-Distribution-Api-Version", "registry/2.0")
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def rights(self, state: dict) -> str:
        """``push`` or ``pull``: what this request may do."""
        header = self.headers.get("Authorization", "")
        if header.startswith("Basic "):
            try:
                user, _, password = base64.b64decode(header[6:]).decode().partition(":")
                if user == "AWS":
                    return grant(password, state["secret"])
            except (binascii.Error, UnicodeDecodeError, ValueError):
                pass
            raise Refusal(401, "UNAUTHORIZED", "authentication failed", **{"WWW-Authenticate": 'Basic realm="ECR",service="ecr.amazonaws.com"'})
        if self.server.secure:
            raise Refusal(401, "UNAUTHORIZED", "no basic auth credentials", **{"WWW-Authenticate": 'Basic realm="ECR",service="ecr.amazonaws.com"'})
        peer = ipaddress.ip_address(self.client_address[0])
        for network in state["networks"]:
            # The machine itself appears as the gateway. Anybody else in a VPC has to use TLS and a token.
            if peer in ipaddress.ip_network(network["cidr"]) and str(peer) != network["gateway"]:
                raise Refusal(403, "DENIED", "this port is for the machine that runs the local cloud")
        return "push"

    def answer(self) -> None:
        state = STATE_FILE.now()
        rights = self.rights(state)
        if self.path.startswith("/flotilla/"):
            if self.server.secure:
                raise Refusal(404, "UNSUPPORTED", "not found")
            return self.manage(self.path.removeprefix("/flotilla/"))
        if self.path.rstrip("/") == "/v2":
            return self.respond(200, b"{}", {"Content-Type": "application/json"})
        asked = PATH.fullmatch(self.path)
        if not asked:
            raise Refusal(404, "UNSUPPORTED", "not found")
        name, kind, rest = asked["name"], asked["kind"], asked["rest"]
        if self.command not in ("GET", "HEAD") and rights != "push":
            raise Refusal(403, "DENIED", f"the caller is not authorized to perform: ecr:PutImage on repository {name}")
        repository = state["repositories"].get(name)
        if repository is None:
            message = f"The repository with name '{name}' does not exist in the registry with id '{state['registry'].split('.')[0]}'"
            raise Refusal(404, "NAME_UNKNOWN", message)
        if kind == "manifests" and self.command == "PUT":
            return self.push(name, rest, repository)
        if kind == "manifests":
            digest = IMAGES.digest_of(name, rest)
            if self.command == "DELETE":
                raise Refusal(405, "UNSUPPORTED", "images are deleted by ecr:BatchDeleteImage")
            if digest is None:
                raise Refusal(404, "MANIFEST_UNKNOWN", f"Requested image not found: {name}:{rest}")
            return self.forward(f"/v2/{name}/manifests/{digest}")
        if kind == "tags":
            tags = sorted(tag for image in IMAGES.data.get(name, {}).values() for tag in image["tags"])
            return self.respond(200, json.dumps({"name": name, "tags": tags}).encode(), {"Content-Type": "application/json"})
        return self.forward(self.path)

    def push(self, name: str, reference: str, repository: dict) -> None:
        """Put a manifest, unless its tag is there with another image and must stay ("Image tag mutability", ECR User Guide)."""
        manifest = b"".join(self.body())
        self.unread = False
        digest = "sha256:" + hashlib.sha256(manifest).hexdigest()
        tag = None if reference.startswith("sha256:") else reference
        kind = self.headers.get("Content-Type", "")
        with PUSHING:
            known = IMAGES.digest_of(name, tag) if tag else None
            if known and known != digest and repository["immutable"]:
                message = f"The image tag '{tag}' already exists in the '{name}' repository and cannot be overwritten because the tag is immutable."
                raise Refusal(400, "TAG_INVALID", message)
            inner = http.client.HTTPConnection(*INNER, timeout=60)
            inner.request("PUT", f"/v2/{name}/manifests/{digest}", body=manifest, headers={"Content-Type": kind})
            result = inner.getresponse()
            body = result.read()
            if result.status == 201:
                IMAGES.add(name, digest, tag, manifest, kind)
        headers = {"Location": f"/v2/{name}/manifests/{digest}", "Docker-Content-Digest": digest} if result.status == 201 else {}
        self.respond(result.status, body, headers)

    def manage(self, path: str) -> None:
        """What the local cloud asks: ``GET images/<repository>``, ``PUT images/<repository>`` with the digests and tags to keep."""
        name = path.removeprefix("images/")
        if self.command == "PUT":
            wanted = json.loads(b"".join(self.body()))
            self.unread = False
            for digest in IMAGES.keep(name, wanted):
                inner = http.client.HTTPConnection(*INNER, timeout=60)
                inner.request("DELETE", f"/v2/{name}/manifests/{digest}")
                inner.getresponse().read()
        self.respond(200, json.dumps(IMAGES.data.get(name, {})).encode(), {"Content-Type": "application/json"})

    def body(self) -> Iterator[bytes]:
        """The request's body in pieces."""
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            while size := int(self.rfile.readline().split(b";")[0], 16):
                while size and (piece := self.rfile.read(min(size, CHUNK))):
                    size -= len(piece)
                    yield piece
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
            return
        left = int(self.headers.get("Content-Length") or 0)
        while left and (piece := self.rfile.read(min(left, CHUNK))):
            left -= len(piece)
            yield piece

    def forward(self, path: str) -> None:
        """Have docker-registry answer."""
        dropped = ("authorization", "connection", "transfer-encoding", "expect")
        headers = {name: value for name, value in self.headers.items() if name.lower() not in dropped}
        inner = http.client.HTTPConnection(*INNER, timeout=60)
        chunked = "chunked" in self.headers.get("Transfer-Encoding", "").lower()
        has_body = chunked or int(self.headers.get("Content-Length") or 0) > 0
        inner.request(self.command, path, body=self.body() if has_body else None, headers=headers, encode_chunked=chunked)
        result = inner.getresponse()
        self.unread = False
        self.send_response(result.status)
        length = result.getheader("Content-Length")
        for name, value in result.getheaders():
            if name.lower() not in ("connection", "transfer-encoding", "date", "server"):
                self.send_header(name, value)
        bodyless = self.command == "HEAD" or result.status in (204, 304)
        if length is None and not bodyless:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        if not bodyless:
            while piece := result.read(CHUNK):
                self.wfile.write(piece)
        inner.close()


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, port: int, context: ssl.SSLContext | None = None) -> None:
        super().__init__(("0.0.0.0", port), Front)  # noqa: S104
        self.secure = context is not None
        if context:
            # The handshake is made by the thread of the connection, not by the one that accepts.
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], (ConnectionError, ssl.SSLError, TimeoutError)):
            super().handle_error(request, client_address)


def main() -> None:
    with open("/run/registry.yml", "w", encoding="utf-8") as file:
        file.write(CONFIGURATION)
    inner = subprocess.Popen(["docker-registry", "serve", "/run/registry.yml"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain("/etc/registry/server.pem", "/etc/registry/server.key")
    for server in (Server(443, context), Server(5000)):
        threading.Thread(target=server.serve_forever, daemon=True).start()
    signal.signal(signal.SIGTERM, lambda *_: inner.terminate())
    sys.exit(inner.wait())


if __name__ == "__main__":
    main()
