"""What the Collector's file exporter wrote: OTLP requests as lines of JSON, and the log records in them."""

import json
from dataclasses import dataclass, field


def value_of(value):
    """An AnyValue as a Python value."""
    kind, held = next(iter(value.items()), (None, None))
    if kind == "intValue":
        return int(held)
    if kind == "arrayValue":
        return [value_of(item) for item in held.get("values", [])]
    if kind == "kvlistValue":
        return attributes_of(held.get("values", []))
    return held


def attributes_of(pairs):
    found = {}
    for pair in pairs:
        assert pair["key"] not in found, f"attribute {pair['key']} is there twice"
        found[pair["key"]] = value_of(pair["value"])
    return found


@dataclass
class Record:
    name: str  # eventName
    attributes: dict
    time: float  # Unix time of what happened
    raw: dict
    resource: dict = field(repr=False)

    @property
    def uid(self):
        return self.attributes["log.record.uid"]

    @property
    def violation(self):
        """(id of the violation, "opened" or "resolved"), or None."""
        if not self.name.startswith("egress_verifier.violation."):
            return None
        return self.attributes["egress_verifier.violation.id"], self.name.rpartition(".")[2]

    @property
    def pod(self):
        return self.attributes.get("k8s.pod.name")


def records_of(request):
    """The records of an ExportLogsServiceRequest, in order."""
    for of_resource in request.get("resourceLogs", []):
        resource = attributes_of(of_resource.get("resource", {}).get("attributes", []))
        for scope in of_resource.get("scopeLogs", []):
            for raw in scope.get("logRecords", []):
                yield Record(raw.get("eventName", ""), attributes_of(raw.get("attributes", [])),
                             int(raw.get("timeUnixNano", 0)) / 1e9, raw, resource)


def metrics_of(request):
    """(name, [(attributes, data point)], the metric) of an ExportMetricsServiceRequest."""
    for of_resource in request.get("resourceMetrics", []):
        for scope in of_resource.get("scopeMetrics", []):
            for metric in scope.get("metrics", []):
                data = next((metric[kind] for kind in ("gauge", "sum", "histogram") if kind in metric), {})
                points = [(attributes_of(point.get("attributes", [])), point) for point in data.get("dataPoints", [])]
                yield metric["name"], points, metric


class Sink:
    """A file that grows. Its last line may be one that is being written, or was when its writer was killed."""

    def __init__(self, path):
        self.path, self.offset, self.requests = path, 0, []

    def read(self):
        """Everything so far: requests, in order."""
        try:
            with open(self.path, "rb") as file:
                file.seek(self.offset)
                data = file.read()
        except FileNotFoundError:
            return self.requests
        whole = data.rfind(b"\n") + 1
        self.requests += [json.loads(line) for line in data[:whole].splitlines() if line]
        self.offset += whole
        return self.requests
