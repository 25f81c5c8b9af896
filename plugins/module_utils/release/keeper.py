# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""The process beside a release that renews its lease, so that a long pull does not lose the lock.

    python keeper.py PARAMETER TOKEN PID STARTED SECONDS REGION

It ends as soon as the process PID (with that start time) has ended, or another token holds the lock. It leaves the lock as it is then: a lease
that nobody renews tells the next release what happened. A program of its own, and not a thread, because the tasks of a playbook
run in processes that live no longer than the task. boto3 and the standard library only: it runs outside of Ansible.
"""

from __future__ import annotations

import json
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

POLL_SECONDS = 1.0


def lives(pid: int, started: str) -> bool:
    """Whether the process that we keep the lease for still runs."""
    stat = Path(f"/proc/{pid}/stat")
    if not Path("/proc/self/stat").exists():
        import os

        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass
        return True
    try:
        fields = stat.read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return False
    return fields[0] not in ("Z", "X") and fields[19] == started


def renew(ssm: Any, name: str, token: str) -> bool:
    """Renew once; False when the token does not hold the lock any more."""
    try:
        answer = ssm.get_parameter(Name=name)["Parameter"]
    except ssm.exceptions.ParameterNotFound:
        return False
    held = json.loads(answer["Value"])
    if held.get("token") != token:
        return False
    beat = datetime.now(UTC).replace(microsecond=0)
    held["heartbeat"], held["expires"] = beat.isoformat(), (beat + timedelta(seconds=int(held["lease_seconds"]))).isoformat()
    made = ssm.put_parameter(Name=name, Value=json.dumps(held), Type="String", Overwrite=True)["Version"]
    if int(made) != int(answer["Version"]) + 1:
        # Somebody wrote between: theirs is the newer text (a note of our own release, or a lock that was broken).
        for row in ssm.get_parameter_history(Name=name)["Parameters"]:
            if int(row["Version"]) == int(made) - 1:
                ssm.put_parameter(Name=name, Value=row["Value"], Type="String", Overwrite=True)
                return json.loads(row["Value"]).get("token") == token
        ssm.delete_parameter(Name=name)  # it had been released: what we wrote is a lock of nobody
        return False
    return True


def main(arguments: list[str]) -> int:
    name, token, pid, started, seconds, region = arguments
    ssm: Any = None
    due = time.monotonic() + float(seconds)
    while lives(int(pid), started):
        time.sleep(POLL_SECONDS)
        if time.monotonic() < due:
            continue
        due = time.monotonic() + float(seconds)
        # Half a second of a processor, which a release that is over by now has kept for itself.
        import boto3
        import botocore.exceptions

        try:
            ssm = ssm or boto3.client("ssm", region_name=region)
            if not renew(ssm, name, token):
                return 0
        except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError):
            continue  # the next beat may get through; until then the lease runs
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
