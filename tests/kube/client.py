"""A client of the API server for tests: plain HTTPS, which is a hundred times faster than a kubectl per object."""

import contextlib
import copy
import ctypes
import http.client
import json
import os
import socket
import ssl
import threading
import time
import urllib.parse

CLONE_NEWNET = 0x40000000
MERGE, APPLY, JSON_PATCH = (f"application/{kind}" for kind in ("merge-patch+json", "apply-patch+yaml", "json-patch+json"))
# What the server sets itself and, most of it, refuses to be told.
SERVERS = ("uid", "resourceVersion", "creationTimestamp", "generation", "managedFields", "selfLink", "deletionTimestamp",
           "deletionGracePeriodSeconds")
PATIENCE = 30  # seconds for which it comes again
_libc = ctypes.CDLL(None, use_errno=True)


class ApiError(Exception):
    """An answer that is not a success."""

    def __init__(self, what, status, body):
        self.status, self.body = status, body
        try:
            self.details = json.loads(body)
        except ValueError:
            self.details = {}
        self.reason = self.details.get("reason")
        super().__init__(f"{what}: {status} {self.details.get('message') or body[:300]!r}")


@contextlib.contextmanager
def inside(net):
    """This thread in the network namespace at path `net` for a while; a socket made here stays there."""
    if not net:
        yield
        return
    with open("/proc/thread-self/ns/net", "rb") as back, open(net, "rb") as there:
        if _libc.setns(there.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"setns {net}")
        try:
            yield
        finally:
            if _libc.setns(back.fileno(), CLONE_NEWNET):
                os._exit(70)  # every later test would run in the wrong place


class Connection(http.client.HTTPSConnection):
    def __init__(self, host, port, context, net, timeout):
        super().__init__(host, port, context=context, timeout=timeout)
        self.net, self.tls = net, context

    def connect(self):
        with inside(self.net):
            plain = socket.create_connection((self.host, self.port), self.timeout)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = self.tls.wrap_socket(plain, server_hostname=self.host)


