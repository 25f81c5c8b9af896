"""A repository whose tags mean the same for ever."""

import io
import json
import subprocess
import tarfile

import pytest

REPOSITORY = "molecule/registry"
PUSH_PORT = 4603


@pytest.fixture(scope="module")
def ecr(aws):
    return aws("ecr")


def test_tags_are_immutable_and_images_are_scanned(ecr):
    (repository,) = ecr.describe_repositories(repositoryNames=[REPOSITORY])["repositories"]
    assert repository["imageTagMutability"] == "IMMUTABLE"
    assert repository["imageScanningConfiguration"] == {"scanOnPush": True}


def push(content, tag):
    """Push an image that holds one small file, as a pipeline would; the exit code and all that docker said."""
    name = f"127.0.0.1:{PUSH_PORT}/{REPOSITORY}:{tag}"
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        member = tarfile.TarInfo("content")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    subprocess.run(["docker", "import", "-", name], input=packed.getvalue(), capture_output=True, check=True)
    try:
        done = subprocess.run(["docker", "push", name], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    finally:
        subprocess.run(["docker", "image", "rm", name], capture_output=True, check=True)
    return done.returncode, done.stdout


def test_a_tag_is_given_once(ecr):
    assert push(b"first", "once")[0] == 0
    code, words = push(b"second", "once")
    assert code != 0 and "immutable" in words, words
    (image,) = ecr.describe_images(repositoryName=REPOSITORY)["imageDetails"]
    assert image["imageTags"] == ["once"]


def test_the_oldest_images_go_but_for_released_ones(ecr):
    rules = json.loads(ecr.get_lifecycle_policy(repositoryName=REPOSITORY)["lifecyclePolicyText"])["rules"]
    released, others = sorted(rules, key=lambda rule: rule["rulePriority"])
    assert released["selection"] == {"tagStatus": "tagged", "tagPrefixList": ["released-"], "countType": "imageCountMoreThan", "countNumber": 1000}
    assert others["selection"] == {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 5}
    assert {rule["action"]["type"] for rule in rules} == {"expire"}
