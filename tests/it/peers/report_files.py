"""report_files.py REPORT_DIR...: the JSON against its schema, the spreadsheet by openpyxl (no formula in it), CSV as the JSON."""
import csv
import json
import sys
from pathlib import Path

import jsonschema

try:
    import openpyxl
except ImportError:
    openpyxl = None

for folder in map(Path, sys.argv[1:]):
    doc = json.loads((folder / "report.json").read_text())
    jsonschema.validate(doc, json.loads((folder / "report.schema.json").read_text()))
    rows = list(csv.DictReader((folder / "figures.csv").open(newline="")))
    assert len(rows) == len(doc["figures"])
    for r, f in zip(rows, doc["figures"]):
        assert r["key"] == f["key"] and (r["value"] == "" if f["value"] is None else float(r["value"]) == f["value"])
    html = (folder / "report.html").read_text()
    assert f'<html lang="{doc["lang"]}">' in html and html.count("<svg") == len(doc["charts"])
    if openpyxl is None:
        print("SKIPPED: openpyxl is not installed")
        continue
    book = openpyxl.load_workbook(folder / "report.xlsx")
    formulas = [c.coordinate for s in book for row in s.iter_rows() for c in row if c.data_type == "f"]
    assert not formulas, formulas
    first = book.worksheets[0]
    assert first.max_row == len(doc["figures"]) + 1
    shown = {(r[0].value, r[2].value): r[4].value for r in first.iter_rows(min_row=2)}
    for f in doc["figures"]:
        if f["value"] is not None:
            assert abs(shown[f["key"], f["scope"]] - f["value"]) <= 1e-12 * abs(f["value"]), f["key"]
print("files are as they should be")
