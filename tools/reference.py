"""Write docs/reference/{stack,environment}.md from the specifications; `--check` fails when a page is not what would be written."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / ".ansible" / "collections"))

from ansible_collections.flotilla.ec2.plugins.module_utils.stack.environment_keys import ENVIRONMENT  # noqa: E402
from ansible_collections.flotilla.ec2.plugins.module_utils.stack.spec import Key  # noqa: E402
from ansible_collections.flotilla.ec2.plugins.module_utils.stack.stack_keys import STACK  # noqa: E402

PAGES = {
    "stack.md": (
        "The stack file",
        "The variable `flotilla_stack`, given with `-e @examples/hello/stack.yml`. `<name>` stands for a name of your choice.",
        STACK,
    ),
    "environment.md": ("The environment", "The variable `flotilla_environment` in the inventory's `group_vars/all/environment.yml`.", ENVIRONMENT),
}


def rows(key: Key, path: str = "") -> list[tuple[str, str, str, str]]:
    """(path, type, default, description) of every key below this one."""
    found: list[tuple[str, str, str, str]] = []
    for name, spec in key.keys.items():
        place = f"{path}.{name}" if path else name
        found.append((place, kind(spec), default(spec), describe(spec)))
        if spec.planned:
            continue
        found += rows(spec, place)
        if spec.items and spec.items.keys:
            found += rows(spec.items, f"{place}.<name>" if spec.type == "map" else f"{place}[]")
    return found


def kind(spec: Key) -> str:
    names = {"str": "string", "int": "whole number", "bool": "true or false", "scalar": "string or number", "dict": "mapping"}
    if spec.planned:
        return "—"
    if spec.type == "map":
        return "mapping of names"
    if spec.type == "list":
        return "list"
    return names[spec.type]


def default(spec: Key) -> str:
    if spec.planned:
        return "—"
    if spec.required:
        return "**required**"
    if spec.default is None or spec.default == {}:
        return ""
    return f"`{inline(spec.default)}`"


def inline(value: Any) -> str:
    return str(yaml.safe_dump(value, default_flow_style=True, width=1000)).replace("\n...", "").strip()


def describe(spec: Key) -> str:
    if spec.planned:
        return f"*Not supported yet.* {spec.description}."
    parts = [spec.description]
    if spec.choices:
        parts.append("One of " + ", ".join(f"`{one}`" for one in spec.choices) + ".")
    if spec.type == "int" and spec.minimum is not None:
        parts.append(f"{spec.minimum} to {spec.maximum}{f' {spec.unit}' if spec.unit else ''}.")
    elif spec.pattern_text:
        parts.append(f"{'Names: ' if spec.type == 'map' else ''}{spec.pattern_text[0].upper()}{spec.pattern_text[1:]}.")
    if spec.type in ("str", "map") and spec.maximum:
        parts.append(f"At most {spec.maximum}.")
    return " ".join(parts)


def page(title: str, introduction: str, key: Key) -> str:
    lines = [
        f"# {title}",
        "",
        introduction,
        "",
        "Generated from the specification by `make docs`.",
        "",
        "| Key | Type | Default | Meaning |",
        "|---|---|---|---|",
    ]
    lines += [f"| `{place}` | {kind_} | {default_} | {text.replace('|', chr(92) + '|')} |" for place, kind_, default_, text in rows(key)]
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> int:
    folder, stale = ROOT / "docs" / "reference", []
    folder.mkdir(parents=True, exist_ok=True)
    for name, (title, introduction, key) in PAGES.items():
        text = page(title, introduction, key)
        if "--check" in arguments:
            if not (folder / name).exists() or (folder / name).read_text(encoding="utf-8") != text:
                stale.append(name)
        else:
            (folder / name).write_text(text, encoding="utf-8")
    if stale:
        print(f"docs/reference: {', '.join(stale)} not up to date; run `make docs`", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
