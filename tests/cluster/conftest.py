"""One cluster with the product installed, for all tests here: they are in the order in which an operator meets them."""

import os
import shutil
import sys
import time

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, *(f"{os.path.dirname(HERE)}/{folder}" for folder in ("lab", "kube", "deploy"))]

import shipped  # noqa: E402
from cluster import Cluster  # noqa: E402
from install import Installed  # noqa: E402

NEEDED = ("containerd", "containerd-shim-runc-v2", "runc", "ctr", "wireguard-go", "gcc")


@pytest.fixture(scope="session")
def archive():
    """The image of `make image`."""
    missing = [name for name in NEEDED if not shutil.which(name)]
    if missing:
        pytest.skip(f"not installed: {' '.join(missing)} (make test-deps)")
    try:
        shipped.programs.folder()
        return shipped.build_image()
    except shipped.Unavailable as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="module")
def cluster(archive):
    begin = time.monotonic()
    with Cluster(archive) as made:
        print(f"cluster up after {time.monotonic() - begin:.1f} s")
        yield made


@pytest.fixture(scope="module")
def installed(cluster):
    """`kubectl apply -k`, and both nodes' agents Ready."""
    return Installed(cluster)


@pytest.fixture(scope="module")
def shop(cluster, installed):
    """A pod that kubelet started, annotated for blue and wired to its gateway."""
    return installed.run_pod("shop")


@pytest.fixture
def partly(cluster, installed, tmp_path):
    """partly("capability" | "mount", name): the agent on the worker, started without it."""
    def install(what, name):
        installed.apply_without(str(tmp_path), what, name)
        return installed.worker
    return install
