#!/usr/bin/python3
"""Inside the guest: runs pytest, and says each test's result on the second serial line, as a line of JSON."""

import json
import sys

import pytest

RESULTS = "/dev/ttyS1"
TEXT_MAX = 12000


class Results:
    def __init__(self, file):
        self.file, self.begun = file, {}

    def pytest_runtest_logreport(self, report):
        seconds = self.begun.get(report.nodeid, 0.0) + report.duration
        self.begun[report.nodeid] = seconds
        # One line a test: of its end, or of what failed or was skipped before.
        if report.when == "call" or report.outcome != "passed":
            self.say(report.nodeid, report.outcome, seconds, report.longreprtext)

    def pytest_collectreport(self, report):
        if report.failed:
            self.say(report.nodeid, "failed", 0.0, report.longreprtext)

    def say(self, test, outcome, seconds, text):
        self.file.write(json.dumps({"test": test, "outcome": outcome, "seconds": seconds, "text": text[-TEXT_MAX:]}) + "\n")
        self.file.flush()


if __name__ == "__main__":
    with open(RESULTS, "w", encoding="ascii") as results:
        sys.exit(pytest.main(["-p", "no:cacheprovider", "-q", "--tb=short", "-rfEs", *sys.argv[1:]], [Results(results)]))
