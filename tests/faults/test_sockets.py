"""Nothing listens while one machine trains."""

import pathlib

import pytest

_LISTENING = "0A"


def listening_sockets(pid):
    """The addresses at which a process accepts connections over a network."""
    inodes = {path.readlink().name for path in pathlib.Path(f"/proc/{pid}/fd").iterdir() if path.is_symlink()}
    found = []
    for protocol in ("tcp", "tcp6", "udp", "udp6"):
        for line in pathlib.Path(f"/proc/{pid}/net/{protocol}").read_text().splitlines()[1:]:
            _, local, remote, state, *_, inode = line.split()[:10]
            bound = state == _LISTENING if protocol.startswith("tcp") else remote.endswith(":0000")
            if bound and f"socket:[{inode}]" in inodes:
                found.append(f"{protocol} {local}")
    return found


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
