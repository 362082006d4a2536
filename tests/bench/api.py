#!/usr/bin/env python3
"""The API under load, side by side: series queries against FastAPI with pandas, /metrics against VictoriaMetrics' own.

  VENV/bin/python tests/bench/api.py [--bin target/release/tramuntana]

A simulated plant (`tramuntana simulate`) fills a service with a day of readings and goes on while everything is measured. The same point's same
readings are given to a FastAPI application that keeps them in a pandas frame and answers the same question (mean, least, greatest, count of 500
steps) the way such services are written. `ab` asks both, two at a time, one after the other; then 200 series queries a second are sent to the service
by a paced client and their latencies taken. Prints requests a second, their ratio, and quantiles.

Needs mosquitto, apache2-utils, victoria-metrics (Debian); fastapi, uvicorn, pandas (PyPI).
"""
import argparse, json, os, pathlib, re, shutil, socket, subprocess, sys, tempfile, threading, time, urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))
from tools import program

os.environ["PATH"] += ":/usr/sbin"
PEER = '''
import json, pandas as pd
from fastapi import FastAPI
df = pd.read_parquet("{file}")
df.index = pd.to_datetime(df["at"], unit="ms")
app = FastAPI()

@app.get("/series")
def series(start: int, to: int, step: str):
    part = df.loc[pd.to_datetime(start, unit="ms"):pd.to_datetime(to - 1, unit="ms"), "value"]
    rows = part.resample(step).agg(["mean", "min", "max", "count"]).dropna()
    return [{{"at": int(t.value // 10**6), "mean": m, "min": lo, "max": hi, "count": int(n)}} for t, m, lo, hi, n in rows.itertuples()]
'''


def port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait(what, f, seconds=240):
    end = time.time() + seconds
    while time.time() < end:
        try:
            if v := f():
                return v
        except OSError:
            pass
        time.sleep(0.3)
    sys.exit(f"waited {seconds} s for {what}")


def ab(url, n):
    said = subprocess.run(["ab", "-q", "-k", "-n", str(n), "-c", "2", url], capture_output=True, text=True).stdout
    bad = re.search(r"Non-2xx responses:\s+(\d+)", said)
    rate = float(re.search(r"Requests per second:\s+([\d.]+)", said)[1])
    p99 = re.search(r"\n\s+99%\s+(\d+)", said)
    return rate, int(p99[1]), int(bad[1]) if bad else 0


def paced(url, rate, seconds):
    """Latencies, ms, of `rate` requests a second, by their due times: a late answer counts from when it was due."""
    took, lock, threads = [], threading.Lock(), 16
    began = time.perf_counter() + 0.2

    def work(k):
        import http.client
        host = url.split("/")[2]
        connection = http.client.HTTPConnection(host)
        path = url.split(host, 1)[1]
        for i in range(k, rate * seconds, threads):
            due = began + i / rate
            time.sleep(max(0.0, due - time.perf_counter()))
            connection.request("GET", path)
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 200, answer.status
            with lock:
                took.append(1e3 * (time.perf_counter() - due))

    all_threads = [threading.Thread(target=work, args=(k,)) for k in range(threads)]
    [t.start() for t in all_threads]
    [t.join() for t in all_threads]
    took.sort()
    return [took[int(q * (len(took) - 1))] for q in (0.5, 0.99, 1.0)], len(took)


