"""The real programs: etcd and the parts of Kubernetes, built once by tests/parts/kubernetes/build.sh."""

import functools
import os
import subprocess

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD_SECONDS = 1800  # cold, on two cores that do other things as well, a fifth of it


class Unavailable(Exception):
    """The programs can be neither found nor built; the text says why."""


@functools.lru_cache(maxsize=None)
def folder():
    """Where etcd, kube-apiserver, kubectl … are; builds them when they are not there."""
    # tests/run.sh tried already, and shall not wait twice for a network that is not there.
    if os.environ.get("KUBERNETES_UNAVAILABLE"):
        raise Unavailable(os.environ["KUBERNETES_UNAVAILABLE"])
    script = f"{REPOSITORY}/tests/parts/kubernetes/build.sh"
    try:
        done = subprocess.run([script], capture_output=True, text=True, timeout=BUILD_SECONDS)
    except subprocess.TimeoutExpired:
        raise Unavailable(f"kubernetes was not built within {BUILD_SECONDS} s") from None
    if done.returncode:
        raise Unavailable((done.stderr.strip().splitlines() or [f"{script}: exit status {done.returncode}"])[-1])
    return done.stdout.strip()


def path(name):
    return f"{folder()}/{name}"
