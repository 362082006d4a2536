"""report_model.py MODEL.ttl MODEL.json: Brick by rdflib against the classes of brickschema's 1.4; Haystack's references."""
import json
import sys
from pathlib import Path

import brickschema
import rdflib
from rdflib.namespace import RDF

BRICK = rdflib.Namespace("https://brickschema.org/schema/Brick#")
g = rdflib.Graph().parse(sys.argv[1], format="turtle")
ontology = rdflib.Graph().parse(str(Path(brickschema.__file__).parent / "ontologies/1.4/Brick.ttl"), format="turtle")
known = set(ontology.subjects(RDF.type, rdflib.OWL.Class))
classes = {o for o in g.objects(None, RDF.type) if str(o).startswith(str(BRICK))}
assert classes and classes <= known, classes - known
relations = {p for p in g.predicates() if str(p).startswith(str(BRICK))}
properties = set(ontology.subjects(RDF.type, rdflib.OWL.ObjectProperty))
assert relations <= properties, relations - properties
points = set(g.subjects(BRICK.isPointOf, None))
assert all((p, RDF.type, None) in g for p in points)
grid = json.loads(Path(sys.argv[2]).read_text())
ids = {r["id"]["val"] for r in grid["rows"]}
assert len(ids) == len(grid["rows"])
for r in grid["rows"]:
    for k in ("siteRef", "equipRef"):
        assert k not in r or r[k]["val"] in ids, r
assert sum("point" in r for r in grid["rows"]) == len(points)
print(f"Brick: {len(g)} triples, {len(classes)} classes, {len(points)} points; Haystack: {len(ids)} rows")
