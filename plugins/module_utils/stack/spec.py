# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a key of a stack file or an environment is: data from which validation and the reference pages are made."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

TYPES = ("str", "int", "bool", "scalar", "list", "dict", "map")


@dataclass(frozen=True)
class Key:
    """One key.

    type: str, int, bool, scalar (string, number or boolean, taken as string), list (of `items`), dict (of `keys`), map (of names to `items`).
    minimum and maximum bound an int's value, a string's length or a list's or map's size. `pattern` is a regular expression for the whole string
    (for a map: for its names), `pattern_text` says it in words. `planned` keys are known and not supported yet.
    """

    description: str
    type: str = "str"
    required: bool = False
    default: Any = None
    choices: tuple[Any, ...] = ()
    minimum: int | None = None
    maximum: int | None = None
    pattern: str | None = None
    pattern_text: str = ""
    unit: str = ""
    example: Any = None
    keys: dict[str, Key] = field(default_factory=dict)
    items: Key | None = None
    planned: bool = False


def planned(description: str) -> Key:
    """A key whose name is taken: using it is an error that says it is not supported yet."""
    return Key(description, planned=True)


NAME = r"[a-z][a-z0-9]*(-[a-z0-9]+)*"
NAME_TEXT = "lower-case letters, digits and single hyphens, beginning with a letter"
VARIABLE = r"[A-Z][A-Z0-9_]*"
VARIABLE_TEXT = "capital letters, digits and underscores, beginning with a letter"
PATH = r"/[^\s]*"
PATH_TEXT = "a path beginning with /"
CIDR_TEXT = "a block such as 10.20.0.0/16"
