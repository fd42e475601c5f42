"""Fixtures for every test in the lab."""

import pytest

# Before it is imported: an assertion there tells its values, too.
pytest.register_assert_rewrite("parts.witness")

from lab import Lab  # noqa: E402


@pytest.fixture(scope="module")
def lab():
    """One lab per file of tests: laid in half a second, gone with the last test."""
    with Lab() as made:
        yield made
