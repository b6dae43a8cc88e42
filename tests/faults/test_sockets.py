"""Nothing listens while one machine trains."""

import pytest

from tests.fixtures.commands import listening_sockets

pytestmark = [pytest.mark.processes, pytest.mark.slow, pytest.mark.long]


@pytest.mark.parametrize(("fault", "count"), [("", 0), ("listen", 1)])
def test_no_port_is_open(runs, fault, count):
    """Row 19, on two replicas. That a run which does listen is found shows that the test can fail."""
    name = f"listening at {count}"
    variables = {"FAULT": fault, "FAULT_STEP": 10, "PAUSE_SECONDS": 1}
    process = runs.start(name, "--virtual_devices=2", environment=variables)
    process.wait_until(lambda: runs.last_step(name) == 20)
    found = listening_sockets(process.pid)
    process.kill()
    process.finish()
    assert len(found) == count, found
