"""What the tests of datasets share."""

import logging

import pytest


@pytest.fixture
def warnings(caplog):
    """The warnings that were logged so far, in order."""
    absl = logging.getLogger("absl")
    absl.addHandler(caplog.handler)
    # A record may also arrive through the root logger.
    yield lambda: [record.getMessage() for record in dict.fromkeys(caplog.records)]
    absl.removeHandler(caplog.handler)
