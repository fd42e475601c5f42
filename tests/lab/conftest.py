"""Fixtures for every test in the lab."""

import pytest

from lab import Lab


@pytest.fixture(scope="module")
def lab():
    """One lab per file of tests: laid in half a second, gone with the last test."""
    with Lab() as made:
        yield made
