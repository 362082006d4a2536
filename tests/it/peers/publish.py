#!/usr/bin/env python3
"""Publishes as third parties do: `publish.py ear|pysparkplug PORT BASE_MS N`. Value k = 100 + k/2 at BASE_MS + k * 10 s."""
import gzip, json, sys, time
import paho.mqtt.client as paho
what, port, base, n = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
steps = [(base + 10_000 * k, 100 + k / 2) for k in range(n)]


def ear():
    version = getattr(paho, "CallbackAPIVersion", None)
    client = paho.Client(version.VERSION2) if version else paho.Client()
    client.connect("127.0.0.1", port)
    client.loop_start()
    sent = []
    node = "org/bsc/cluster/mn5/island/1/node/n1"
    for k, (at, v) in enumerate(steps):
        plain = f"{v};{at // 1000}".encode()
        # EAR's periodic report, with a job that changes; every third one compressed.
        sent.append(client.publish(f"{node}/jobid/{k}/AVG_DC_POWER_W", gzip.compress(plain) if k % 3 == 2 else plain, qos=1))
        # The pairs in another order.
        sent.append(client.publish(f"node/n1/org/bsc/gpu/0/jobid/7/cluster/mn5/stepid/0/GPU_MEM_UTI".replace("node/n1/org/bsc", "org/bsc/node/n1"), f"{v};{at / 1000:.3f}", qos=1))
        sent.append(client.publish(f"{node}/gpu/1/GPU_POWER", "_;%d" % (at // 1000) if k == 0 else plain, qos=1))
    bulk = [{"name": "power", "value": v, "timestamp": at, "tags": {"cluster": "mn5", "node": "n2", "job_id": str(at)}} for at, v in steps]
    sent.append(client.publish("examon/json", json.dumps(bulk[0]), qos=1))
    sent.append(client.publish("examon/json", gzip.compress(json.dumps(bulk[1:]).encode()), qos=1))
    for s in sent:
        s.wait_for_publish()
    client.disconnect()


def pysparkplug():
    import pysparkplug as spb
    metric = lambda name, kind, k, value: spb.Metric(timestamp=steps[k][0], name=name, datatype=kind, value=value)
    power = lambda k: metric("Power", spb.DataType.DOUBLE, k, float(steps[k][1]))
    valve = lambda k: metric("Valve", spb.DataType.INT16, k, k - 5)
    supply = lambda k: metric("Supply Temperature", spb.DataType.FLOAT, k, float(steps[k][1]))
    edge = spb.EdgeNode("hall", "py", [power(0)])
    edge.register(spb.Device("cdu1", [valve(0), supply(0)]))
    edge.connect("127.0.0.1", port=port)
    time.sleep(1)
    for k in range(1, n):
        edge.update([power(k)])
        edge.update_device("cdu1", [valve(k), supply(k)])
    time.sleep(1)
    print("published", flush=True)
    # Stay until the test has looked, then leave: the NDEATH of this package carries the next session's bdSeq.
    sys.stdin.readline()
    edge.disconnect()
    time.sleep(1)


{"ear": ear, "pysparkplug": pysparkplug}[what]()
