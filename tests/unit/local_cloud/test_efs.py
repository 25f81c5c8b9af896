"""File systems on the local cloud: who may mount what, and the API's answers (EFS User Guide, "Troubleshooting mount issues"; API Reference)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.unit.local_cloud.core_support import Bed, bed, client, eventually

DENIED = "32 mount.nfs4: access denied by server while mounting 127.0.0.1:/"
ROOT = {"Path": "/apps/web", "CreationInfo": {"OwnerUid": 1234, "OwnerGid": 4321, "Permissions": "0750"}}


class Files:
    """A file system with an access point, a mount target in the first zone and a guest there."""

    def __init__(self, it: Bed) -> None:
        self.it, self.api = it, client("efs")
        self.system = self.api.create_file_system(CreationToken="media", Tags=[{"Key": "Name", "Value": "media"}])["FileSystemId"]
        self.point = self.access_point("web")
        self.group = it.security_group("files")
        made = self.api.create_mount_target(FileSystemId=self.system, SubnetId=it.subnets[0], SecurityGroups=[self.group])
        self.target = made["MountTargetId"]
        it.allow(self.group, 2049, UserIdGroupPairs=[{"GroupId": it.group}])

    def access_point(self, token: str, root: dict[str, Any] = ROOT) -> str:
        user = {"Uid": 1234, "Gid": 4321}
        return str(self.api.create_access_point(ClientToken=token, FileSystemId=self.system, PosixUser=user, RootDirectory=root)["AccessPointId"])

    def mount(self, access_point: str = "", system: str = "", **where: Any) -> tuple[int, str]:
        guest = self.it.run(**where)["PrivateIpAddress"]
        path = f"/local-cloud/efs?file_system={system or self.system}&access_point={access_point}"
        return self.it.cloud.planes["metadata"].aside(guest, path)  # type: ignore[attr-defined,no-any-return]


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Files]:
    with bed(tmp_path) as it:
        yield Files(it)


def test_an_access_point_leads_to_its_root_directory(files: Files) -> None:
    """ "Creating the root directory for an access point": with the owner and permissions of its CreationInfo, or not at all."""
    assert files.mount(files.point) == (200, "/apps/web 1234:4321 0750")
    assert files.mount() == (200, "/ - -")
    assert files.mount(files.access_point("bare", {"Path": "/bare"})) == (200, "/bare - -")


def test_there_must_be_a_mount_target_in_the_zone(files: Files) -> None:
    status, said = files.mount(files.point, SubnetId=files.it.subnets[1])
    assert status == 404 and said.startswith(f'1 Failed to resolve "{files.system}.efs.eu-central-1.amazonaws.com"')
    assert files.mount(system="fs-0123456789abcdef0")[0] == 404


def test_what_may_not_be_mounted(files: Files) -> None:
    other = files.it.security_group("other")
    assert files.mount(files.point, SecurityGroupIds=[other]) == (403, "32 mount.nfs4: Connection timed out")
    assert files.mount("fsap-0123456789abcdef0") == (403, DENIED)
    second = files.api.create_file_system(CreationToken="second")["FileSystemId"]
    files.api.create_mount_target(FileSystemId=second, SubnetId=files.it.subnets[0], SecurityGroups=[files.group])
    assert files.mount(files.point, second) == (403, DENIED), "of another file system"


def test_guests_share_one_volume(files: Files) -> None:
    made = [files.it.container(files.it.run()["InstanceId"])["volumes"] for _ in range(2)]
    assert made[0] == made[1] and "/var/lib/local-cloud/efs" in made[0].values()


def test_answers_of_the_api(files: Files) -> None:
    api = files.api
    assert api.describe_tags(FileSystemId=files.system)["Tags"] == [{"Key": "Name", "Value": "media"}]
    api.create_tags(FileSystemId=files.system, Tags=[{"Key": "a", "Value": "b"}])
    api.delete_tags(FileSystemId=files.system, TagKeys=["Name"])
    assert api.list_tags_for_resource(ResourceId=files.system)["Tags"] == [{"Key": "a", "Value": "b"}]
    with pytest.raises(ClientError, match="AccessPointAlreadyExists"):
        files.access_point("web")
    with pytest.raises(ClientError, match="FileSystemNotFound"):
        api.create_access_point(ClientToken="x", FileSystemId="fs-0123456789abcdef0")
    with pytest.raises(ClientError, match="AccessPointNotFound"):
        api.delete_access_point(AccessPointId="fsap-0123456789abcdef0")
    with pytest.raises(ClientError, match="FileSystemInUse"):
        api.delete_file_system(FileSystemId=files.system)


def test_a_mount_target_holds_its_subnet_and_group_until_it_goes(files: Files) -> None:
    it = files.it
    for refused in (lambda: it.ec2.delete_subnet(SubnetId=it.subnets[0]), lambda: it.ec2.delete_security_group(GroupId=files.group)):
        with pytest.raises(ClientError, match="DependencyViolation"):
            refused()
    files.api.delete_mount_target(MountTargetId=files.target)
    it.ec2.delete_security_group(GroupId=files.group)
    it.ec2.delete_subnet(SubnetId=it.subnets[0])
    files.api.delete_file_system(FileSystemId=files.system)
    assert files.api.describe_access_points()["AccessPoints"] == []
    eventually(lambda: ["rm", "-rf", f"./{files.system}"] in [what for _, what, _ in it.engine.executed], "its contents go")
