#!/usr/bin/env python3
"""What the scripts of this folder and of `tests/bench` share: where the program was built, free ports, waiting, MQTT packets, metrics.

  python3 tests/tools.py       prints cargo's target folder, for scripts of another language

The folder is asked of cargo itself, so that CARGO_TARGET_DIR and a `.cargo/config.toml` count for every script alike.
"""
import json, os, shutil, socket, struct, subprocess, time, urllib.request

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# What `tests/run` installs from PyPI.
VENV = os.environ.get("TRAMUNTANA_VENV") or os.path.join(os.environ.get("XDG_CACHE_HOME", os.path.expanduser("~/.cache")), "tramuntana-test-venv")
# Debian keeps brokers where a user's path does not look.
PATH = os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"


def target():
    """cargo's target folder; without cargo (a copied program is measured), what the environment says."""
    try:
        out = subprocess.run(["cargo", "metadata", "--format-version", "1", "--no-deps", "--offline"], cwd=HERE, capture_output=True, text=True)
        if out.returncode == 0:
            return json.loads(out.stdout)["target_directory"]
    except OSError:
        pass
    return os.path.join(HERE, os.environ.get("CARGO_TARGET_DIR", "target"))


def program(given=None):
    """The built program: the one named by `--bin`, or cargo's release."""
    path = os.path.abspath(given) if given else os.path.join(target(), "release", "tramuntana")
    if not os.path.exists(path):
        raise SystemExit(f"{path}: not built; cargo build --release")
    return path


def tool(name, newest=False):
    """Where a broker or server is installed; None where it is not. `newest`: PyPI's, where it is there, before Debian's."""
    return shutil.which(name, path=f"{VENV}/bin:{PATH}" if newest else PATH)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait(what, done, seconds=120, every=0.05):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if done():
            return
        time.sleep(every)
    raise SystemExit(f"waited {seconds} s for {what}")


def string(text):
    """Bytes as MQTT writes a text."""
    return struct.pack(">H", len(text)) + text


def packet(kind, body):
    """An MQTT packet: first byte, length, body."""
    length, out = len(body), b""
    while True:
        byte, length = length & 0x7F, length >> 7
        out += bytes([byte | (0x80 if length else 0)])
        if not length:
            return bytes([kind]) + out + body


def sample(text, name):
    """Sum of a metric over all its labels in a text of `/metrics`."""
    return sum(float(l.rsplit(" ", 1)[1]) for l in text.splitlines() if l.startswith(name + "{") or l.startswith(name + " "))


def metric(port, name):
    """The same of a service on this host; -1 while it does not answer."""
    try:
        return sample(urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5).read().decode(), name)
    except OSError:
        return -1


def cpu(pid):
    """Seconds that a process has spent on the processor, its own and the system's for it."""
    fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    print(target())