def main():
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--bin")
    given = words.parse_args()
    given.bin = program(given.bin)
    scratch = pathlib.Path(tempfile.mkdtemp(prefix="tramuntana-api-"))
    children = []

    def start(*args, **kw):
        children.append(subprocess.Popen([str(a) for a in args], cwd=ROOT, **{"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **kw}))
        return children[-1]

    try:
        broker, web, peer, metrics = port(), port(), port(), port()
        (scratch / "m.conf").write_text(f"listener {broker} 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\nmax_queued_messages 0\n")
        start("mosquitto", "-c", scratch / "m.conf")
        wait("mosquitto", lambda: socket.create_connection(("127.0.0.1", broker)).close() is None)
        url, api = f"mqtt://127.0.0.1:{broker}", f"http://127.0.0.1:{web}"
        start(given.bin, "serve", "--config", "sensors/tramuntana.toml", "--broker", url, "--data-dir", scratch / "data", "--listen", f"127.0.0.1:{web}")

        def get(path):
            return json.load(urllib.request.urlopen(api + "/api/v1" + path, timeout=10))

        wait("the service", lambda: get("/health"))
        start(given.bin, "simulate", "--broker", url, "--pace", "5000", "--span", "30d", stdin=subprocess.PIPE)
        site = lambda: next(s for s in get("/sites") if s["id"] == "bsc-hq")
        started = wait("the site's clock", lambda: site()["clock"])
        wait("a day of readings", lambda: site()["clock"] - started > 24.5 * 3600000, 600)
        point = get("/points?site=bsc-hq&q=PM-IT&limit=1")["points"][0]
        to = point["last_at"] // 60000 * 60000
        of = to - 24 * 3600000
        raw = get(f"/series?site=bsc-hq&point={point['id']}&from={of}&to={to}&step=10s")["rows"]
        import pandas as pd
        pd.DataFrame({"at": [r["at"] for r in raw if r["mean"] is not None], "value": [r["mean"] for r in raw if r["mean"] is not None]}).to_parquet(scratch / "series.parquet")
        (scratch / "peer.py").write_text(PEER.format(file=scratch / "series.parquet"))
        start(sys.executable, "-m", "uvicorn", "peer:app", "--port", peer, "--log-level", "error", "--app-dir", scratch)
        ours = f"{api}/api/v1/series?site=bsc-hq&point={point['id']}&from={of}&to={to}&step=173s"
        theirs = f"http://127.0.0.1:{peer}/series?start={of}&to={to}&step=173s"
        wait("FastAPI", lambda: urllib.request.urlopen(theirs, timeout=5))
        print(f"{len(raw)} readings of {point['path']}; {len(get(ours.split('/api/v1')[1])['rows'])} and {len(json.load(urllib.request.urlopen(theirs)))} rows an answer; a plant speaks all the while")
        ratios = []
        for _ in range(3):
            a, b = ab(ours, 2000), ab(theirs, 300)
            ratios.append(a[0] / b[0])
            print(f"series: {a[0]:.0f} a second (p99 {a[1]} ms, {a[2]} refused), FastAPI with pandas {b[0]:.0f} (p99 {b[1]} ms): {ratios[-1]:.1f} x")
        (p50, p99, worst), n = paced(ours, 200, 20)
        print(f"200 series queries a second for 20 s ({n}): p50 {p50:.1f} ms, p99 {p99:.1f} ms, worst {worst:.1f} ms (the client is Python)")
        if shutil.which("victoria-metrics"):
            start("victoria-metrics", f"-storageDataPath={scratch / 'vm'}", f"-httpListenAddr=127.0.0.1:{metrics}")
            wait("VictoriaMetrics", lambda: urllib.request.urlopen(f"http://127.0.0.1:{metrics}/metrics", timeout=5))
            for name, at in (("ours", api), ("VictoriaMetrics", f"http://127.0.0.1:{metrics}")):
                size = len(urllib.request.urlopen(at + "/metrics").read())
                rate, p99, _ = ab(at + "/metrics", 1000)
                print(f"/metrics, {name}: {rate:.0f} a second, p99 {p99} ms, {size / 1024:.0f} KiB")
        else:
            print("SKIPPED: victoria-metrics is not installed")
        print(f"median {sorted(ratios)[1]:.1f} x FastAPI with pandas")
    finally:
        for child in reversed(children):
            child.kill()
            child.wait()
        shutil.rmtree(scratch, ignore_errors=True)


main()
