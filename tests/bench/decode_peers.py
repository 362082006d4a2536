#!/usr/bin/env python3
"""The fastest Python decoders beside ours, in values per second on one core, with the ratio.

  cargo bench --manifest-path tests/fuzz/Cargo.toml && tests/bench/decode_peers.py [TARGET_DIR]     needs: pip orjson line-protocol-parser pysparkplug numpy

The payloads are those of decode.rs. A peer does what a consumer must: names, numbers and times as Python objects (numpy: as
arrays). Ours is read from criterion's estimates (median); `memchr` is one pass over the same bytes.
"""
import json, os, struct, sys, time

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


def peer(name, label, run, values):
    run()
    peers.setdefault(name, []).append((rate(run, values), label))


blast = [b'{"ts":%d,"node":"n%03d","watts":%.2f,"inlet_c":%.2f,"gpu_util":%d,"fan_rpm":%d,"seq":%d}' % ((T0 + i) * 1_000_000 + 123_456, i, 300 + i * .31, 22 + (i % 89) * .05, i % 101, 4000 + i % 700, i) for i in range(N)]
dsx = [b'{"value":%.3f,"timestamp":%d,"quality":1}' % (21 + i * .001, T0 + i) for i in range(N)]
try:
    import orjson
except ImportError:
    orjson = None
for lib in filter(None, [json, orjson]):
    def telemetry(lib=lib):
        for m in blast:
            d = lib.loads(m); t = d.pop("ts") // 1_000_000; [(k, v, t) for k, v in d.items() if type(v) is not str]
    def value(lib=lib):
        for m in dsx:
            d = lib.loads(m); (d["value"], d["timestamp"], d["quality"] == 1)
    peer("json", lib.__name__, telemetry, N * 6)   # decode.rs gives 6 samples a message, the text among them
    peer("dsx", lib.__name__, value, N)

lines = [[f"cpu,cpu=cpu{l},host=n{i:03} usage_user={12.5 + i * .01:.2f},usage_system=3.25,usage_idle=84.25,usage_iowait=0,ctx={1000 + i}i {(T0 + i) * 1_000_000}" for l in range(20)] for i in range(N)]
texts = ["\n".join(l) + "\n" for l in lines]
try:
    from line_protocol_parser import parse_line
    peer("line", "line-protocol-parser", lambda: [parse_line(l) for t in texts for l in t.splitlines()], N * 100)
except ImportError:
    pass

pairs = [b"".join(struct.pack("<qQ", 300_000 + i + k, (T0 + k) * 1_000_000) for k in range(50)) for i in range(N)]
unpack = struct.Struct("<qQ").iter_unpack
peer("dcdb", "struct", lambda: [[(float(v), t // 1_000_000) for v, t in unpack(m)] for m in pairs], N * 50)
try:
    import numpy
    kind = numpy.dtype([("v", "<i8"), ("t", "<u8")])
    def arrays():
        for m in pairs:
            a = numpy.frombuffer(m, kind); (a["v"].astype("f8"), a["t"] // 1_000_000)
    peer("dcdb", "numpy (50 a message)", arrays, N * 50)
except ImportError:
    pass

try:
    from pysparkplug._protobuf import Payload
    def message(i):
        p = Payload(); p.timestamp, p.seq = T0, (i + 1) % 256
        for k in range(50):
            m = p.metrics.add(); m.alias, m.timestamp, m.datatype, m.double_value = k, T0 + i, 10, 300 + k + i * .01
        return p.SerializeToString()
    data = [message(i) for i in range(N)]
    def protobuf():
        for m in data: [(x.alias, x.timestamp, x.double_value) for x in Payload.FromString(m).metrics]
    peer("sparkplug", "protobuf (upb)", protobuf, N * 50)
except ImportError:
    pass

print(f"{'format':10} {'fastest Python peer':24} {'its values/s':>14} {'ours':>14} {'ratio':>7} {'memchr':>14} {'memchr/ours':>12} {'take (whole intake)':>20}")
for name, rows in peers.items():
    r, label = max(rows)
    o, m, t = ours("decode", name), ours("memchr", name), ours("take", name)
    print(f"{name:10} {label:24} {r:14,.0f} {o:14,.0f} {o / r:7.1f} {m:14,.0f} {m / o:12.1f} {t:20,.0f}")
