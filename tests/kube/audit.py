"""The API server's audit log: one Request per request, whatever became of it."""

import collections
import datetime
import json

Request = collections.namedtuple("Request", "id user agent verb resource subresource namespace name uri code "
                                            "received started completed")


def _seconds(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def merge_audit(lines):
    """Request per audit ID, in order of arrival; code and times are None for what did not happen (yet).

    Of one that came before these lines only the end is among them: it is none of these.
    """
    merged = {}
    for line in lines:
        event = json.loads(line)
        if event["stage"] == "RequestReceived":
            merged[event["auditID"]] = dict.fromkeys(Request._fields)
        if event["auditID"] not in merged:
            continue
        entry = merged[event["auditID"]]
        ref = event.get("objectRef", {})
        resource = "/".join(filter(None, (ref.get("apiGroup"), ref.get("resource")))) or None
        entry.update(id=event["auditID"], user=event.get("user", {}).get("username"), agent=event.get("userAgent"),
                     verb=event["verb"], resource=resource, subresource=ref.get("subresource"),
                     namespace=ref.get("namespace"), name=ref.get("name"), uri=event["requestURI"],
                     received=_seconds(event["requestReceivedTimestamp"]))
        if "responseStatus" in event:
            entry["code"] = event["responseStatus"].get("code")
        stage = {"ResponseStarted": "started", "ResponseComplete": "completed", "Panic": "completed"}.get(event["stage"])
        if stage:
            entry[stage] = _seconds(event["stageTimestamp"])
    return sorted((Request(**entry) for entry in merged.values()), key=lambda request: request.received)
