"""Bring the schema up to date: `python3 migrate.py`, once per release, before its traffic. Exit code 0: it is.

Files migrations/<number>_<name>.sql are applied in order, each once; MySQL's DDL cannot be rolled back, so a file holds one statement, which is
compatible with the release before it: that one still runs while this one starts.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from database import Database, Unavailable
from gifs import log

MIGRATIONS = Path(__file__).parent / "migrations"
LEDGER = "CREATE TABLE IF NOT EXISTS migrations (name VARCHAR(100) NOT NULL PRIMARY KEY, applied_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP)"


def migrate(database: Any, files: list[Path]) -> int:
    """Apply what is missing and return how much that was. A lock of the server keeps a second run waiting; it ends with the connection."""
    rows, _ = database.execute("SELECT GET_LOCK('gifs migrations', 60) AS mine")
    if rows[0]["mine"] != 1:
        raise Unavailable("another migration has been running for a minute")
    database.execute(LEDGER)
    done = {row["name"] for row in database.execute("SELECT name FROM migrations")[0]}
    missing = [path for path in files if path.stem not in done]
    for path in missing:
        database.execute(path.read_text(encoding="utf-8"))
        database.execute("INSERT INTO migrations (name) VALUES (%s)", (path.stem,))
        log("info", "applied", migration=path.stem)
    return len(missing)


def main() -> int:
    try:
        count = migrate(Database(os.environ), sorted(MIGRATIONS.glob("*.sql")))
    except Unavailable as error:
        log("error", "migration failed", reason=str(error))
        return 1
    log("info", "schema is up to date", applied=count)
    return 0


if __name__ == "__main__":
    sys.exit(main())
