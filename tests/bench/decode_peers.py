#!/usr/bin/env python3
"""The fastest Python decoders beside ours, in values per second on one core, with the ratio.

  cargo bench --manifest-path tests/fuzz/Cargo.toml && tests/bench/decode_peers.py [TARGET_DIR]     needs: pip orjson line-protocol-parser pysparkplug numpy

The payloads are those of decode.rs. Two comparisons, each of the same work on both sides:
  decode  payload to named numbers with times, as Python objects (numpy: as arrays), beside ours `decode/*`;
  rows    topic and payload to (point, time, value in the canonical unit, unit) of known points, what is no finite number
          refused, beside ours `rows/*`.
`take` is our whole intake, which besides judges each value (order, range, rate, frozen, spike, clipped, ...): no peer does.
A peer looks its points up in a dict by topic (and series), as a consumer would; numpy keeps a message's rows as columns.
Ours is read from criterion's estimates (median); `memchr` is one pass over the same bytes.
"""
import json, math, os, struct, sys, time

T0, N = 1_784_000_000_000, 200
target = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("CARGO_TARGET_DIR", "tests/fuzz/target")


def rate(run, values):
    """Best of 7 rounds of at least 0.2 s: values per second."""
    best = 0.0
    for _ in range(7):
        n, begin = 0, time.perf_counter()
        while (spent := time.perf_counter() - begin) < 0.2:
            run()
            n += values
        best = max(best, n / spent)
    return best


def ours(group, name):
    try:
        with open(f"{target}/criterion/{group}/{name}/new/estimates.json") as f: ns = json.load(f)["median"]["point_estimate"]
        with open(f"{target}/criterion/{group}/{name}/new/benchmark.json") as f: values = json.load(f)["throughput"]["Elements"]
        return values / ns * 1e9
    except OSError:
        return float("nan")


peers = {}


def peer(group, name, label, run, values):
    run()
    peers.setdefault((group, name), []).append((rate(run, values), label))


finite = math.isfinite
C = ("°C", 5 / 9, -160 / 9)   # of °F
W, KW = ("W", 1.0, 0.0), ("W", 1e-3, 0.0)

blast = [b'{"ts":%d,"node":"n%03d","watts":%.2f,"inlet_c":%.2f,"gpu_util":%d,"fan_rpm":%d,"seq":%d}' % ((T0 + i) * 1_000_000 + 123_456, i, 300 + i * .31, 22 + (i % 89) * .05, i % 101, 4000 + i % 700, i) for i in range(N)]
blast = [(f"dc/h1/r{i // 20:02}/n{i:03}/telemetry", m) for i, m in enumerate(blast)]
blast_points = {t: {k: (i * 4 + j, W) for j, k in enumerate(("watts", "inlet_c", "gpu_util", "fan_rpm"))} for i, (t, _) in enumerate(blast)}
dsx = [(f"BMS/v1/PUB/Value/CDU/LiquidTemperature/hall/cdu{i:03}", b'{"value":%.3f,"timestamp":%d,"quality":1}' % (21 + i * .001, T0 + i)) for i in range(N)]
dsx_points = {t: (i, C) for i, (t, _) in enumerate(dsx)}
try:
    import orjson
except ImportError:
    orjson = None
for lib in filter(None, [json, orjson]):
    def telemetry(loads=lib.loads):
        for _, m in blast:
            d = loads(m); t = d.pop("ts"); [(k, v, t) for k, v in d.items()]
    def telemetry_rows(loads=lib.loads):
        for topic, m in blast:
            d = loads(m); t = d["ts"]; rows = []
            for k, (point, (unit, a, b)) in blast_points[topic].items():
                v = d.get(k)
                if type(v) in (int, float) and finite(v): rows.append((point, t, v * a + b, unit))
    def value(loads=lib.loads):
        for _, m in dsx:
            d = loads(m); (d["value"], d["timestamp"], d["quality"] == 1)
    def value_rows(loads=lib.loads):
        for topic, m in dsx:
            d = loads(m); point, (unit, a, b) = dsx_points[topic]; v = d["value"]
            if len(d) == 3 and type(v) in (int, float) and finite(v) and d["quality"] == 1: (point, d["timestamp"], v * a + b, unit)
    peer("decode", "json", lib.__name__, telemetry, N * 6)   # decode.rs gives 6 samples a message, the text among them
    peer("rows", "json", lib.__name__, telemetry_rows, N * 4)
    peer("decode", "dsx", lib.__name__, value, N)
    peer("rows", "dsx", lib.__name__, value_rows, N)

