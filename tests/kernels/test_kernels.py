"""The agent on other kernels than this machine's, in guests: see README.md.

EV_KERNELS names others than those of the machine's own registry: `EV_KERNELS="5.10 5.15 6.8" pytest tests/kernels`.
"""

import os
import subprocess

import pytest

from kernels import KERNELS, REPOSITORY, Guest, KernelError, Unavailable, missing_tools
from selection import selection

BUILD = os.environ.get("BUILD", "build")
DEFAULT = [name for name, kernel in KERNELS.items() if not kernel.suite]
NAMES = os.environ.get("EV_KERNELS", "").split() or DEFAULT


def of(test, results):
    """What a test of the selection came to: of a file all that are in it, of a name also its variants."""
    return [r for r in results if r["test"] == test or r["test"].startswith((f"{test}::", f"{test}["))]


def wanted(session):
    """{kernel: tests}: what this run of pytest is about, so that `-k check_kernel` is also quicker inside."""
    found = {}
    for item in session.items:
        if item.function.__name__ == "test_inside":
            found.setdefault(item.callspec.params["kernel"], []).append(item.callspec.params["test"])
    return found


@pytest.fixture(scope="module")
def guests(request):
    """All at once, for a guest has one processor: {kernel: results, or why there are none}."""
    if missing_tools():
        pytest.skip(f"not installed: {' '.join(missing_tools())}")
    if not os.path.exists(f"{REPOSITORY}/{BUILD}/egress-verifier"):
        subprocess.run(["make", "-C", REPOSITORY, f"BUILD={BUILD}", "build"], check=True)
    started, results, tests = {}, {}, wanted(request.session)
    try:
        for name in tests:
            try:
                started[name] = Guest(name)
            except KernelError as error:
                results[name] = error
        for name, guest in started.items():
            guest.start(tests[name])
        for name, guest in started.items():
            try:
                results[name] = guest.wait()
                print(f"{name}: {len(results[name])} tests in {guest.seconds:.0f} s")
            except KernelError as error:
                results[name] = error
        yield results
    finally:
        for guest in started.values():
            guest.stop()


@pytest.mark.parametrize("kernel, test", [(name, test) for name in NAMES for test in selection(name)])
def test_inside(guests, kernel, test):
    """Each test of the selection ran in the guest, and well."""
    if isinstance(guests[kernel], Unavailable):
        pytest.skip(str(guests[kernel]))
    if isinstance(guests[kernel], KernelError):
        pytest.fail(str(guests[kernel]))
    results = of(test, guests[kernel])
    for result in results:
        print(f"{result['outcome']:8} {result['seconds']:6.1f} s  {result['test']}")
    bad = [f"{r['test']}: {r['outcome']}\n{r['text']}" for r in results if r["outcome"] != "passed"]
    assert results, "it did not run"
    assert not bad, "\n".join(bad)
