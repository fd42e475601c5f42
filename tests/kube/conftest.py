"""Fixtures for tests on the real API server. Without its programs they are skipped, with the reason."""

import pytest

import programs
from apiserver import ApiServer


def pytest_collection_modifyitems(items):
    try:
        programs.folder()
    except programs.Unavailable as reason:
        for item in items:
            item.add_marker(pytest.mark.skip(reason=str(reason)))


@pytest.fixture(scope="module")
def server():
    """One API server per file of tests, with the CRDs of kube-egress-gateway."""
    with ApiServer() as made:
        made.install_crds()
        yield made
