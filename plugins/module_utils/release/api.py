# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""The AWS calls of a release, each as one function that takes a client and returns plain data.

Endpoint, credentials and profile come from the environment, as boto3 reads it (C(AWS_ENDPOINT_URL), C(AWS_PROFILE), …).
"""

from __future__ import annotations

import json
from typing import Any

try:
    import botocore.config
    import botocore.exceptions
    import botocore.session

    IMPORT_ERROR: str | None = None
    _SESSION = botocore.session.get_session()
    # Read here, in the process that loads the plugin: the workers that ansible forks then find botocore's data loaded (0.2 s for each task).
    _loader = _SESSION.get_component("data_loader")
    try:
        for _name in ("ssm", "elbv2", "autoscaling", "s3"):
            _loader.load_service_model(_name, "service-2")
            _loader.load_service_model(_name, "endpoint-rule-set-1")
        for _name in ("partitions", "_retry"):
            _loader.load_data(_name)
    except botocore.exceptions.DataNotFoundError:
        pass  # another botocore keeps it elsewhere, and reads it when it needs it
    _SESSION.get_component("endpoint_resolver")
except ImportError as error:
    IMPORT_ERROR = str(error)

Document = dict[str, Any]
RELEASED = "released-"  # tags of images that were released; the lifecycle policy of role registry spares them


class ReleaseError(Exception):
    """What stops a release; the text names what is wrong and how to mend it."""


def client(service: str, region: str, *, hurried: bool = False) -> Any:
    """A client that gives up early: ten seconds for a connection, five attempts in all; hurried, two attempts of three seconds."""
    if IMPORT_ERROR:
        raise ReleaseError(f"botocore is needed on the control node: {IMPORT_ERROR}. Fix: install the collection's Python requirements.")
    config = botocore.config.Config(connect_timeout=10, read_timeout=60, retries={"max_attempts": 5, "mode": "standard"})
    if hurried:
        config = botocore.config.Config(connect_timeout=3, read_timeout=3, retries={"max_attempts": 2, "mode": "standard"})
    try:
        return _SESSION.create_client(service, region_name=region, config=config)
    except botocore.exceptions.BotoCoreError as error:
        raise ReleaseError(f"no {service} client for region {region}: {error}") from error


def code_of(error: Exception) -> str:
    """The API's error code of a ClientError, or an empty string."""
    return str(getattr(error, "response", {}).get("Error", {}).get("Code", ""))


# ---- parameters


def read_parameter(ssm: Any, name: str) -> tuple[Document, int] | None:
    """The JSON document of a parameter and its version; None when there is none."""
    try:
        answer = ssm.get_parameter(Name=name)["Parameter"]
    except ssm.exceptions.ParameterNotFound:
        return None
    try:
        return json.loads(answer["Value"]), int(answer["Version"])
    except ValueError as error:
        raise ReleaseError(f"the parameter {name} is not JSON: {answer['Value'][:200]!r}. Fix: delete it or write it anew.") from error


def read_outputs(ssm: Any, model: Document) -> Document:
    """What provisioning has made for a stack; ReleaseError when it has not."""
    read = read_parameter(ssm, f"{model['parameter_root']}/outputs")
    if read is None:
        raise ReleaseError(f"{model['stack']['name']} is not provisioned in {model['environment']['name']}. Fix: run provision.yml and configure.yml.")
    return read[0]


def create_parameter(ssm: Any, name: str, document: Document, description: str) -> bool:
    """Write a parameter that must not exist yet; False when it does. The one atomic test-and-set of the Parameter Store."""
    try:
        ssm.put_parameter(Name=name, Value=json.dumps(document), Type="String", Overwrite=False, Description=description)
    except ssm.exceptions.ParameterAlreadyExists:
        return False
    return True


def replace_parameter(ssm: Any, name: str, document: Document, version: int | None = None) -> bool:
    """Write a parameter that exists. With a version: only when that is still the newest one, else the newer text is put back.

    PutParameter numbers the versions (documentation of GetParameterHistory), so of two writers that had read version n
    exactly one is answered n + 1.
    """
    made = int(ssm.put_parameter(Name=name, Value=json.dumps(document), Type="String", Overwrite=True)["Version"])
    if version is None or made == version + 1:
        return True
    before = [row for row in parameter_history(ssm, name) if int(row["Version"]) == made - 1]
    if before:
        ssm.put_parameter(Name=name, Value=before[0]["Value"], Type="String", Overwrite=True)
    else:
        ssm.delete_parameter(Name=name)
    return False


