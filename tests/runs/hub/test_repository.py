"""What is fetched from a repository, and what is refused: the real client, and a stand-in for the hub."""

import pytest
from huggingface_hub import constants
from huggingface_hub.utils import _http

from tests.fixtures import hub_server, hubs
from vaeflow.errors import ConfigurationError, EnvironmentFailure
from vaeflow.runs.hub import repository
from vaeflow.runs.hub.repository import Repository

ADDRESS = f"hf://{hubs.NAME}"
DATA = f"checkpoints/step-{hubs.STEP:08d}/variables.data-00000-of-00001"


@pytest.fixture
def hub(tmp_path):
    with hubs.connected(tmp_path) as running:
        yield running


def fetched(hub):
    """The names of the files that were asked for."""
    return {path.split("/", 5)[5] for method, _, path, _ in hub.requests if "/resolve/" in path}


def cached(tmp_path):
    """The files in the cache of the client."""
    return [path for path in (tmp_path / "cache").rglob("snapshots/*/*") if path.is_file()]


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("hf://a/b", Repository("a/b")),
        ("hf://some-body/vae_1.0@v2", Repository("some-body/vae_1.0", "v2")),
        ("hf://a/b@refs/pr/1", Repository("a/b", "refs/pr/1")),
    ],
)
def test_addresses(address, expected):
    assert repository.at(address) == expected
    assert str(expected) == address


@pytest.mark.parametrize(
    "address",
    ["hf://", "hf://b", "hf://a/b/c", "hf://datasets/a/b", "hf://a/../b", "hf://a/b--c", "hf://a/b.git",
     "hf://a/b?x", "hf://a/b@", "hf://a/b@../c", "hf://a/b@c//d", "hf://a/b@c d", "hf:///a/b",
     "hf://a/" + "b" * 96],
)  # fmt: skip
def test_malformed_addresses_are_refused(address):
    with pytest.raises(ConfigurationError, match=r"is no repository|is no revision"):
        repository.at(address)


def test_only_what_loads_the_model_is_fetched(hub):
    evil = {"evil.py": b"raise SystemExit(1)", "checkpoints/step-00000099/record.json": b"{}"}
    commit = hubs.publish(hub, hubs.published_files(**evil), **dict.fromkeys(evil))
    snapshot = repository.fetch_model(ADDRESS)
    assert snapshot.commit == commit
    assert fetched(hub) == {"vaeflow.json", *snapshot.manifest.of_the_model}
    assert (snapshot.folder / DATA).read_bytes() == b"\0data"


def test_the_token_goes_to_the_hub_and_not_to_its_storage(hub):
    hubs.publish(hub, hubs.published_files())
    repository.fetch_model(ADDRESS)
    tokens = {(host, token) for _, host, _, token in hub.requests}
    assert tokens == {("127.0.0.1", "hf_writer"), ("localhost", "")}


def test_a_file_is_fetched_once_and_verified_each_time(hub):
    hubs.publish(hub, hubs.published_files())
    snapshot = repository.fetch_model(ADDRESS)
    hub.requests.clear()
    repository.fetch_model(ADDRESS)
    assert fetched(hub) == {"vaeflow.json"}
    (snapshot.folder / DATA).resolve().write_bytes(b"\0DATA")
    with pytest.raises(EnvironmentFailure, match=f"{DATA} of {ADDRESS} is not what `vaeflow push` wrote"):
        repository.fetch_model(ADDRESS)


def test_a_link_in_the_cache_to_another_file_is_refused(hub, tmp_path):
    hubs.publish(hub, hubs.published_files())
    path = repository.fetch_model(ADDRESS).folder / "config.gin"
    (tmp_path / "secret").write_text("train.model = @Other\n")
    path.unlink()
    path.symlink_to(tmp_path / "secret")
    with pytest.raises(EnvironmentFailure, match=r"config.gin of .* is not what"):
        repository.fetch_model(ADDRESS)


@pytest.mark.parametrize("content", [b"\0DATA", b"\0data and more", b""])
def test_a_file_that_is_not_that_of_the_manifest_is_refused(hub, content):
    files = hubs.published_files()
    hubs.publish(hub, {**files, DATA: content}, **{DATA: files[DATA]})
    with pytest.raises(EnvironmentFailure, match=r"is not what `vaeflow push` wrote: it has [\d,]+ bytes"):
        repository.fetch_model(ADDRESS)


