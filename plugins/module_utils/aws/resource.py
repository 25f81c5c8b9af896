# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Run one stock AWS module in this process, or find out what it would do.

A plan runs the very same code as a run, but the first call that would write is not sent and ends the module. So a prediction holds for all
modules alike: for those without check mode, and for those whose check mode says `changed` whenever the thing exists.
"""

from __future__ import annotations

import importlib
import json
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from functools import partial
from typing import Any
from unittest import mock

from ansible.module_utils import basic
from ansible.module_utils.common import json as module_json
from ansible.module_utils.common.parameters import remove_values
from ansible.module_utils.testing import patch_module_args
from ansible_collections.flotilla.ec2.plugins.module_utils.aws import plan

PAUSE_SECONDS = 0.3  # between two looks


class Withheld(SystemExit):
    """The module wanted to write. No `except Exception` of a module may swallow this."""

    def __init__(self, message: str, after: dict[str, Any]) -> None:
        super().__init__(0)
        self.message, self.after = message, after


class Watch:
    """What is remembered of a module while it runs: the module object, its result, the answers to its reads."""

    def __init__(self, name: str, arguments: Mapping[str, Any], check: bool) -> None:
        self.name, self.arguments, self.check = name, arguments, check
        self.unknown = check and plan.is_unknown(arguments)
        self.module: Any = None
        self.result: dict[str, Any] | None = None
        self.reads: dict[str, Any] = {}
        self.shown: Callable[[], Any] | None = None  # reads what the last call that a pause is for has made

    def call(self, original: Any, client: Any, operation: str, parameters: dict[str, Any]) -> Any:
        """One API call of the module."""
        service = client.meta.service_model.service_name
        if operation in plan.NEVER.get(self.name, ()):
            return {}
        if not self.check or service in plan.SIGN_IN:
            answer = original(client, operation, parameters)
            pause = plan.PAUSES.get(self.name, (0, None))[1]
            if pause and operation == pause.after:
                self.shown = partial(original, client, pause.look, pause.asked(answer))
            return answer
        if self.unknown:
            raise Withheld("Would be made once what it needs exists.", dict(self.arguments))
        if not plan.READS.match(operation):
            idle = plan.IDLE.get((service, operation))
            if idle and idle(parameters, lambda name, **options: original(client, name, options)):
                return {}
            raise Withheld(f"Would call {service} {operation}.", {operation: parameters})
        answer = original(client, operation, parameters)
        self.reads.update(answer)
        return answer

    def sleep(self, seconds: float) -> None:
        """A pause of the module: as long as it says, or until what it is for is seen twice in a row."""
        if plan.PAUSES.get(self.name, (None,))[0] != seconds:
            time.sleep(seconds)
            return
        until, seen = time.monotonic() + seconds, 0
        while self.shown and seen < 2 and time.monotonic() < until:
            time.sleep(PAUSE_SECONDS)
            seen = seen + 1 if _answers(self.shown) else 0

    def find(self, expression: str) -> Any:
        """What the reads have shown, by JMESPath."""
        import jmespath

        return jmespath.search(expression, self.reads)


def run(name: str, arguments: Mapping[str, Any], *, check: bool = False, known_after: Mapping[str, str] | None = None, **internals: Any) -> dict[str, Any]:
    """The result of the module `namespace.collection.module` with these plain arguments. With `check` nothing is written.

    `known_after` adds to plan.KNOWN_AFTER; `internals` are the `_ansible_…` arguments of the module, without that prefix. A module that ends
    without a result raises RuntimeError; its own failures are in the result (`failed`), as always.
    """
    watch = Watch(name, arguments, check)
    if watch.unknown and name in plan.NOTHING_WITHOUT and not arguments[plan.NOTHING_WITHOUT[name]]:
        return {"changed": False}
    namespace, collection, short = name.split(".")
    module = importlib.import_module(f"ansible_collections.{namespace}.{collection}.plugins.modules.{short}")
    import botocore.client
    import botocore.session

    send, start, deprecate = botocore.client.BaseClient._make_api_call, basic.AnsibleModule.__init__, basic.AnsibleModule.deprecate

    def called(client: Any, operation: str, parameters: dict[str, Any]) -> Any:
        return watch.call(send, client, operation, parameters)

    def started(self: Any, *args: Any, **options: Any) -> None:
        watch.module = self
        start(self, *args, **options)

    def deprecated(self: Any, msg: str, *args: Any, **options: Any) -> None:
        if name not in plan.QUIET or plan.QUIET[name] not in msg:
            deprecate(self, msg, *args, **options)

    def recorded(self: Any, result: dict[str, Any]) -> None:
        watch.result = result

    internal = {"module_name": name, "check_mode": False, "remote_tmp": "/tmp", **internals}  # noqa: S108 - only named, never made
    with ExitStack() as stack:
        stack.enter_context(patch_module_args({**arguments, **{f"_ansible_{key}": value for key, value in internal.items()}}))
        stack.enter_context(mock.patch.object(botocore.client.BaseClient, "_make_api_call", called))
        stack.enter_context(mock.patch.object(botocore.session, "create_loader", _loader))
        stack.enter_context(mock.patch.object(basic.AnsibleModule, "__init__", started))
        stack.enter_context(mock.patch.object(basic.AnsibleModule, "deprecate", deprecated))
        if name in plan.PAUSES:
            stack.enter_context(mock.patch.object(module, "sleep", watch.sleep))
        stack.enter_context(mock.patch.object(basic.AnsibleModule, "_record_module_result", recorded))
        try:
            module.main()
        except Withheld as withheld:
            after = plan.masked(remove_values(withheld.after, watch.module.no_log_values))
            watch.result = {"changed": True, "msg": withheld.message, "diff": {"before": {}, "after": after}}
        except SystemExit:
            pass
        except Exception as error:
            # amazon.aws.ec2_ami_info raises errors that have no text, which ends the whole worker without a word.
            raise RuntimeError(f"{name}: {_text(error)}") from None
    if watch.result is None:
        raise RuntimeError(f"{name} ended without a result.")
    result = {"changed": False, **plain(watch.result)}
    if check and not result.get("failed"):
        plan.fill(result, {**plan.KNOWN_AFTER.get(name, {}), **(known_after or {})}, watch.find)
    return result


def _answers(look: Callable[[], Mapping[str, Any]]) -> bool:
    """Whether a read finds what it asks for."""
    import botocore.exceptions

    try:
        return any(isinstance(value, list) and value for value in look().values())
    except botocore.exceptions.ClientError:
        return False


def _text(error: BaseException) -> str:
    """What an error says, or what it was raised for when it has no words of its own."""
    try:
        return str(error)
    except Exception:
        return _text(error.__context__) if error.__context__ else type(error).__name__


_LOADERS: dict[Any, Any] = {}


def _loader(path: str | None = None) -> Any:
    """One loader of the services' descriptions (EC2's has 3 MB) for all sessions of this process: each module makes sessions of its own."""
    import botocore.loaders

    if path not in _LOADERS:
        _LOADERS[path] = botocore.loaders.create_loader(path)
    return _LOADERS[path]


def warm(services: Iterable[str]) -> None:
    """Have the services' descriptions and all that a client imports in this process, for those that are forked from it: a fifth of a second for each task."""
    import botocore.session

    botocore.session.create_loader = _loader  # for lookups too
    session = botocore.session.Session()
    for name in services:
        session.create_client(name, region_name="eu-central-1", aws_access_key_id="none", aws_secret_access_key="none")  # noqa: S106 - never used


def plain(data: Any, *, arguments: bool = False) -> Any:
    """Data as it comes back from a module that ran elsewhere, or as it goes there (`arguments`): JSON types only, without ansible-core's tags."""
    way = module_json.Direction.CONTROLLER_TO_MODULE if arguments else module_json.Direction.MODULE_TO_CONTROLLER
    return json.loads(json.dumps(data, cls=module_json.get_module_encoder("legacy", way)))
