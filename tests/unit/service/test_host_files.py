"""Files of a role, laid on a host in one go."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.flotilla.ec2.plugins.modules.host_files import Refused, Tree


def lay(root: Path, files: list[dict[str, Any]], directories: tuple[str, ...] = ("/etc/shop",), check: bool = False, code: int = 0) -> list[str]:
    """The paths that a call changes; `code` is how a validating command ends."""
    given = [{"mode": "0644", "validate": None, **one} for one in files]
    params = {"name": "shop", "directories": [{"path": path, "mode": "0755"} for path in directories], "files": given}
    module: Any = SimpleNamespace(params=params, check_mode=check, run_command=lambda argv: (code, "", f"bad line in {argv[-1]}"))
    tree = Tree(module, root)
    tree.lay()
    return tree.changed


SETTINGS = {"path": "/etc/shop/settings.env", "content": "A=1\n"}


def test_what_is_wanted_is_laid_once_with_its_permissions_and_noted(tmp_path: Path) -> None:
    files = [SETTINGS, {"path": "/etc/shop/run", "content": "#!/bin/sh\n", "mode": "0750"}]
    assert lay(tmp_path, files, check=True) == ["/etc/shop", "/etc/shop/settings.env", "/etc/shop/run"]
    assert not (tmp_path / "etc").exists()
    assert lay(tmp_path, files) == ["/etc/shop", "/etc/shop/settings.env", "/etc/shop/run"]
    assert stat.S_IMODE((tmp_path / "etc/shop/run").stat().st_mode) == 0o750
    assert lay(tmp_path, files) == []
    (tmp_path / "etc/shop/run").chmod(0o777)
    (tmp_path / "etc/shop/settings.env").write_text("A=2\n")
    assert lay(tmp_path, files) == ["/etc/shop/settings.env", "/etc/shop/run"]
    manifest = json.loads((tmp_path / "etc/flotilla/manifest.d/shop.json").read_text())
    assert list(manifest["files"]) == ["/etc/shop/run", "/etc/shop/settings.env"] and manifest["directories"] == {"/etc/shop": "0755"}


def test_what_is_not_wanted_any_more_goes_and_what_others_laid_stays(tmp_path: Path) -> None:
    lay(tmp_path, [SETTINGS, {"path": "/etc/shop/more/old", "content": "x"}], ("/etc/shop", "/etc/shop/more"))
    (tmp_path / "etc/shop/foreign").write_text("y")
    assert lay(tmp_path, [SETTINGS], check=True) == ["/etc/shop/more/old"]
    assert lay(tmp_path, [SETTINGS]) == ["/etc/shop/more/old", "/etc/shop/more"]
    assert lay(tmp_path, [], ()) == ["/etc/shop/settings.env"], "a directory with somebody else's file stays"
    assert [path.name for path in (tmp_path / "etc/shop").iterdir()] == ["foreign"]


def test_a_file_that_its_program_refuses_leaves_the_old_one(tmp_path: Path) -> None:
    lay(tmp_path, [SETTINGS])
    with pytest.raises(Refused, match=r"settings.env was not replaced: check %s ended with 1: bad line"):
        lay(tmp_path, [{**SETTINGS, "content": "A=\n", "validate": ["check", "%s"]}], code=1)
    assert (tmp_path / "etc/shop/settings.env").read_text() == "A=1\n"
    assert sorted(path.name for path in (tmp_path / "etc/shop").iterdir()) == ["settings.env"]