class Client:
    """One identity. `ca` is read anew for each connection, as it may rotate. Threads may share it."""

    def __init__(self, host, port, ca, *, certificate=None, token=None, net=None, name="test"):
        self.host, self.port, self.ca, self.certificate, self.token = host, port, ca, certificate, token
        self.net, self.name = net, name
        self._local, self._generation, self._kinds = threading.local(), 0, {}

    def forget_connections(self):
        """After a restart of the server nobody shall use what was open before."""
        self._generation += 1

    def connect(self, timeout=30):
        context = ssl.create_default_context(cafile=self.ca)
        if self.certificate:
            context.load_cert_chain(*self.certificate)
        return Connection(self.host, self.port, context, self.net, timeout)

    def _send(self, connection, method, path, body, content_type):
        headers = {"Accept": "application/json", "User-Agent": self.name}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        if body is not None:
            headers["Content-Type"] = content_type
            body = json.dumps(body)
        connection.request(method, path, body, headers)
        return connection.getresponse()

    def raw(self, method, path, body=None, content_type="application/json", timeout=30):
        """(status, headers, body as bytes)."""
        kept = getattr(self._local, "kept", None)
        if kept is None or kept[0] != self._generation:
            if kept:
                kept[1].close()
            kept = self._local.kept = (self._generation, self.connect(timeout))
        try:
            answer = self._send(kept[1], method, path, body, content_type)
            data = answer.read()
        except BaseException:
            kept[1].close()
            self._local.kept = None
            raise
        if answer.will_close:
            kept[1].close()
            self._local.kept = None
        return answer.status, dict(answer.getheaders()), data

    def request(self, method, path, body=None, content_type="application/json", **query):
        """The decoded answer; ApiError when it is not a success. Who is asked to come later (429) does, as every client has to:
        a server that has just begun says so of what its cache does not hold yet."""
        if query:
            path += ("&" if "?" in path else "?") + urllib.parse.urlencode(query)
        give_up = time.monotonic() + PATIENCE
        while True:
            status, headers, data = self.raw(method, path, body, content_type)
            if status != 429 or time.monotonic() > give_up:
                break
            time.sleep(float(headers.get("Retry-After", 1)))
        if not 200 <= status < 300:
            raise ApiError(f"{method} {path}", status, data)
        return json.loads(data) if data else None

    def watch(self, path, timeout=60, **query):
        """Events, (type, object), as they come; ApiError when refused, OSError when none comes in time."""
        path += "?" + urllib.parse.urlencode({"watch": "1", **query})
        connection, give_up = self.connect(timeout), time.monotonic() + PATIENCE
        try:
            answer = self._send(connection, "GET", path, None, None)
            while answer.status == 429 and time.monotonic() < give_up:
                answer.read()
                time.sleep(float(answer.getheader("Retry-After", "1")))
                answer = self._send(connection, "GET", path, None, None)
            if answer.status != 200:
                raise ApiError(f"GET {path}", answer.status, answer.read())
            for line in answer:
                event = json.loads(line)
                yield event["type"], event["object"]
        finally:
            connection.close()

    # Objects

    def path(self, api_version, kind, namespace=None, name=None, subresource=None):
        """Where objects of a kind are: /api/v1/namespaces/NS/pods/NAME/status."""
        root = f"/api/{api_version}" if "/" not in api_version else f"/apis/{api_version}"
        if (api_version, kind) not in self._kinds:
            for resource in self.request("GET", root)["resources"]:
                if "/" not in resource["name"]:
                    self._kinds[api_version, resource["kind"]] = (resource["name"], resource["namespaced"])
        plural, namespaced = self._kinds[api_version, kind]
        parts = [root, "namespaces", namespace, plural] if namespaced and namespace else [root, plural]
        return "/".join([*parts, *filter(None, (name, subresource))])

    def path_of(self, item, subresource=None):
        meta = item["metadata"]
        return self.path(item["apiVersion"], item["kind"], meta.get("namespace"), meta["name"], subresource)

    def get(self, api_version, kind, namespace, name):
        return self.request("GET", self.path(api_version, kind, namespace, name))

    def list(self, api_version, kind, namespace=None, **query):
        return self.request("GET", self.path(api_version, kind, namespace), **query)

    def apply(self, item):
        """Server-side apply, of the status too when there is one; what the server sets itself is left out."""
        item = copy.deepcopy(item)
        for field in SERVERS:
            item["metadata"].pop(field, None)
        status = item.pop("status", None)
        how = {"fieldManager": self.name, "force": "true"}
        made = self.request("PATCH", self.path_of(item), item, APPLY, **how)
        if status:
            meta = {key: item["metadata"][key] for key in ("namespace", "name") if key in item["metadata"]}
            body = {"apiVersion": item["apiVersion"], "kind": item["kind"], "metadata": meta, "status": status}
            made = self.request("PATCH", self.path_of(item, "status"), body, APPLY, **how)
        return made

    def apply_all(self, items):
        """Many; namespaces that are missing are made first."""
        items = list(items)
        for namespace in sorted({item["metadata"].get("namespace") for item in items} - {None}):
            self.namespace(namespace)
        return [self.apply(item) for item in items]

    def namespace(self, name, labels=None):
        meta = {"name": name, **({"labels": labels} if labels else {})}
        return self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": meta})

    def create(self, item):
        meta = item["metadata"]
        return self.request("POST", self.path(item["apiVersion"], item["kind"], meta.get("namespace")), item)

    def patch(self, item, changes, subresource=None):
        """Merge patch: None removes a key."""
        return self.request("PATCH", self.path_of(item, subresource), changes, MERGE)

    def patch_status(self, item, changes):
        return self.patch(item, {"status": changes}, "status")

    def annotate(self, item, **annotations):
        """Names with slashes go by **{"a/b": "value"}; None removes one."""
        return self.patch(item, {"metadata": {"annotations": annotations}})

    def delete(self, item, finalizers=True, grace=0):
        """With finalizers=False also of those who keep it: it is gone when this returns."""
        if not finalizers:
            self.patch(item, {"metadata": {"finalizers": None}})
        return self.request("DELETE", self.path_of(item), {"kind": "DeleteOptions", "apiVersion": "v1",
                                                           "gracePeriodSeconds": grace})

    # Rights

    def can_i(self, verb, resource, group="", namespace=None, name=None, subresource=None):
        """As `kubectl auth can-i`, asked by this identity about itself."""
        attributes = {"verb": verb, "resource": resource, "group": group, "namespace": namespace, "name": name,
                      "subresource": subresource}
        attributes = {key: value for key, value in attributes.items() if value}
        review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
                  "spec": {"resourceAttributes": attributes}}
        return self.create_review("selfsubjectaccessreviews", review)["allowed"]

    def rules(self, namespace="default"):
        """As `kubectl auth can-i --list`: resourceRules and nonResourceRules of this identity."""
        review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview",
                  "spec": {"namespace": namespace}}
        return self.create_review("selfsubjectrulesreviews", review)

    def create_review(self, plural, review):
        return self.request("POST", f"/apis/authorization.k8s.io/v1/{plural}", review)["status"]
