"""The real OpenTelemetry Collector: OTLP over HTTP in, files out; built once by tests/parts/collector/build.sh."""

import functools
import json
import os
import signal
import socket
import subprocess
import sys

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path[:0] = [f"{REPOSITORY}/tests/lab", f"{REPOSITORY}/tests/kube"]

from parts import host  # noqa: E402
from sink import Sink, metrics_of, records_of  # noqa: E402

BUILD_SECONDS = 1800  # cold, on two cores that do other things as well, a tenth of it
ADDRESS, PORT = "127.0.0.1", 4319


class Unavailable(Exception):
    """The program can be neither found nor built; the text says why."""


@functools.lru_cache(maxsize=None)
def program():
    """Where it is; builds it when it is not there."""
    # tests/run.sh tried already, and shall not wait twice for a network that is not there.
    if os.environ.get("COLLECTOR_UNAVAILABLE"):
        raise Unavailable(os.environ["COLLECTOR_UNAVAILABLE"])
    script = f"{REPOSITORY}/tests/parts/collector/build.sh"
    try:
        done = subprocess.run([script], capture_output=True, text=True, timeout=BUILD_SECONDS)
    except subprocess.TimeoutExpired:
        raise Unavailable(f"the collector was not built within {BUILD_SECONDS} s") from None
    if done.returncode:
        raise Unavailable((done.stderr.strip().splitlines() or [f"{script}: exit status {done.returncode}"])[-1])
    return f"{done.stdout.strip()}/otelcol"


def listens(net, address, port):
    try:
        with host.inside(net), socket.create_connection((address, port), 5):
            return True
    except OSError:
        return False


class Collector:
    """On a node of the lab, on its loopback. Each start writes files of its own: what one run wrote is told from another's.

    `body_max`: max_request_body_size; `flush`: how long it may keep what it accepted; `tls`: {"cert_file": …, "key_file": …, "client_ca_file": …}.
    """

    def __init__(self, lab, node="w1", address=ADDRESS, port=PORT, body_max=None, tls=None, flush="20ms"):
        self.lab, self.node, self.address, self.port = lab, node, address, port
        self.body_max, self.tls, self.flush = body_max, tls, flush
        self.dir, self.process = f"{lab.dir}/otelcol-{port}", None
        self.logs, self.metrics = [], []  # Sinks, one per run
        self.killed = set()  # runs that were not allowed to write down what they had accepted
        os.makedirs(self.dir)

    @property
    def run(self):
        """Number of the newest run."""
        return len(self.logs) - 1

    def config(self):
        http = {"endpoint": f"{self.address}:{self.port}"}
        if self.body_max:
            http["max_request_body_size"] = self.body_max
        if self.tls:
            http["tls"] = self.tls
        sink = {"append": True, "flush_interval": self.flush, "format": "json"}
        return {
            "receivers": {"otlp": {"protocols": {"http": http}}},
            "exporters": {"file/logs": {"path": self.logs[-1].path, **sink},
                          "file/metrics": {"path": self.metrics[-1].path, **sink}},
            "service": {"telemetry": {"metrics": {"level": "none"}, "logs": {"level": "warn"}}, "pipelines": {
                "logs": {"receivers": ["otlp"], "exporters": ["file/logs"]},
                "metrics": {"receivers": ["otlp"], "exporters": ["file/metrics"]}}},
        }

    def start(self, wait=True):
        number = len(self.logs)
        self.logs.append(Sink(f"{self.dir}/logs-{number}.json"))
        self.metrics.append(Sink(f"{self.dir}/metrics-{number}.json"))
        path = f"{self.dir}/config-{number}.yaml"
        with open(path, "w", encoding="ascii") as file:
            json.dump(self.config(), file)
        self.process = self.lab.start(self.node, [program(), "--config", path], "otelcol")
        if wait:
            self.wait_up()
        return self

    def wait_up(self):
        def answers():
            if not self.process.alive():
                raise host.LabError(f"otelcol ended with {self.process.popen.returncode}: {self.log()[-2000:]}")
            return listens(self.lab.net(self.node), self.address, self.port)
        host.wait_for(answers, "otelcol listens", 120)

    def alive(self):
        return self.process is not None and self.process.alive()

    def stop(self):
        """In order: what it accepted is written."""
        if self.alive():
            code = self.process.stop(120)
            if code == -signal.SIGTERM:
                self.killed.add(self.run)  # it listens before it takes signals
            elif code != 0:
                raise host.LabError(f"otelcol ended with {code}: {self.log()[-2000:]}")

    def kill(self):
        """It answers 200 before it writes: what it accepted last may be lost, and that is its loss."""
        if self.alive():
            self.killed.add(self.run)
            self.process.kill()

    def log(self):
        with open(f"{self.lab.dir}/log/otelcol.log", encoding="utf-8", errors="replace") as file:
            return file.read()

    def requests(self):
        return [request for sink in self.logs for request in sink.read()]

    def records(self, name=None):
        """All log records, in the order in which they came; `name`: only those of an event."""
        return [record for request in self.requests() for record in records_of(request)
                if name in (None, record.name)]

    def metric_points(self):
        """{metric: [(attributes, data point)]} of the newest request, and the metrics themselves."""
        requests = [request for sink in self.metrics for request in sink.read()]
        if not requests:
            return {}, {}
        found = list(metrics_of(requests[-1]))
        return {name: points for name, points, _ in found}, {name: metric for name, _, metric in found}