def parameter_history(ssm: Any, name: str) -> list[Document]:
    """All kept versions of a parameter, oldest first."""
    rows: list[Document] = []
    token: str | None = None
    while True:
        answer = ssm.get_parameter_history(Name=name, **({"NextToken": token} if token else {}))
        rows += answer["Parameters"]
        token = answer.get("NextToken")
        if not token:
            return rows


def delete_parameter(ssm: Any, name: str) -> None:
    """Remove a parameter; one that is gone already is fine."""
    try:
        ssm.delete_parameter(Name=name)
    except ssm.exceptions.ParameterNotFound:
        pass


# ---- objects


def read_object(s3: Any, bucket: str, key: str) -> Document | None:
    """The JSON object at key; None when there is none."""
    try:
        return json.loads(s3.get_object(Bucket=bucket, Key=key)["Body"].read())
    except botocore.exceptions.ClientError as error:
        if code_of(error) in ("NoSuchKey", "404"):
            return None
        raise


def write_object(s3: Any, bucket: str, key: str, document: Document) -> None:
    """Write a JSON object."""
    s3.put_object(Bucket=bucket, Key=key, Body=json.dumps(document, indent=2, sort_keys=True).encode(), ContentType="application/json")


def delete_objects(s3: Any, bucket: str, keys: list[str]) -> None:
    """Remove objects, a thousand in a call at most (DeleteObjects)."""
    for start in range(0, len(keys), 1000):
        s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key} for key in keys[start : start + 1000]], "Quiet": True})


def list_keys(s3: Any, bucket: str, prefix: str) -> list[str]:
    """All keys with a prefix, in the order of their text."""
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    return sorted(row["Key"] for page in pages for row in page.get("Contents", []))


# ---- images


def find_image(ecr: Any, repository: str, tag: str) -> Document | None:
    """The image of a tag ({digest, tags, pushed_at}), or None when the repository has no such tag."""
    wanted = {"imageDigest": tag} if tag.startswith("sha256:") else {"imageTag": tag}
    try:
        details = ecr.describe_images(repositoryName=repository, imageIds=[wanted])["imageDetails"]
    except ecr.exceptions.ImageNotFoundException:
        return None
    return image(details[0]) if details else None


def newest_images(ecr: Any, repository: str) -> list[Document]:
    """All tagged images of a repository, newest push first."""
    pages = ecr.get_paginator("describe_images").paginate(repositoryName=repository)
    images = [one for page in pages for row in page["imageDetails"] if (one := image(row))["tags"]]
    return sorted(images, key=lambda row: row["pushed_at"] or "", reverse=True)


def keep_image(ecr: Any, repository: str, digest: str) -> bool:
    """Give an image the tag that its repository's lifecycle policy spares; False when it has it already, or is no more."""
    found = ecr.batch_get_image(repositoryName=repository, imageIds=[{"imageDigest": digest}]).get("images") or []
    if not found:
        return False
    media = {"imageManifestMediaType": found[0]["imageManifestMediaType"]} if found[0].get("imageManifestMediaType") else {}
    tag = f"{RELEASED}{digest.removeprefix('sha256:')[:12]}"
    try:
        ecr.put_image(repositoryName=repository, imageManifest=found[0]["imageManifest"], imageTag=tag, **media)
    except (ecr.exceptions.ImageAlreadyExistsException, ecr.exceptions.ImageTagAlreadyExistsException):
        return False
    return True


def image(detail: Document) -> Document:
    """An imageDetail of ECR as {digest, tags (without ours), pushed_at (ISO) or None}."""
    pushed = detail.get("imagePushedAt")
    return {
        "digest": detail["imageDigest"],
        "tags": sorted(tag for tag in detail.get("imageTags", []) if not tag.startswith(RELEASED)),
        "pushed_at": pushed.isoformat() if pushed else None,
    }


