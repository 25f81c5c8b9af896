# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Hold a value against its specification, collecting every problem with its place, the value seen and the fix."""

from __future__ import annotations

import difflib
import re
from typing import Any, cast

from .spec import Key

SHOWN = 60


class Problems(list[str]):
    """What is wrong, one text each: "services.web.port: 'http' is not a whole number; give one such as 8080"."""

    def add(self, path: str, text: str) -> None:
        self.append(f"{path}: {text}")


class StackError(ValueError):
    """The stack file or the environment cannot work. `problems` has all that is wrong."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


def shown(value: Any) -> str:
    """A value as an error quotes it."""
    text = repr(value)
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"


def nearest(word: str, words: list[str]) -> str:
    """The valid word that was likely meant, or all of them when none is near."""
    near = difflib.get_close_matches(word, words, n=1, cutoff=0.6)
    return f"did you mean {near[0]!r}?" if near else "valid: " + ", ".join(sorted(words))


def join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def example_of(key: Key) -> str:
    if key.example is not None:
        return f", e.g. {key.example}"
    if key.choices:
        return f", one of {', '.join(map(str, key.choices))}"
    return f" ({key.pattern_text})" if key.pattern_text else ""


def check(value: Any, key: Key, path: str, problems: Problems) -> Any:
    """The value with defaults filled in; None when it is wrong (the problems say why)."""
    return {"dict": _dict, "map": _map, "list": _list, "int": _int, "bool": _bool, "scalar": _scalar, "str": _str}[key.type](value, key, path, problems)


def _dict(value: Any, key: Key, path: str, problems: Problems) -> dict[str, Any] | None:
    if value is True and not any(one.required for one in key.keys.values()):
        value = {}
    if not isinstance(value, dict):
        problems.add(path, f"{shown(value)} is not a mapping; give {'keys such as ' + ', '.join(list(key.keys)[:3]) if key.keys else '{}'}")
        return None
    for name in value:
        if name not in key.keys:
            problems.add(
                join(path, str(name)),
                f"unknown key; {nearest(str(name), [one for one, spec in key.keys.items() if not spec.planned]) if key.keys else 'it has none'}",
            )
    result: dict[str, Any] = {}
    for name, spec in key.keys.items():
        place = join(path, name)
        if spec.planned:
            if name in value:
                problems.add(place, f"not supported yet ({spec.description[0].lower()}{spec.description[1:]}); leave it out")
        elif name in value and value[name] is not None:
            result[name] = check(value[name], spec, place, problems)
        elif spec.required:
            problems.add(place, f"missing; give it{example_of(spec)}. {spec.description}")
            result[name] = None
        elif spec.type == "dict" and spec.default is None and not any(one.required for one in spec.keys.values()) and spec.keys:
            result[name] = None
        else:
            result[name] = check(spec.default, spec, place, problems) if spec.default is not None else None
    return result


def _map(value: Any, key: Key, path: str, problems: Problems) -> dict[str, Any] | None:
    if not isinstance(value, dict):
        problems.add(path, f"{shown(value)} is not a mapping; give name: value")
        return None
    if not _size(value, key, path, problems, "entries"):
        return None
    result = {}
    items = cast(Key, key.items)  # a map and a list always have it
    for name, one in value.items():
        place = join(path, str(name))
        if key.pattern and not re.fullmatch(key.pattern, str(name)):
            problems.add(place, f"{shown(name)} is not a name that can be used; use {key.pattern_text}")
        elif one is None and items.type == "dict":
            result[str(name)] = check({}, items, place, problems)
        else:
            result[str(name)] = check(one, items, place, problems)
    return result


def _list(value: Any, key: Key, path: str, problems: Problems) -> list[Any] | None:
    if not isinstance(value, list):
        problems.add(path, f"{shown(value)} is not a list; write [{', '.join(map(str, key.default or ['…']))}]")
        return None
    if not _size(value, key, path, problems, "entries"):
        return None
    items = cast(Key, key.items)
    return [check(one, items, f"{path}[{position}]", problems) for position, one in enumerate(value)]


def _int(value: Any, key: Key, path: str, problems: Problems) -> int | None:
    if isinstance(value, str) and re.fullmatch(r"-?\d+", value):
        value = int(value)  # what Jinja and -e name=value make of a number
    if isinstance(value, bool) or not isinstance(value, int):
        problems.add(path, f"{shown(value)} is not a whole number; give one{f' of {key.unit}' if key.unit else ''}{_range(key)}")
        return None
    return value if _within(value, value, key, path, problems) else None


def _bool(value: Any, key: Key, path: str, problems: Problems) -> bool | None:
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if not isinstance(value, bool):
        problems.add(path, f"{shown(value)} is neither true nor false; give one of them")
        return None
    return value


def _scalar(value: Any, key: Key, path: str, problems: Problems) -> str | None:
    if isinstance(value, bool):
        value = "true" if value else "false"
    if isinstance(value, int | float):
        value = str(value)
    return _str(value, key, path, problems)


def _str(value: Any, key: Key, path: str, problems: Problems) -> str | None:
    if not isinstance(value, str):
        fix = f'quote it: "{value}"' if isinstance(value, int | float) else "give a string"
        problems.add(path, f"{shown(value)} is not a string; {fix}")
        return None
    if key.choices and value not in key.choices:
        problems.add(path, f"{shown(value)} is not possible; {nearest(value, [str(one) for one in key.choices])}")
        return None
    if key.pattern and not re.fullmatch(key.pattern, value):
        problems.add(path, f"{shown(value)} does not fit; give {key.pattern_text}")
        return None
    return value if _size(value, key, path, problems, "characters") else None


def _size(value: Any, key: Key, path: str, problems: Problems, what: str) -> bool:
    size = len(value)
    if key.minimum is not None and size < key.minimum:
        problems.add(path, f"{shown(value)} has {size} {what}; at least {key.minimum} are needed")
        return False
    if key.maximum is not None and size > key.maximum:
        problems.add(path, f"{shown(value)} has {size} {what}; at most {key.maximum} are possible")
        return False
    return True


def _range(key: Key) -> str:
    if key.minimum is not None and key.maximum is not None:
        return f" between {key.minimum} and {key.maximum}"
    return ""


def _within(number: int, value: Any, key: Key, path: str, problems: Problems) -> bool:
    if (key.minimum is not None and number < key.minimum) or (key.maximum is not None and number > key.maximum):
        problems.add(path, f"{shown(value)} is out of range; give a number{f' of {key.unit}' if key.unit else ''}{_range(key)}")
        return False
    return True
