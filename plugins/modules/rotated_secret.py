#!/usr/bin/python
# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: rotated_secret
short_description: Change the password of a secret in steps that can be taken up after a crash
version_added: 0.1.0
author:
  - Flotilla authors (@flotilla)
description:
  - The secret is a JSON object with a field C(password), as M(flotilla.ec2.generated_secret) makes it. A rotation writes the password to come into its
    field C(next) (V(begun)), makes that the password (V(promoted)) and takes C(next) away (V(finished)).
  - A rotation that has come further already is not set back. The passwords are not in the result, the difference or any log.
options:
  name:
    description: Name of the secret.
    type: str
    required: true
  state:
    description: How far the rotation shall be.
    type: str
    choices: [begun, promoted, finished]
    required: true
  length:
    description: Length of the new password, in characters, letters and digits.
    type: int
    default: 32
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
- name: Write the next password down
  flotilla.ec2.rotated_secret:
    name: flotilla/local/hello/database-hello_web
    state: begun
"""

RETURN = r"""
step:
  description: How far the rotation is, C(begun), C(promoted) or C(finished).
  returned: always
  type: str
"""

import json
from collections.abc import Callable

try:
    import botocore.exceptions
except ImportError:
    pass  # AnsibleAWSModule says so

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule


def step_of(fields: dict[str, str]) -> str:
    """How far a rotation is."""
    if "next" not in fields:
        return "finished"
    return "promoted" if fields["next"] == fields["password"] else "begun"


def advanced(fields: dict[str, str], state: str, fresh: Callable[[], str]) -> dict[str, str]:
    """The fields once the rotation is as far as state. fresh gives a new password."""
    step = step_of(fields)
    if state == "begun":
        return fields if step != "finished" else {**fields, "next": fresh()}
    if step == "finished":
        return fields
    if state == "promoted":
        return {**fields, "password": fields["next"]}
    if step == "begun":
        raise ValueError("its next password is not in use yet; it must be promoted before the rotation is finished")
    return {name: value for name, value in fields.items() if name != "next"}


def main() -> None:
    module = AnsibleAWSModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "required": True, "choices": ["begun", "promoted", "finished"]},
            "length": {"type": "int", "default": 32},
        },
        supports_check_mode=True,
    )
    client, name = module.client("secretsmanager"), module.params["name"]

    def fresh() -> str:
        return client.get_random_password(PasswordLength=module.params["length"], ExcludePunctuation=True, RequireEachIncludedType=True)["RandomPassword"]

    try:
        fields = json.loads(client.get_secret_value(SecretId=name)["SecretString"])
        wanted = advanced(fields, module.params["state"], fresh)
        if wanted != fields and not module.check_mode:
            client.put_secret_value(SecretId=name, SecretString=json.dumps(wanted, sort_keys=True))
        module.exit_json(changed=wanted != fields, step=step_of(wanted))
    except ValueError as error:
        module.fail_json(msg=f"Secret {name}: {error}")
    except (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError) as error:
        module.fail_json_aws(error, msg=f"Secret {name}")


if __name__ == "__main__":
    main()
