"""The card of a repository: the metadata that the hub knows, read back with its own client."""

import pytest
from huggingface_hub import ModelCard

from tests.fixtures import hubs
from vaeflow.errors import ConfigurationError
from vaeflow.export import card_texts
from vaeflow.runs.hub import card
from vaeflow.runs.hub.measured import Measured
from vaeflow.runs.hub.published import Published
from vaeflow.runs.hub.repository import Repository

REPOSITORY = Repository(hubs.NAME, "v2")
METADATA = "library_name: vaeflow\npipeline_tag: unconditional-image-generation\ntags:\n- vaeflow\n"
MEASURED = Measured("MNIST", "evaluation", {"negative_elbo[static]": 101.5, "active_units": 9.0})


def made(metadata=METADATA, text="# Tiny\n", measured=MEASURED, licence=None):
    given = f"---\n{metadata}---\n\n{text}" if metadata is not None else text
    return ModelCard(card.made(Published(20, "VAE", given, measured, {}), REPOSITORY, licence))


def test_the_metadata():
    assert made(licence="apache-2.0").data.to_dict() == {
        "library_name": "vaeflow",
        "pipeline_tag": "unconditional-image-generation",
        "tags": ["vaeflow"],
        "license": "apache-2.0",
        "datasets": ["ylecun/mnist"],
        "model-index": [
            {
                "name": "tiny",
                "results": [
                    {
                        "task": {"type": "unconditional-image-generation"},
                        "dataset": {"type": "ylecun/mnist", "name": "MNIST", "split": "evaluation"},
                        "metrics": [
                            {"type": "negative_elbo", "value": 101.5, "name": "negative_elbo[static]"},
                            {"type": "active_units", "value": 9.0, "name": "active_units"},
                        ],
                    }
                ],
            }
        ],
    }


def test_what_is_not_known_is_left_out():
    data = made(measured=Measured("Arrays", "evaluation", {})).data.to_dict()
    assert data.keys() == {"library_name", "pipeline_tag", "tags"}


def test_what_the_author_has_written_is_kept():
    own = "license: mit\nlibrary_name: keras\ntags:\n- digits\ndatasets:\n- somebody/digits\nlanguage: en\n"
    own += (
        "model-index:\n- name: mine\n  results:\n  - task:\n      type: other\n    dataset:\n      type: x\n"
        "      name: X\n"
        "    metrics:\n    - type: fid\n      value: 3.5\n"
    )
    data = made(own).data.to_dict()
    assert data["license"] == "mit"
    assert data["library_name"] == "keras"
    assert data["tags"] == ["digits", "vaeflow"]
    assert data["datasets"] == ["somebody/digits"]
    assert data["language"] == "en"
    assert data["model-index"][0]["name"] == "mine"
    assert data["model-index"][0]["results"][0]["metrics"] == [{"type": "fid", "value": 3.5}]
    assert made(own, licence="apache-2.0").data.license == "apache-2.0"


def test_a_card_without_metadata_gets_some():
    assert made(None).data.library_name == "vaeflow"


def test_the_text_of_an_export_says_how_to_load_the_repository():
    text = card_texts.TEMPLATE.partition("## Uses")[0] + card_texts.TEMPLATE.partition("## How to get")[2]
    text = text.format_map(
        dict.fromkeys(("no_licence",), card.NO_LICENCE) | {"run_here": card.RUN_HERE} | FILLED
    )
    found = made(text=text, licence="mit").text
    assert f'model = vaeflow.load("hf://{hubs.NAME}@v2")' in found
    assert card.RUN_HERE not in found
    assert card.NO_LICENCE not in found
    assert "Licence: mit." in found
    assert card.NO_LICENCE in made(text=text).text


FILLED = {
    **dict.fromkeys(
        ("task", "tag", "title", "class_name", "kind", "size", "latents", "details", "code"), "x"
    ),
    **dict.fromkeys(("data", "training", "evaluation", "versions", "configuration"), "x"),
    "step": 1,
}


@pytest.mark.parametrize(
    "metadata", ["a: [\n", "- a list\n", "a: b: c\n", "!!python/object/apply:os.getcwd []\n"]
)
def test_malformed_metadata_is_refused_in_one_line(metadata):
    with pytest.raises(
        ConfigurationError, match=r"metadata at the top of export/README.md is malformed"
    ) as caught:
        made(metadata)
    assert "\n" not in str(caught.value)
