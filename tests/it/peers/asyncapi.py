#!/usr/bin/env python3
"""Walks NVIDIA's AsyncAPI file.  asyncapi.py FILE generate | judge

generate: for every channel and message one instance with what is required and one with everything, each validated by its own
  schema, and then broken ones that the channel's schemas refuse: JSON lines {"ok", "topic", "payload", "message"}.
judge: lines `topic payload` on stdin; prints each that no schema of its channel takes; exit status 1 where there is one. A point
  type that is in no integration channel's list is ours by the contract's text, which derives the topic from any metadata that
  name us: it must be in the metadata channel's list of its object, not be a heartbeat of the BMS, and its payload one that the
  object's BMS channel takes.
"""
import copy, json, re, sys
import jsonschema, yaml

spec = yaml.safe_load(open(sys.argv[1]))
US = "US"


def follow(x):
    while isinstance(x, dict) and "$ref" in x:
        y = spec
        for p in x["$ref"][2:].split("/"): y = y[p.replace("~1", "/").replace("~0", "~")]
        x = y
    return x


def merged(schema):
    """One object schema out of allOf and references; of oneOf and anyOf the first branch that says something."""
    schema = follow(schema)
    out = {k: v for k, v in schema.items() if k not in ("allOf", "oneOf", "anyOf", "properties", "required")}
    out["properties"], out["required"] = dict(schema.get("properties", {})), list(schema.get("required", []))
    parts = list(schema.get("allOf", []))
    for key in ("oneOf", "anyOf"):
        parts += [next((b for b in schema[key] if follow(b).get("properties") or follow(b).get("required") or follow(b).get("type") not in (None, "null")), {})] if key in schema else []
    for part in parts:
        m = merged(part)
        for k, v in m["properties"].items(): out["properties"][k] = {"allOf": [out["properties"][k], v]} if k in out["properties"] else v
        out["required"] += m["required"]
        out.update({k: v for k, v in m.items() if k not in ("properties", "required", "description", "title")})
    return out


def make(schema, full, key=""):
    m = merged(schema)
    if "const" in m: return m["const"]
    if "enum" in m: return m["enum"][0]
    if m.get("examples") and not m["properties"]: return m["examples"][0]
    kind = m.get("type", "object" if m["properties"] else "string")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "object": return {k: make(v, full, k) for k, v in m["properties"].items() if full or k in m["required"]}
    if kind == "array": return [make(m.get("items", {"type": "string"}), True)] * max(1, m.get("minItems", 0))
    return {"number": 21.5, "integer": 1, "boolean": True, "null": None}.get(kind, US if key == "integration" else "x")


def channels():
    for c in spec["channels"].values():
        parts = c["address"].split("/")
        yield c, parts[2], parts[3], parts[4], [follow(m) for m in c["messages"].values()]


def validator(message):
    return jsonschema.Draft202012Validator({**follow(message["payload"]), "components": spec["components"]} if "$ref" not in message["payload"] else {"$ref": message["payload"]["$ref"], "components": spec["components"]})


def generate():
    for channel, publisher, what, kind, messages in channels():
        allowed = channel["parameters"]["pointType"].get("enum")
        judges = [validator(m) for m in messages]
        for message, judge in zip(messages, judges):
            points = allowed if what == "Value" else [None]
            good = []
            for full in (False, True):
                instance = make(message["payload"], full)
                if what == "Metadata": instance["objectType"] = kind
                # The unit and the states exclude each other, and so do identities: drop what the schema does not want.
                for drop in ([], ["stateText"], ["engUnit"], ["associateId"], ["stateText", "associateId"], ["engUnit", "associateId"], ["integration"], ["isSetpoint"]):
                    trial = {k: v for k, v in instance.items() if k not in drop}
                    if judge.is_valid(trial):
                        good.append(trial); break
            assert good, f"no instance of {message.get('name')} validates: {instance}"
            for i, instance in enumerate(good):
                for point in points:
                    point = point or instance.get("pointType")
                    path = f"{kind}/{point}/{publisher.strip('{}')}/{message.get('name', 'm')}/{i}".replace(" ", "")
                    topic = f"BMS/v1/{US if publisher != 'PUB' else 'PUB'}/{what}/{path}"
                    yield {"ok": True, "topic": topic, "payload": instance, "message": message.get("name")}
                    if instance is good[-1] and (what == "Metadata" or point == points[0]):
                        for key in list(instance):
                            for broken in ({k: v for k, v in instance.items() if k != key}, {**instance, key: {"odd": 1}}, {**instance, "unheardOf": 1}):
                                if not judge.is_valid(broken) and not any(j.is_valid(broken) for j in judges):
                                    yield {"ok": False, "topic": topic + f"/broken", "payload": broken, "message": message.get("name")}


def judge():
    table = {}
    for channel, publisher, what, kind, messages in channels():
        table["PUB" if publisher == "PUB" else US, what, kind] = (channel["parameters"]["pointType"].get("enum"), [validator(m) for m in messages])
    n = faults = derived = 0
    for line in sys.stdin:
        topic, _, payload = line.rstrip("\n").partition(" ")
        p = topic.split("/"); n += 1
        entry = table.get((p[2], p[3], p[4])) if len(p) >= 7 and p[:2] == ["BMS", "v1"] else None
        if entry and entry[0] and p[5] not in entry[0]:
            known, entry = table["PUB", "Metadata", p[4]][0], table["PUB", "Value", p[4]]
            derived += 1
            if p[5] not in known or p[5] in ("HeartbeatTimestampBms", "HeartbeatEchoBms"): entry = None
        if entry is None or not any(v.is_valid(json.loads(payload)) for v in entry[1]):
            faults += 1; print(f"not of the contract: {line.rstrip()}")
    print(f"{n} messages, {faults} faults, {derived} of them of point types that only the derivation rule makes ours"); sys.exit(bool(faults))


if sys.argv[2] == "generate":
    for row in generate(): print(json.dumps(row))
else: judge()