lines = [[f"cpu,cpu=cpu{l},host=n{i:03} usage_user={12.5 + i * .01:.2f},usage_system=3.25,usage_idle=84.25,usage_iowait=0,ctx={1000 + i}i {(T0 + i) * 1_000_000}" for l in range(20)] for i in range(N)]
texts = [(f"telegraf/n{i:03}/cpu", "\n".join(l) + "\n") for i, l in enumerate(lines)]
line_points = {}
for l in (l for ls in lines for l in ls):
    series, fields = l.split(" ")[:2]
    line_points[series] = {f.split("=")[0]: (len(line_points) * 5 + j, W) for j, f in enumerate(fields.split(","))}
try:
    from line_protocol_parser import parse_line
    def line_rows():
        for _, text in texts:
            rows = []
            for l in text.splitlines():
                d = parse_line(l); points = line_points[l[:l.index(" ")]]; t = d["time"]
                for k, v in d["fields"].items():
                    point, (unit, a, b) = points[k]
                    if type(v) in (int, float) and finite(v): rows.append((point, t, v * a + b, unit))
    peer("decode", "line", "line-protocol-parser", lambda: [parse_line(l) for _, t in texts for l in t.splitlines()], N * 100)
    peer("rows", "line", "line-protocol-parser", line_rows, N * 100)
except ImportError:
    pass

pairs = [(f"/rack/n{i:03}/power", b"".join(struct.pack("<qQ", 300_000 + i + k, (T0 + k) * 1_000_000) for k in range(50))) for i in range(N)]
dcdb_points = {t: (i, KW) for i, (t, _) in enumerate(pairs)}
unpack = struct.Struct("<qQ").iter_unpack
def struct_rows():
    for topic, m in pairs:
        point, (unit, a, b) = dcdb_points[topic]; [(point, t, v * a + b, unit) for v, t in unpack(m) if t > 0]
peer("decode", "dcdb", "struct", lambda: [list(unpack(m)) for _, m in pairs], N * 50)
peer("rows", "dcdb", "struct", struct_rows, N * 50)
try:
    import numpy
    kind = numpy.dtype([("v", "<i8"), ("t", "<u8")])
    def arrays():
        for _, m in pairs:
            a = numpy.frombuffer(m, kind); (a["v"].astype("f8"), a["t"].copy())
    def array_rows():
        for topic, m in pairs:
            d = numpy.frombuffer(m, kind); point, (unit, a, b) = dcdb_points[topic]; v, t = d["v"] * a + b, d["t"]
            good = t > 0
            if not good.all(): v, t = v[good], t[good]
            (numpy.full(len(v), point, "i4"), t, v, unit)
    peer("decode", "dcdb", "numpy (50 a message)", arrays, N * 50)
    peer("rows", "dcdb", "numpy (50 a message)", array_rows, N * 50)
except ImportError:
    pass

try:
    from pysparkplug._protobuf import Payload
    def message(i):
        p = Payload(); p.timestamp, p.seq = T0, (i + 1) % 256
        for k in range(50):
            m = p.metrics.add(); m.alias, m.timestamp, m.datatype, m.double_value = k, T0 + i, 10, 300 + k + i * .01
        return p.SerializeToString()
    data = [(f"spBv1.0/g/NDATA/e{i}", message(i)) for i in range(N)]
    births = {t: {k: (i * 50 + k, f"Rack {k}/Power", W) for k in range(50)} for i, (t, _) in enumerate(data)}
    def metrics():
        for topic, m in data:
            known = births[topic]; [(known[x.alias][1], x.timestamp, x.double_value) for x in Payload.FromString(m).metrics]
    def metric_rows():
        for topic, m in data:
            known, rows = births[topic], []
            for x in Payload.FromString(m).metrics:
                point, _, (unit, a, b) = known[x.alias]; v = x.double_value
                if finite(v): rows.append((point, x.timestamp, v * a + b, unit))
    peer("decode", "sparkplug", "protobuf (upb)", metrics, N * 50)
    peer("rows", "sparkplug", "protobuf (upb)", metric_rows, N * 50)
except ImportError:
    pass

print(f"{'':7} {'format':10} {'fastest Python peer':24} {'its values/s':>14} {'ours':>14} {'ratio':>7} {'memchr':>14} {'memchr/ours':>12} {'take':>14}")
for (group, name), rows in sorted(peers.items()):
    r, label = max(rows)
    o, m, t = ours(group, name), ours("memchr", name), ours("take", name)
    print(f"{group:7} {name:10} {label:24} {r:14,.0f} {o:14,.0f} {o / r:7.1f} {m:14,.0f} {m / o:12.1f} {t:14,.0f}")
