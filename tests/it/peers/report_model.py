"""report_model.py MODEL.ttl MODEL.json: Brick by rdflib against brickschema's 1.4, its classes and its SHACL shapes; Haystack's references."""
import json
import sys
from pathlib import Path

import brickschema
import pyshacl
import rdflib
from rdflib.namespace import RDF, SH

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


def violations(data):
    """What the ontology's own shapes find at nodes of the model. (The ontology without QUDT's, which it names, violates some itself.)"""
    _, report, _ = pyshacl.validate(data, shacl_graph=ontology, ont_graph=ontology, inference=None, allow_warnings=True)
    ours = set(data.subjects())
    return [(str(n), str(report.value(r, SH.resultMessage))) for r, n in report.subject_objects(SH.focusNode) if n in ours]


found = violations(rdflib.Graph() + g)
assert not found, found
# The shapes do look: a point that feeds a text, and an equipment whose part is a point, are found.
broken = rdflib.Graph() + g
point = next(iter(points))
broken.add((point, BRICK.feeds, rdflib.Literal("text")))
broken.add((point, BRICK.hasLocation, point))
assert violations(broken), "a broken model conforms"
grid = json.loads(Path(sys.argv[2]).read_text())
ids = {r["id"]["val"] for r in grid["rows"]}
assert len(ids) == len(grid["rows"])
for r in grid["rows"]:
    for k in ("siteRef", "equipRef"):
        assert k not in r or r[k]["val"] in ids, r
assert sum("point" in r for r in grid["rows"]) == len(points)
print(f"Brick: {len(g)} triples, {len(classes)} classes, {len(points)} points, SHACL conforms; Haystack: {len(ids)} rows")