# ---- targets


def target_health(elbv2: Any, group: str, target: str | None = None) -> dict[str, Document]:
    """Target id → {state, reason, description, port} of all registered (and draining) targets, or of one."""
    wanted = {"Targets": [{"Id": target}]} if target else {}
    rows = elbv2.describe_target_health(TargetGroupArn=group, **wanted)["TargetHealthDescriptions"]
    return {
        row["Target"]["Id"]: {
            "state": row["TargetHealth"]["State"],
            "reason": row["TargetHealth"].get("Reason", ""),
            "description": row["TargetHealth"].get("Description", ""),
            "port": row["Target"].get("Port"),
        }
        for row in rows
    }


# ---- instances and Auto Scaling


def instance_states(ec2: Any, hosts: list[str]) -> dict[str, str]:
    """Instance id → state, of those that exist (a filter, for an id that is unknown yet fails the call)."""
    if not hosts:
        return {}
    pages = ec2.get_paginator("describe_instances").paginate(Filters=[{"Name": "instance-id", "Values": hosts}])
    return {one["InstanceId"]: one["State"]["Name"] for page in pages for row in page["Reservations"] for one in row["Instances"]}


def auto_scaling_groups(autoscaling: Any, names: list[str]) -> dict[str, Document]:
    """Group name → {suspended: [process], instances: {id: lifecycle state}} of those that exist."""
    if not names:
        return {}
    pages = autoscaling.get_paginator("describe_auto_scaling_groups").paginate(AutoScalingGroupNames=names)
    return {
        row["AutoScalingGroupName"]: {
            "suspended": sorted(process["ProcessName"] for process in row.get("SuspendedProcesses", [])),
            "instances": {one["InstanceId"]: one["LifecycleState"] for one in row.get("Instances", [])},
        }
        for page in pages
        for row in page["AutoScalingGroups"]
    }


def scaling_state(autoscaling: Any, instance: str) -> tuple[str, bool]:
    """Lifecycle state of an instance in its Auto Scaling group, an empty text when it is in none, and whether the group finds it unhealthy."""
    rows = autoscaling.describe_auto_scaling_instances(InstanceIds=[instance])["AutoScalingInstances"]
    return (str(rows[0]["LifecycleState"]), str(rows[0]["HealthStatus"]).upper() == "UNHEALTHY") if rows else ("", False)


def scaling_states(autoscaling: Any, instances: list[str]) -> dict[str, tuple[str, bool]]:
    """The same of many, by instance; those that are in no group are left out. "You can specify up to 50" in a call (DescribeAutoScalingInstances)."""
    rows = [
        row
        for start in range(0, len(instances), 50)
        for row in autoscaling.describe_auto_scaling_instances(InstanceIds=instances[start : start + 50])["AutoScalingInstances"]
    ]
    return {str(row["InstanceId"]): (str(row["LifecycleState"]), str(row["HealthStatus"]).upper() == "UNHEALTHY") for row in rows}


def launched(ec2: Any, instance: str) -> float | None:
    """When an instance was launched (seconds since 1970); None when it is unknown, or neither pending nor running."""
    filters = [{"Name": "instance-id", "Values": [instance]}, {"Name": "instance-state-name", "Values": ["pending", "running"]}]
    found = [one for row in ec2.describe_instances(Filters=filters)["Reservations"] for one in row["Instances"]]
    return float(found[0]["LaunchTime"].timestamp()) if found else None


def leaving(autoscaling: Any, instance: str) -> bool:
    """Whether the Auto Scaling group of an instance is ending it."""
    return scaling_state(autoscaling, instance)[0].startswith("Terminat")


def group_sizes(autoscaling: Any, name: str) -> Document | None:
    """{min, max, desired, in_service} of an Auto Scaling group; None when there is none."""
    found = autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=[name])["AutoScalingGroups"]
    if not found:
        return None
    states = [one["LifecycleState"] for one in found[0].get("Instances", [])]
    sizes = {"min": found[0]["MinSize"], "max": found[0]["MaxSize"], "desired": found[0]["DesiredCapacity"]}
    return {**sizes, "in_service": states.count("InService")}
