"""Reads OTLP/JSON requests with the classes that protoc makes of opentelemetry-proto, in a venv of its own.

decoded.py logs|metrics FILE…: each is parsed strictly, written as protobuf, read again and printed as one line of JSON, by
the protobuf's own types: 64-bit integers as numbers, enums as names. The exit status is 1, with a line that names the file,
for what no decoder has to take: an unknown field, a type that is another.
"""

import json
import sys

from google.protobuf import json_format
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import SeverityNumber
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality


def value_of(value):
    kind = value.WhichOneof("value")
    if kind not in ("string_value", "int_value", "double_value", "bool_value"):
        raise ValueError(f"a value of kind {kind}")
    return [kind, getattr(value, kind)]


def attributes_of(items):
    keys = [item.key for item in items]
    if len(set(keys)) != len(keys):
        raise ValueError(f"keys that are there twice: {keys}")
    return {item.key: value_of(item.value) for item in items}


def record_of(record):
    return {"time": record.time_unix_nano, "observed": record.observed_time_unix_nano,
            "severity": SeverityNumber.Name(record.severity_number), "text": record.severity_text,
            "event": record.event_name, "body": value_of(record.body) if record.HasField("body") else None,
            "attributes": attributes_of(record.attributes)}


def point_of(point, kind):
    out = {"attributes": attributes_of(point.attributes), "start": point.start_time_unix_nano, "time": point.time_unix_nano}
    if kind == "histogram":
        out.update(count=point.count, sum=point.sum, buckets=list(point.bucket_counts), bounds=list(point.explicit_bounds))
    else:
        out["value"] = [point.WhichOneof("value"), getattr(point, point.WhichOneof("value"))]
    return out


def metric_of(metric):
    kind = metric.WhichOneof("data")
    data = getattr(metric, kind)
    out = {"name": metric.name, "unit": metric.unit, "description": metric.description, "kind": kind,
           "points": [point_of(point, kind) for point in data.data_points]}
    if kind != "gauge":
        out["temporality"] = AggregationTemporality.Name(data.aggregation_temporality)
    if kind == "sum":
        out["monotonic"] = data.is_monotonic
    return out


def outer_of(outer, scopes, items, of):
    return {"schema": outer.schema_url, "resource": attributes_of(outer.resource.attributes),
            "scopes": [{"schema": scope.schema_url, "name": scope.scope.name, "version": scope.scope.version,
                        "items": [of(item) for item in getattr(scope, items)]} for scope in getattr(outer, scopes)]}


def main(signal, *paths):
    for path in paths:
        try:
            request = ExportLogsServiceRequest() if signal == "logs" else ExportMetricsServiceRequest()
            with open(path, encoding="utf-8", errors="strict") as file:
                json_format.Parse(file.read(), request, ignore_unknown_fields=False)
            again = type(request).FromString(request.SerializeToString())
            if again != request:
                raise ValueError("it is another after it was protobuf")
            outers = [outer_of(outer, "scope_logs", "log_records", record_of) for outer in again.resource_logs] \
                if signal == "logs" else \
                [outer_of(outer, "scope_metrics", "metrics", metric_of) for outer in again.resource_metrics]
            print(json.dumps({"path": path, "outers": outers, "bytes": again.ByteSize()}))
        except (ValueError, json_format.ParseError) as error:
            sys.exit(f"{path}: {error}")


main(*sys.argv[1:])
