"""A repository that deploys itself: a push to it builds, tests, pushes the images and releases them, one run at a time.

What a hosted pipeline does (docs/github-actions/deploy.yml), in its smallest local form: a bare git repository with a post-receive hook. It holds what
examples/<stack>/ holds, stack.yml at its top, or some of its services. Tests run while the images are built, so that an image whose tests fail is
never made, and nothing is pushed or deployed. An image is built once: what the registry holds under a commit is released as it stands. A run takes the
newest commit when its turn comes: of pushes that follow each other quickly the last one wins. A run ends though whoever pushed has gone;
all that it says is in pipeline.log too.
Usage: python -m tools.pipeline init DIRECTORY [--branch main]      make the repository
       python -m tools.pipeline run DIRECTORY [--branch main]       what its hook calls
"""

from __future__ import annotations

import argparse
import fcntl
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import boto3
import docker
import yaml

from plugins.module_utils.release import order
from tools import stack_images
from tools.phases import BUILD, ROOT

ACCOUNT = {
    "endpoint_url": "AWS_ENDPOINT_URL",
    "region_name": "AWS_REGION",
    "aws_access_key_id": "AWS_ACCESS_KEY_ID",
    "aws_secret_access_key": "AWS_SECRET_ACCESS_KEY",
}
HOOK = """#!/bin/sh
# Builds, tests, pushes and deploys what has been pushed to {branch}; made by tools/pipeline.py.
grep -q ' refs/heads/{branch}$' || exit 0
unset GIT_DIR GIT_QUARANTINE_PATH
trap '' HUP INT PIPE
cd '{root}' || exit 1
'{python}' -m tools.pipeline run '{repository}' --branch '{branch}' 2>&1 | tee -a '{repository}/pipeline.log'
"""


class PipelineFailed(Exception):
    """A run ended before anything was deployed, or in its deployment; the text says which."""


def say(text: str) -> None:
    print(f"pipeline: {text}", flush=True)


