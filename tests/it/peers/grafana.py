"""Reads dashboards by Grafana's own SDK; prints every key that it does not know.

usage: grafana.py FILE…   exit 1 where a key is unknown, 3 where the SDK is not installed
"""

import json
import sys

try:
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.models.dashboard import Dashboard
except ImportError:
    sys.exit(3)


def unknown(mine, theirs, path):
    if isinstance(mine, dict):
        for key, value in mine.items():
            if not isinstance(theirs, dict) or key not in theirs:
                yield f"{path}.{key}"
            else:
                yield from unknown(value, theirs[key], f"{path}.{key}")
    elif isinstance(mine, list):
        for i, (a, b) in enumerate(zip(mine, theirs)):
            yield from unknown(a, b, f"{path}[{i}]")


faults = 0
for name in sys.argv[1:]:
    with open(name, encoding="utf-8") as file:
        board = json.load(file)
    read = json.loads(JSONEncoder(sort_keys=True).encode(Dashboard.from_json(board)))
    for key in unknown(board, read, ""):
        print(f"{name}: Grafana knows no {key}")
        faults += 1
sys.exit(1 if faults else 0)
