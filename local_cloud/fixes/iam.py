"""Where moto's IAM differs from AWS."""

from __future__ import annotations

from typing import Any

from moto.iam.access_control import IAMPolicyStatement, PermissionResult


def apply() -> None:
    """Correct moto, once, before it serves."""
    original = IAMPolicyStatement.is_action_permitted

    def is_action_permitted(self: Any, action: str, resource: str = "*", principal: Any = None, incoming_condition_values: Any = None) -> Any:
        # A statement whose Condition does not hold does not apply; moto takes a conditional Deny (TLS only) for a Deny of everything.
        if self._statement.get("Effect") == "Deny" and self._statement.get("Condition") and not incoming_condition_values:
            return PermissionResult.NEUTRAL
        return original(self, action, resource, principal, incoming_condition_values)

    IAMPolicyStatement.is_action_permitted = is_action_permitted