def git(repository: Path, *words: str) -> str:
    """What git prints."""
    done = subprocess.run(["git", f"--git-dir={repository}", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise PipelineFailed(f"git {words[0]}: {done.stderr.strip()}")
    return done.stdout.strip()


def init(repository: Path, branch: str) -> None:
    """Make the bare repository, or bring its hook up to date."""
    subprocess.run(["git", "init", "--quiet", "--bare", f"--initial-branch={branch}", str(repository)], check=True)
    hook = repository / "hooks" / "post-receive"
    hook.write_text(HOOK.format(root=ROOT, python=sys.executable, repository=repository.resolve(), branch=branch), encoding="utf-8")
    hook.chmod(0o755)


@contextmanager
def turn(repository: Path) -> Iterator[None]:
    """One run at a time; the next one waits here."""
    with (repository / "pipeline.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another run is under way; this one follows it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def revision_of(repository: Path, commit: str, directory: str) -> str:
    """The commit that last changed a directory: an image is named by it, so that what did not change is neither built nor restarted."""
    return git(repository, "log", "-1", "--format=%h", "--abbrev=12", commit, "--", directory)


def check_out(repository: Path, commit: str, target: Path) -> None:
    archive = subprocess.run(["git", f"--git-dir={repository}", "archive", commit], capture_output=True, check=True).stdout
    subprocess.run(["tar", "-x", "-C", str(target)], input=archive, check=True)


class Run:
    """Building, pushing and deploying one commit. `environment` has the settings of the account."""

    def __init__(self, repository: Path, commit: str, source: Path, environment: Mapping[str, str]) -> None:
        self.repository, self.commit, self.source, self.environment = repository, commit, source, environment
        self.stack = yaml.safe_load((source / "stack.yml").read_text(encoding="utf-8"))["flotilla_stack"]

    def contexts(self) -> dict[str, Path]:
        """Service → the directory of its image, in the order of their releases."""
        found = {}
        for service in order.of_stack(self.stack["services"]):
            own = self.source / service
            context = own if (own / "Dockerfile").is_file() else self.source
            if (context / "Dockerfile").is_file():
                found[service] = context
        return found

    def held(self, service: str, tag: str) -> bool:
        """Whether the registry has the image: it was built from this commit, and its tests have passed."""
        given = {key: self.environment.get(name) for key, name in ACCOUNT.items()}
        ecr = boto3.client("ecr", **given)
        try:
            return bool(ecr.describe_images(repositoryName=self.stack["services"][service]["image"], imageIds=[{"imageTag": tag}])["imageDetails"])
        except ecr.exceptions.ImageNotFoundException:
            return False

    def build(self, service: str, context: Path, tag: str) -> str:
        """Build an image, which runs its tests; PipelineFailed with the last lines when they fail."""
        image = f"flotilla/{self.stack['name']}-{service}:{tag}"
        arguments = {"BASE": stack_images.base_image(self.environment), "VERSION": tag, "FAULT": ""}
        client = docker.from_env()
        answers = client.api.build(path=str(context), tag=image, buildargs=arguments, labels=stack_images.LABELS, rm=True, forcerm=True, decode=True)
        try:
            stack_images.follow(answers, f"building and testing {service}")
        except stack_images.BuildFailed as error:
            raise PipelineFailed(f"{error}\nNothing was pushed, nothing was deployed.") from error
        return image

    def deploy(self, service: str, tag: str) -> None:
        command = [str(ROOT / "bin" / "flotilla"), "deploy", "-i", str(ROOT / "inventories" / "local"), "-e", f"@{self.source / 'stack.yml'}"]
        command += ["-e", f"release_service={service}", "-e", f"release_revision={tag}", "-e", f"release_result_file={self.repository / f'{service}.json'}"]
        log = self.repository / f"{service}.log"
        with log.open("w") as sink:
            code = subprocess.run(
                command, cwd=ROOT, env={**os.environ, **self.environment}, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, check=False
            ).returncode
        if code:
            tail = "\n".join(log.read_text(encoding="utf-8").splitlines()[-25:])
            raise PipelineFailed(f"the release of {service} at {tag} ended with code {code} ({log}):\n{tail}")

    def go(self) -> None:
        contexts = self.contexts()
        tags = {service: revision_of(self.repository, self.commit, str(context.relative_to(self.source))) for service, context in contexts.items()}
        images = {}
        for service, context in contexts.items():
            if self.held(service, tags[service]):
                say(f"{service} at {tags[service]} has been built and tested before")
                continue
            say(f"build and test {service} at {tags[service]}")
            images[service] = self.build(service, context, tags[service])
        for service, image in images.items():
            stack_images.push(image, self.stack["services"][service]["image"], self.environment)
        for service in contexts:
            say(f"deploy {service} at {tags[service]}")
            self.deploy(service, tags[service])


def run(repository: Path, branch: str, environment: Mapping[str, str]) -> int:
    """Bring the system to the newest commit of the branch, unless an earlier run has."""
    with turn(repository):
        commit = git(repository, "rev-parse", f"refs/heads/{branch}")
        done = repository / "deployed"
        if done.is_file() and done.read_text(encoding="utf-8").strip() == commit:
            say(f"{commit[:12]} is deployed")
            return 0
        with tempfile.TemporaryDirectory() as directory:
            source = Path(directory)
            check_out(repository, commit, source)
            try:
                Run(repository, commit, source, environment).go()
            except PipelineFailed as error:
                say(f"FAILED at {commit[:12]}: {error}")
                return 1
        done.write_text(f"{commit}\n", encoding="utf-8")
        say(f"{commit[:12]} is deployed")
    return 0


def account() -> dict[str, str]:
    """The settings of the local cloud: of the environment, or else those that it wrote when it started."""
    if os.environ.get("AWS_ENDPOINT_URL"):
        return dict(os.environ)
    from tools.demo import exported

    file = BUILD / "local.env"
    if not file.is_file():
        raise PipelineFailed("there is no cloud to deploy to. Fix: make demo, or make cloud-up")
    return exported(file.read_text(encoding="utf-8"))


def main() -> int:
    parser = argparse.ArgumentParser(description="A repository that deploys itself.")
    parser.add_argument("verb", choices=["init", "run"])
    parser.add_argument("repository", type=Path)
    parser.add_argument("--branch", default="main")
    options = parser.parse_args()
    if options.verb == "init":
        init(options.repository, options.branch)
        say(f"push to {options.repository.resolve()}, branch {options.branch}")
        return 0
    try:
        return run(options.repository.resolve(), options.branch, account())
    except PipelineFailed as error:
        say(f"FAILED: {error}")
        return 1


if __name__ == "__main__":
    sys.exit(main())
