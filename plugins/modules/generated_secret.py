#!/usr/bin/python
# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: generated_secret
short_description: A secret whose password is generated once and never shown
version_added: 0.1.0
author:
  - Flotilla maintainers (@flotilla)
description:
  - Keeps a JSON object in AWS Secrets Manager that consists of the given fields and a generated password, or with O(plain) the password alone.
  - The password is generated when the secret is made, by Secrets Manager's own generator, and never changes afterwards. The other fields follow
    the task.
  - The password is not in the result, the difference or any log.
  - A secret that was deleted with a recovery window is restored with its password.
options:
  name:
    description: Name of the secret.
    type: str
    required: true
  description:
    description: What the secret is for.
    type: str
    default: ""
  fields:
    description: The fields of the JSON object beside the generated one. Values that are not secret.
    type: dict
    default: {}
  generate:
    description: Name of the generated field.
    type: str
    default: password
  plain:
    description: Whether the secret is the generated password itself and no JSON object. It has no O(fields) then.
    type: bool
    default: false
  length:
    description: Length of the generated password, in characters. Letters and digits only, which every database and client takes unquoted.
    type: int
    default: 32
  state:
    description: C(absent) deletes the secret.
    type: str
    choices: [present, absent]
    default: present
  recovery_window_days:
    description: With O(state=absent), for how many days the secret can be restored. V(0) deletes it at once.
    type: int
    default: 0
  tags:
    description: Tags of the secret. Tags that are not named here are left alone.
    type: dict
    default: {}
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
attributes:
  check_mode:
    description: Can run in check_mode and return changed status prediction without modifying target.
    support: full
"""

EXAMPLES = r"""
- name: Make a secret that only applications know
  flotilla.ec2.generated_secret:
    name: flotilla/local/gifs/upload_secret
    plain: true
    length: 40

- name: Make the master secret of the database
  flotilla.ec2.generated_secret:
    name: flotilla/local/hello/database-master
    fields:
      username: flotilla_admin
"""

RETURN = r"""
arn:
  description: ARN of the secret.
  returned: when it exists
  type: str
  sample: arn:aws:secretsmanager:eu-central-1:123456789012:secret:flotilla/local/hello/database-master-AbCdEf
"""

import json

try:
    import botocore.exceptions
except ImportError:
    pass  # AnsibleAWSModule says so

from ansible_collections.amazon.aws.plugins.module_utils.botocore import is_boto3_error_code
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule


def described(client, name: str) -> dict | None:
    """The secret as DescribeSecret shows it, or None when there is none."""
    try:
        return client.describe_secret(SecretId=name)
    except is_boto3_error_code("ResourceNotFoundException"):
        return None


def with_fields(current: str, fields: dict) -> str:
    """The JSON object with these fields set and all others kept."""
    return json.dumps({**json.loads(current), **fields}, sort_keys=True)


def missing_tags(current: list[dict], wanted: dict) -> list[dict]:
    """The tags to set, as the API takes them."""
    now = {tag["Key"]: tag["Value"] for tag in current}
    return [{"Key": key, "Value": str(value)} for key, value in sorted(wanted.items()) if now.get(key) != str(value)]


def create(client, module) -> str:
    """Make the secret; its ARN."""
    options = module.params
    if module.check_mode:
        module.exit_json(changed=True)
    password = client.get_random_password(PasswordLength=options["length"], ExcludePunctuation=True, RequireEachIncludedType=True)["RandomPassword"]
    module.no_log_values.add(password)
    value = password if options["plain"] else json.dumps({**options["fields"], options["generate"]: password}, sort_keys=True)
    return client.create_secret(Name=options["name"], Description=options["description"], SecretString=value, Tags=missing_tags([], options["tags"]))["ARN"]


def update(client, module, secret: dict) -> bool:
    """Bring an existing secret to its fields and tags; whether something changed."""
    options, write = module.params, not module.check_mode
    changed = "DeletedDate" in secret
    if changed:
        if not write:
            return True
        client.restore_secret(SecretId=secret["ARN"])
    if not options["plain"]:
        current = client.get_secret_value(SecretId=secret["ARN"])["SecretString"]
        wanted = with_fields(current, options["fields"])
        if json.loads(current) != json.loads(wanted):
            changed = True
            if write:
                client.put_secret_value(SecretId=secret["ARN"], SecretString=wanted)
    tags = missing_tags(secret.get("Tags", []), options["tags"])
    if tags:
        changed = True
        if write:
            client.tag_resource(SecretId=secret["ARN"], Tags=tags)
    return changed


def delete(client, module, secret: dict | None) -> bool:
    """Delete the secret; whether it was there."""
    if not secret or "DeletedDate" in secret:
        return False
    window = module.params["recovery_window_days"]
    if not module.check_mode:
        client.delete_secret(SecretId=secret["ARN"], **({"RecoveryWindowInDays": window} if window else {"ForceDeleteWithoutRecovery": True}))
    return True


def main() -> None:
    module = AnsibleAWSModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "description": {"type": "str", "default": ""},
            "fields": {"type": "dict", "default": {}},
            "generate": {"type": "str", "default": "password", "no_log": False},
            "plain": {"type": "bool", "default": False},
            "length": {"type": "int", "default": 32},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "recovery_window_days": {"type": "int", "default": 0},
            "tags": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    client = module.client("secretsmanager")
    try:
        secret = described(client, module.params["name"])
        if module.params["state"] == "absent":
            module.exit_json(changed=delete(client, module, secret))
        if secret:
            module.exit_json(changed=update(client, module, secret), arn=secret["ARN"])
        module.exit_json(changed=True, arn=create(client, module))
    except (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError) as error:
        module.fail_json_aws(error, msg=f"Secret {module.params['name']}")


if __name__ == "__main__":
    main()
