"""Runs PyPI's influxdb-client against the wire double: writes, waits as told, reads, is refused.

client.py URL ORG BUCKET TOKEN QUESTION BEGIN_NS
"""
import sys
import time

from influxdb_client import InfluxDBClient, Point, WritePrecision
from influxdb_client.client.write_api import SYNCHRONOUS
from influxdb_client.client.write.retry import WritesRetry
from influxdb_client.rest import ApiException

url, org, bucket, token, question, begin = sys.argv[1:]
begin = int(begin)

retries = WritesRetry(total=5, retry_interval=1, exponential_base=1, allowed_methods=["POST"])
with InfluxDBClient(url, token=token, org=org, enable_gzip=True, retries=retries) as client:
    assert client.health().status == "pass" and client.ping() and client.version() == "double", client.version()
    points = [
        Point("temperature").tag("site", "hall").tag("path", "py").field("value", i / 4).field("quality", i % 2 * 16)
        .time(begin + i * 1_000_000_000, WritePrecision.NS) for i in range(600)
    ]
    points.append(Point("temperature").tag("site", "hall").tag("path", "a b,c=d").field("value", 1.5).time(begin, WritePrecision.NS))
    asked = time.monotonic()
    client.write_api(write_options=SYNCHRONOUS).write(bucket, record=points)
    waited = time.monotonic() - asked
    assert waited >= 2, f"Retry-After of 429 and of 503: {waited:.1f} s"
    print(f"601 points written after two answers that asked to wait, {waited:.1f} s;", end=" ")

    tables = {(r["result"], (r.values.get("_time") or r.values.get("_start")).timestamp() * 1000): r.values.get("_value", r.values.get("marks"))
              for t in client.query_api().query(question) for r in t.records}
    starts = sorted({at for name, at in tables if name == "count"})
    assert sum(tables["count", at] for at in starts) == 600, tables
    assert tables["sum", starts[0]] + tables["sum", starts[1]] + (tables["sum", starts[2]] if len(starts) > 2 else 0) == sum(i / 4 for i in range(600))
    assert all(tables["quality", at] == 16 for at in starts), tables
    print(f"{len(tables)} steps read;", end=" ")


try:
    with InfluxDBClient(url, token="wrong", org=org, enable_gzip=True) as client:
        client.write_api(write_options=SYNCHRONOUS).write(bucket, record="a,b=c value=1 1")
except ApiException as e:
    assert e.status == 401, e
else:
    raise AssertionError("no 401")
with InfluxDBClient(url, token=token, org=org, enable_gzip=True) as client:
    for status, to, record in ((404, "none", "a,b=c value=1 1"), (400, bucket, "not a line")):
        try:
            client.write_api(write_options=SYNCHRONOUS).write(to, record=record)
        except ApiException as e:
            assert e.status == status, e
        else:
            raise AssertionError(f"no {status}")
    assert [r["name"] for t in client.query_api().query(f'buckets() |> filter(fn: (r) => r.name == "{bucket}") |> keep(columns: ["name"])') for r in t.records] == [bucket]
print("401, 404 and 400 raised; all as expected")
