"""Fixtures for tests at the real Collector. Without it they are skipped, with the reason."""

import pytest

import otelcol
from reporting import Reporting


def pytest_collection_modifyitems(items):
    try:
        otelcol.program()
    except otelcol.Unavailable as reason:
        for item in items:
            item.add_marker(pytest.mark.skip(reason=str(reason)))


@pytest.fixture(scope="module")
def site():
    """One Collector with its proxy per file of tests."""
    with Reporting() as made:
        yield made


@pytest.fixture
def clean(site):
    """The site as it is without trouble, before and after."""
    def repair():
        site.proxy.fault = None
        if not site.proxy.server:
            site.proxy.up()
        if not site.collector.alive():
            site.collector.start()
        site.crowd.renew()
        site.crowd.remove()
    repair()
    yield site
    for agent in site.lab.agents:
        if agent.process and agent.process.alive():
            agent.kill()
    repair()
