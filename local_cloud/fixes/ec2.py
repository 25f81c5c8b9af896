"""Where moto's EC2 differs from AWS in ways that Ansible's modules or a caller notice."""

from __future__ import annotations

import base64
from typing import Any

import moto.ec2.utils as utils
from moto.core.responses import ActionResult
from moto.core.types import Base64EncodedString
from moto.ec2.exceptions import InvalidLaunchTemplateVersionNotFound
from moto.ec2.models import launch_templates, tags
from moto.ec2.models.instances import InstanceBackend, MetadataOptions
from moto.ec2.responses.launch_templates import LaunchTemplates


def _nat_gateway_tags() -> None:
    """DescribeTags says resource-type `natgateway`; moto's `nat-gateway` makes ec2_vpc_nat_gateway make one more at each run."""
    utils.EC2_RESOURCE_TO_PREFIX["natgateway"] = utils.EC2_RESOURCE_TO_PREFIX["nat-gateway"]
    utils.EC2_PREFIX_TO_RESOURCE["nat"] = "natgateway"
    if hasattr(tags, "EC2_PREFIX_TO_RESOURCE"):
        tags.EC2_PREFIX_TO_RESOURCE["nat"] = "natgateway"


def _template_tags() -> None:
    """TagSpecifications of CreateLaunchTemplate tag the template itself and are no part of LaunchTemplateData."""
    original = launch_templates.LaunchTemplate.__init__

    def init(self: Any, backend: Any, name: str, template_data: dict[str, Any], version_description: str, tag_spec: Any) -> None:
        given = template_data.get("TagSpecifications")
        if isinstance(given, list):
            kept = [one for one in given if one.get("ResourceType") != "launch-template"]
            template_data = {**template_data, "TagSpecifications": kept}
            if not kept:
                del template_data["TagSpecifications"]
        original(self, backend, name, template_data, version_description, tag_spec)

    launch_templates.LaunchTemplate.__init__ = init


def _template_user_data() -> None:
    """Every version of a template has its user data; moto asserts on those made by CreateLaunchTemplateVersion and answers 500."""

    def user_data(self: Any) -> Base64EncodedString | None:
        given = self.data.get("UserData")
        if given is None or isinstance(given, Base64EncodedString):
            return given
        text = given.decode() if isinstance(given, bytes) else str(given)
        try:
            return Base64EncodedString(text)
        except ValueError:
            return Base64EncodedString(base64.b64encode(text.encode()).decode())

    launch_templates.LaunchTemplateVersion.user_data = property(user_data)


def _template_security_groups() -> None:
    """Groups given by id are used when an instance is launched from the template, as those given by name are."""
    original = launch_templates.LaunchTemplateVersion.security_groups
    launch_templates.LaunchTemplateVersion.security_groups = property(lambda self: original.fget(self) or self.data.get("SecurityGroupIds", []))


def _template_profile() -> None:
    """RunInstances takes the instance profile and the metadata options from the launch template."""
    run = InstanceBackend.run_instances

    def run_instances(self: Any, image_id: str, count: int, user_data: Any, security_group_names: list[str], **options: Any) -> Any:
        template = options.get("launch_template")
        data = self._get_template_from_args(template).data if template else {}
        # Groups given by id would be taken twice, once from us and once from the template.
        if data.get("SecurityGroupIds") and list(security_group_names) == list(data["SecurityGroupIds"]):
            security_group_names = []
        reservation = run(self, image_id, count, user_data, security_group_names, **options)
        profile = data.get("IamInstanceProfile") or {}
        named = {
            "iam_instance_profile_name": options.get("iam_instance_profile_name") or profile.get("Name"),
            "iam_instance_profile_arn": options.get("iam_instance_profile_arn") or profile.get("Arn"),
        }
        for position, instance in enumerate(reservation.instances):
            if data.get("MetadataOptions"):
                instance.metadata_options = MetadataOptions(data["MetadataOptions"])
            # A profile named in the call itself reaches the first instance by moto's own doing.
            if any(named.values()) and (profile or position > 0):
                self.associate_iam_instance_profile(instance.id, **named)
        return reservation

    InstanceBackend.run_instances = run_instances


def _template_versions() -> None:
    """DeleteLaunchTemplateVersions, which moto lacks: versions go but for the default one, and no number is given twice."""
    template, describe = launch_templates.LaunchTemplate, launch_templates.LaunchTemplate.get_version

    def get_version(self: Any, number: Any) -> Any:
        if not str(number).isdigit():
            return describe(self, number)
        found = next((one for one in self.versions if one.number == int(number)), None)
        if found is None:
            raise InvalidLaunchTemplateVersionNotFound(template_id=self.id, version=str(number))
        return found

    def create_version(self: Any, data: dict[str, Any], description: str) -> Any:
        self.last_number = getattr(self, "last_number", 0) + 1
        made = launch_templates.LaunchTemplateVersion(self, self.last_number, data, description)
        self.versions.append(made)
        return made

    def delete(self: Any) -> ActionResult:
        name, identifier = self._get_param("LaunchTemplateName"), self._get_param("LaunchTemplateId")
        self.error_on_dryrun()
        given = {"template_ids": [identifier]} if identifier else {"template_names": [name]}
        (found,) = self.ec2_backend.describe_launch_templates(**given)
        gone, kept = [], []
        for number in self._get_param("Versions", []):
            row = {"LaunchTemplateId": found.id, "LaunchTemplateName": found.name, "VersionNumber": int(number)}
            version = next((one for one in found.versions if one.number == int(number)), None)
            if version is None:
                kept.append({**row, "ResponseError": {"Code": "launchTemplateVersionDoesNotExist", "Message": f"Version {number} does not exist"}})
            elif found.is_default(version):
                kept.append({**row, "ResponseError": {"Code": "unexpectedError", "Message": "The default version cannot be deleted"}})
            else:
                found.versions.remove(version)
                gone.append(row)
        return ActionResult({"SuccessfullyDeletedLaunchTemplateVersions": gone, "UnsuccessfullyDeletedLaunchTemplateVersions": kept})

    template.get_version, template.create_version = get_version, create_version  # type: ignore[method-assign]
    template.default_version = lambda self: self.get_version(self.default_version_number)  # type: ignore[method-assign]
    LaunchTemplates.delete_launch_template_versions = delete  # type: ignore[attr-defined]


def _volume_snapshot() -> None:
    """A volume that was made from no snapshot has an empty SnapshotId in DescribeVolumes; moto leaves it out, and modules read it."""
    from moto.ec2.models.elastic_block_store import Volume

    original = Volume.__init__

    def made(self: Any, *given: Any, **named: Any) -> None:
        original(self, *given, **named)
        self.snapshot_id = self.snapshot_id or ""

    Volume.__init__ = made


def apply() -> None:
    """Correct moto, once, before it serves."""
    _nat_gateway_tags()
    _template_tags()
    _template_user_data()
    _template_security_groups()
    _template_profile()
    _template_versions()
    _volume_snapshot()
