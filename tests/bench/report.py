#!/usr/bin/env python3
"""A year of two sites as reports, by tramuntana and by numpy and pandas, side by side: CPU seconds (user and system) and peak memory of
whole processes, one process a pack, alternating.

tests/bench/report.py [--rounds 5] [--binary target/release/tramuntana]

Both sides begin at a store of readings on disk (ours: its own; theirs: the Parquet that it exports), read the same site files, series and
jobs, and make the same figures, of the group and of each site. "figures" = CSV and JSON; "files" = a spreadsheet, a page and a PDF
as well (theirs by openpyxl, to_html and matplotlib: fewer pages and charts than ours). "less imports" takes off what Python needs to load pandas.
Needs pandas, pyarrow, openpyxl and, for "files", matplotlib. What is compared first: every figure, to 1e-6 (report_check.py).
"""
import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(HERE))
from tools import program

PEERS = HERE / "it/peers"
PACKS = ["eu-2024-1364", "iso-30134", "energy-per-gpu-hour"]


def cost(command):
    """CPU seconds and MiB of a process."""
    child = subprocess.Popen([str(c) for c in command], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        sys.exit(f"{command}: exit {child.returncode}")
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--binary")
    a = p.parse_args()
    a.binary = program(a.binary)
    work = Path(tempfile.mkdtemp(prefix="report-bench-"))
    try:
        run = lambda *c: subprocess.run([str(x) for x in c], check=True, stdout=subprocess.DEVNULL)
        run(sys.executable, PEERS / "report_year.py", work, 2024)
        for site in ("hq", "chapel"):
            run(a.binary, "store", "import", "--data-dir", work / "data", "--site", site, work / f"{site}.parquet")
            run(a.binary, "store", "export", "--data-dir", work / "data", "--site", site, "--out", work / f"raw-{site}.parquet")
        store = ["--config", work / "tramuntana.toml", "--data-dir", work / "data", "--year", 2024, "--group"]
        ours = lambda pack, files: [a.binary, "report", *store, "--pack", pack, "--out", work / pack] + ([] if files else ["--data-only"])
        theirs = lambda pack, files: [sys.executable, PEERS / "report_check.py", "--one", work, 2024, pack, work / "pd"] + (["--files"] if files else [])
        for pack in PACKS:
            run(*ours(pack, True))
        said = subprocess.run([sys.executable, str(PEERS / "report_check.py"), str(work), "2024", *[str(work / p) for p in PACKS]], check=True, capture_output=True, text=True)
        print(said.stdout.strip().splitlines()[-1])
        imports = statistics.median(cost([sys.executable, "-c", "import numpy, pandas, pyarrow.parquet"])[0] for _ in range(a.rounds))
        print(f"imports of numpy, pandas and pyarrow: {imports:.2f} s")
        for files in (False, True):
            for pack in PACKS:
                pairs = [(cost(ours(pack, files)), cost(theirs(pack, files))) for _ in range(a.rounds)]
                mine, peer = (statistics.median(x[k][0] for x in pairs) for k in (0, 1))
                memory = [max(x[k][1] for x in pairs) for k in (0, 1)]
                ratios = sorted(x[1][0] / x[0][0] for x in pairs)
                print(f"{'files' if files else 'figures':<8}{pack:<22}ours {mine:.3f} s, {memory[0]:.0f} MiB   pandas {peer:.2f} s, {memory[1]:.0f} MiB   "
                      f"{statistics.median(ratios):.1f} × ({ratios[0]:.1f} … {ratios[-1]:.1f}), less imports {(peer - imports) / mine:.1f} ×")
    finally:
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
