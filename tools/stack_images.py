"""Build the container images of an example stack and push them to the local cloud's registry.

Stands in for a project's CI: on AWS the pipeline that owns the application does this, and the collection only ever pulls.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import docker
import yaml

from local_cloud.images import CLOUD

ROOT = Path(__file__).resolve().parent.parent
DEFAULT_PORT = 4577
LABELS = {"flotilla.image": "1"}
FAULTS = {"broken": "unhealthy", "exits": "exit"}  # versions that are built to fail, and how
_base_lock = threading.Lock()


class BuildFailed(Exception):
    """An image could not be built or pushed; the text ends with the engine's last words."""


def services(stack: str) -> dict[str, str]:
    """Service → repository of a stack, for the services whose image this checkout builds."""
    declared = yaml.safe_load((ROOT / "examples" / stack / "stack.yml").read_text(encoding="utf-8"))["flotilla_stack"]["services"]
    return {name: service["image"] for name, service in declared.items() if (context(stack, name) / "Dockerfile").is_file()}


def context(stack: str, service: str) -> Path:
    """The directory that an image is built from: examples/<stack>/<service>, or examples/<stack> where it has one image only."""
    own = ROOT / "examples" / stack / service
    return own if (own / "Dockerfile").is_file() else ROOT / "examples" / stack


def content_hash(directory: Path, *more: str) -> str:
    """Twelve hex digits that change with any file below `directory` or any of the other texts."""
    digest = hashlib.sha256()
    for path in sorted(path for path in directory.rglob("*") if path.is_file() and "__pycache__" not in path.parts):
        digest.update(f"{path.relative_to(directory)}\0{path.stat().st_mode & 0o111}\0".encode())
        digest.update(path.read_bytes())
    for text in more:
        digest.update(f"\0{text}".encode())
    return digest.hexdigest()[:12]


def base_image(environment: Mapping[str, str]) -> str:
    """The Debian image that applications stand on, made from Debian's packages when it is not there yet."""
    with _base_lock:
        command = [sys.executable, "-m", "local_cloud", "images", "base"]
        done = subprocess.run(command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BuildFailed(f"no base image: {done.stderr.strip()[-2000:] or done.stdout.strip()[-2000:]}")
    return done.stdout.split()[-1]


def build(stack: str, service: str, version: str, environment: Mapping[str, str], show: Callable[[str], None] = lambda text: None) -> str:
    """Build one image, if the engine does not hold it yet, and return its name, `flotilla/<stack>-<service>:<version>-<content hash>`.

    The version is what the application answers in X-App-Version. The version `broken` is a build that never becomes healthy,
    `exits` one that ends as soon as it starts.
    """
    client = docker.from_env()
    base = base_image(environment)
    directory = context(stack, service)
    arguments = {"BASE": base, "VERSION": version, "FAULT": FAULTS.get(version, "")}
    image = f"flotilla/{stack}-{service}:{version}-{content_hash(directory, *arguments.values())}"
    if not client.images.list(name=image):
        answers = client.api.build(path=str(directory), tag=image, buildargs=arguments, labels=LABELS, rm=True, forcerm=True, decode=True)
        follow(answers, f"building {image}", show)
    return image


def push(image: str, repository: str, environment: Mapping[str, str]) -> str:
    """Push a built image to a repository of the local cloud and return its tag. The repository must exist; an image pushed before is left as it is."""
    client = docker.from_env()
    tag = image.rpartition(":")[2]
    registry = f"127.0.0.1:{int(environment.get('FLOTILLA_CLOUD_PORT') or DEFAULT_PORT) + 2}"
    target = f"{registry}/{repository}"
    client.images.get(image).tag(target, tag)
    try:
        follow(client.api.push(target, tag, stream=True, decode=True), f"pushing {repository}:{tag}")
    finally:
        client.images.remove(f"{target}:{tag}", noprune=True)
    return tag


def follow(answers: Any, what: str, show: Callable[[str], None] = lambda text: None) -> None:
    """Read the engine's stream of answers to its end. Raises BuildFailed with the last lines when it reports an error."""
    lines: list[str] = []
    for answer in answers:
        text = answer.get("stream") or answer.get("status") or ""
        lines += [line for line in text.splitlines() if line.strip()]
        if text.strip():
            show(text.strip().splitlines()[-1])
        if "error" in answer:
            raise BuildFailed(f"{what} failed: {answer['error']}\n" + "\n".join("  | " + line for line in lines[-30:]))


def everything() -> None:
    """Build what is missing of the cloud's images and of every example's: other versions of these then take moments."""
    command = [sys.executable, "-m", "local_cloud", "images", *CLOUD, "guest13", "base"]
    if subprocess.run(command, cwd=ROOT, check=False).returncode != 0:
        raise BuildFailed("the local cloud's images could not be built")
    for file in sorted((ROOT / "examples").glob("*/stack.yml")):
        for service in services(file.parent.name):
            print(build(file.parent.name, service, "v1", os.environ), flush=True)


def main() -> int:
    """`python -m tools.stack_images STACK VERSION`: build all images of a stack, push them, print repository → tag as JSON; build everything without words."""
    if len(sys.argv) == 1:
        everything()
        return 0
    stack, version = sys.argv[1:3]
    tags = {repository: push(build(stack, service, version, os.environ), repository, os.environ) for service, repository in services(stack).items()}
    print(json.dumps(tags, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
