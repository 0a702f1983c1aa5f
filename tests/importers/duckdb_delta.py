"""Read the images of a Delta table by DuckDB's extension, until a file appears.

    duckdb_delta.py TABLE READY OVER

Makes the file READY after the first reading. Prints all readings that differ from the one before as JSON,
each a list of [uri, sha256, persons]; the last one began after OVER was there.
"""

import json
import sys
from pathlib import Path

import duckdb
import duckdb_ext

table, ready, over = sys.argv[1:]
(extension,) = Path(duckdb_ext.__path__[0]).glob("extensions/*/*/delta.duckdb_extension")
# It comes from a package index and not from DuckDB's own repository.
database = duckdb.connect(config={"allow_unsigned_extensions": "true"})
database.execute(f"load '{extension}'")
seen = []
while True:
    last = Path(over).exists()
    found = database.sql(f"select uri, sha256, person_count from delta_scan('file://{table}')").fetchall()
    if not seen or sorted(found) != seen[-1]:
        seen.append(sorted(found))
    Path(ready).touch()
    if last:
        break
print(json.dumps(seen))