def test_a_missing_file_is_named(hub):
    files = hubs.published_files()
    hubs.publish(hub, {name: files[name] for name in files if name != DATA}, **{DATA: files[DATA]})
    with pytest.raises(EnvironmentFailure, match=f"lacks {DATA}, which its vaeflow.json names"):
        repository.fetch_model(ADDRESS)


@pytest.mark.parametrize("name", ["../../evil.py", "/tmp/evil.py", "export/../../evil.py", "evil.py"])
def test_a_manifest_that_leads_elsewhere_fetches_nothing(hub, name, tmp_path):
    hubs.publish(hub, hubs.published_files(), **{name: b"raise SystemExit(1)"})
    with pytest.raises(
        EnvironmentFailure, match=r"vaeflow.json of .* is not what .* writes: it names .*evil"
    ):
        repository.fetch_model(ADDRESS)
    assert fetched(hub) == {"vaeflow.json"}
    assert [path.name for path in cached(tmp_path)] == ["vaeflow.json"]


def test_another_repository_is_refused(hub):
    hubs.publish(hub, hubs.published_files())
    hub.repositories[hubs.NAME].change(**{"vaeflow.json": None})
    with pytest.raises(ConfigurationError, match=r"holds no vaeflow.json: `vaeflow push` did not make it"):
        repository.fetch_model(ADDRESS)


def test_a_revision_stays_what_it_was(hub):
    commit = hubs.publish(hub, hubs.published_files())
    hubs.publish(hub, hubs.published_files(**{DATA: b"\0later"}))
    assert (repository.fetch_model(f"{ADDRESS}@{commit}").folder / DATA).read_bytes() == b"\0data"
    assert (repository.fetch_model(ADDRESS).folder / DATA).read_bytes() == b"\0later"


def test_offline_the_cache_serves(hub, monkeypatch):
    hubs.publish(hub, hubs.published_files())
    snapshot = repository.fetch_model(ADDRESS)
    hub.requests.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert repository.fetch_model(ADDRESS) == snapshot
    assert hub.requests == []


def test_offline_without_the_cache_says_so(hub, monkeypatch):
    hubs.publish(hub, hubs.published_files())
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(
        EnvironmentFailure, match=rf"HF_HUB_OFFLINE forbids .* {ADDRESS} is not whole in the cache"
    ):
        repository.fetch_model(ADDRESS)


def test_a_hub_that_cannot_be_reached(hub, monkeypatch):
    monkeypatch.setattr(_http.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", "http://127.0.0.1:9/{repo_id}/{revision}/{filename}"
    )
    with pytest.raises(EnvironmentFailure, match=r"could not be read \(.*check the network and HF_ENDPOINT"):
        repository.fetch_model(ADDRESS)


def test_a_cache_that_cannot_be_written(hub, tmp_path, monkeypatch):
    hubs.publish(hub, hubs.published_files())
    (tmp_path / "file").touch()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(EnvironmentFailure, match=rf"{tmp_path}/file.* cannot be written \(Not a directory\)"):
        repository.fetch_model(ADDRESS)


@pytest.mark.parametrize("token", ["hf_writer", ""])
def test_a_repository_that_is_not_there(hub, monkeypatch, token):
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(
        ConfigurationError, match=f"the hub shows no repository {hubs.NAME}; check the name"
    ) as caught:
        repository.fetch_model(ADDRESS)
    assert "hf auth login" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_private_repository_needs_a_token(hub, monkeypatch):
    hubs.publish(hub, hubs.published_files())
    hub.repositories[hubs.NAME].private = True
    monkeypatch.setenv("HF_TOKEN", "hf_of_somebody_else")
    with pytest.raises(ConfigurationError, match="if it is private, log in"):
        repository.fetch_model(ADDRESS)
    monkeypatch.setenv("HF_TOKEN", hub_server.READER)
    assert repository.fetch_model(ADDRESS)


def test_a_revision_that_is_not_there(hub):
    hubs.publish(hub, hubs.published_files())
    with pytest.raises(ConfigurationError, match=f"the repository {hubs.NAME} has no revision 'v9'"):
        repository.fetch_model(f"{ADDRESS}@v9")


def test_a_server_that_is_no_hub(hub, monkeypatch):
    hubs.publish(hub, hubs.published_files())
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", f"{hub.address}/lfs-verify?{{filename}}")
    with pytest.raises(EnvironmentFailure) as caught:
        repository.fetch_model(ADDRESS)
    assert "\n" not in str(caught.value)
