"""python -m local_cloud up | down | restart | status | push | images"""

from __future__ import annotations

import argparse
import json
import sys
import time

from . import images, server
from .engine import EngineError
from .settings import Settings, SettingsError

NOT_RUNNING = 3


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="local_cloud", description="AWS's API with real data planes, on this machine.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("up", help="start it, or leave it when it runs")
    verbs.add_parser("down", help="end it and remove all that it made")
    verbs.add_parser("restart", help="down, then up: nothing survives")
    status = verbs.add_parser("status", help="what runs in it; exit 3 when it does not run")
    status.add_argument("--json", action="store_true")
    push = verbs.add_parser("push", help="push a local docker image to its registry")
    push.add_argument("image")
    push.add_argument("target", metavar="REPOSITORY:TAG")
    build = verbs.add_parser("images", help="build what is missing of its images; the last one's name is printed")
    build.add_argument("names", nargs="*", help=f"default: {' '.join(images.CLOUD)}")
    verbs.add_parser("serve")
    given = parser.parse_args(arguments)
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - began:5.1f} s] {text}", file=sys.stderr, flush=True)

    try:
        settings = Settings.from_environment()
        if given.verb == "serve":
            return server.serve(settings)
        if given.verb in ("down", "restart"):
            server.down(settings, say)
        if given.verb in ("up", "restart"):
            server.up(settings, say)
        if given.verb == "push":
            print(server.push(settings, given.image, given.target))
        if given.verb == "images":
            names = given.names or list(images.CLOUD)
            images.build(names, say)
            print(images.tag(names[-1]))
        if given.verb == "status":
            return show(settings, given.json)
    except (SettingsError, EngineError, server.CloudError) as error:
        print(f"local cloud: {error}", file=sys.stderr)
        return 1
    return 0


def show(settings: Settings, as_json: bool) -> int:
    """Print the status as a table or as JSON."""
    known = server.ask(settings)
    if known is None:
        print(json.dumps({"running": False}) if as_json else "the local cloud does not run; start it with `make cloud-up`")
        return NOT_RUNNING
    if as_json:
        print(json.dumps({"running": True, "endpoint": settings.endpoint, **known}))
        return 0
    rows = [("api", settings.endpoint, "running", f"127.0.0.1:{settings.port}", "")]
    rows += [(row["kind"], row["name"], row["state"], row["address"], row["url"]) for row in known["rows"]]
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    for row in rows:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())
    return 0


if __name__ == "__main__":
    sys.exit(main())
