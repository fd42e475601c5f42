"""Fixtures for what is shipped: the image and deploy/."""

import os
import sys

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [f"{os.path.dirname(HERE)}/{folder}" for folder in ("lab", "kube")]

import shipped  # noqa: E402


def or_skip(make):
    try:
        return make()
    except shipped.Unavailable as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="session")
def rendered():
    """{(kind, name): object} of `kubectl kustomize deploy/`."""
    return or_skip(shipped.render)


@pytest.fixture(scope="session")
def image(tmp_path_factory):
    """The image of `make image`, unpacked."""
    archive = or_skip(shipped.build_image)
    return shipped.Image(archive, str(tmp_path_factory.mktemp("image")))
