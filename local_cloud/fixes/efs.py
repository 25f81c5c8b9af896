"""Where moto's EFS differs from AWS in ways that Ansible's modules or a caller notice."""

from __future__ import annotations

import json
from typing import Any

from moto.efs import models, urls
from moto.efs.exceptions import EFSError
from moto.efs.responses import EFSResponse


class AccessPointAlreadyExists(EFSError):
    """CreateAccessPoint: "… with the creation token you provided in the request"."""

    code = 409

    def __init__(self, identifier: str) -> None:
        super().__init__("AccessPointAlreadyExists", f"Access point {identifier} already exists with this client token")


def _tags() -> None:
    """DescribeTags, CreateTags, DeleteTags: older than TagResource, and what community.aws.efs calls."""

    def identifier(self: Any) -> str:
        return str(self.path.rstrip("/").split("/")[-1])

    def describe_tags(self: Any) -> Any:
        return json.dumps({"Tags": self.efs_backend.list_tags_for_resource(identifier(self))}), {"Content-Type": "application/json"}

    def create_tags(self: Any) -> Any:
        self.efs_backend.tag_resource(identifier(self), {one["Key"]: one.get("Value") for one in self._get_param("Tags") or []})
        return "", {"status": 204}

    def delete_tags(self: Any) -> Any:
        self.efs_backend.untag_resource(identifier(self), self._get_param("TagKeys") or [])
        return "", {"status": 204}

    EFSResponse.describe_tags, EFSResponse.create_tags, EFSResponse.delete_tags = describe_tags, create_tags, delete_tags
    for path in ("create-tags/<resource_id>", "delete-tags/<resource_id>", "tags/<resource_id>", "tags/<resource_id>/"):
        urls.url_paths[f"/2015-02-01/{path}"] = urls.response.dispatch


def _access_points() -> None:
    create, delete, delete_system = (
        models.EFSBackend.create_access_point,
        models.EFSBackend.delete_access_point,
        models.EFSBackend.delete_file_system,
    )

    def create_access_point(self: Any, client_token: str, tags: Any, file_system_id: str, posix_user: Any, root_directory: Any) -> Any:
        # CreateAccessPoint: FileSystemNotFound; AccessPointAlreadyExists for a token that was used.
        if file_system_id not in self.file_systems_by_id:
            raise models.FileSystemNotFound(file_system_id)
        for known in self.access_points.values():
            if known.client_token == client_token:
                raise AccessPointAlreadyExists(known.access_point_id)
        return create(self, client_token, tags, file_system_id, posix_user, root_directory)

    def delete_access_point(self: Any, access_point_id: str) -> None:
        if access_point_id not in self.access_points:
            raise models.AccessPointNotFound(access_point_id)
        delete(self, access_point_id)

    def delete_file_system(self: Any, file_system_id: str) -> None:
        delete_system(self, file_system_id)
        for identifier in [one.access_point_id for one in self.access_points.values() if one.file_system_id == file_system_id]:
            delete(self, identifier)

    models.EFSBackend.create_access_point, models.EFSBackend.delete_access_point = create_access_point, delete_access_point
    models.EFSBackend.delete_file_system = delete_file_system


def _mount_targets() -> None:
    create = models.EFSBackend.create_mount_target

    def create_mount_target(self: Any, file_system_id: str, subnet_id: str, ip_address: Any = None, security_groups: Any = None) -> Any:
        # CreateMountTarget: without SecurityGroups "the default security group of the subnet's VPC".
        made = create(self, file_system_id, subnet_id, ip_address, security_groups)
        if not security_groups:
            made.security_groups = [self.ec2_backend.get_default_security_group(made.vpc_id).id]
        return made

    models.EFSBackend.create_mount_target = create_mount_target


def _policies() -> None:
    def known(self: Any) -> str:
        identifier = str(self.path.split("/file-systems/")[-1].split("/")[0])
        self.efs_backend.describe_file_systems(file_system_id=identifier)
        return identifier

    def delete_file_system_policy(self: Any) -> Any:
        self.efs_backend.file_systems_by_id[known(self)].file_system_policy = None
        return "", {"status": 200}

    def put_backup_policy(self: Any) -> Any:
        policy = self._get_param("BackupPolicy")
        self.efs_backend.file_systems_by_id[known(self)]._backup = policy["Status"] == "ENABLED"
        return json.dumps({"BackupPolicy": policy}), {"Content-Type": "application/json"}

    EFSResponse.delete_file_system_policy, EFSResponse.put_backup_policy = delete_file_system_policy, put_backup_policy


def apply() -> None:
    """Correct moto, once, before it serves."""
    _tags()
    _access_points()
    _mount_targets()
    _policies()
