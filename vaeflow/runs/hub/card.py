"""The model card of a repository: that of an export, with the metadata that the hub's cards have.

The metadata follows https://github.com/huggingface/hub-docs/blob/main/modelcard.md. What the card says
already, because its author has edited it, is kept.
"""

from __future__ import annotations

from typing import Any

from vaeflow.errors import ConfigurationError
from vaeflow.runs.hub import library
from vaeflow.runs.hub.measured import Measured
from vaeflow.runs.hub.published import Published
from vaeflow.runs.hub.repository import Repository

# The sentences of an export's card that read otherwise in a repository; see `vaeflow/export/card_texts.py`.
NO_LICENCE = "Developed by, and licence: not recorded; add them before you pass the model on."
RUN_HERE = "Run these in the folder of this card."

_TAG = "vaeflow"
_TASK = "other"
# vaeflow's class of a dataset -> what the hub calls it.
_DATASETS = {"MNIST": "ylecun/mnist", "FashionMNIST": "zalando-datasets/fashion_mnist"}
_START = """\
```python
import vaeflow

model = vaeflow.load("{repository}")
```

This needs vaeflow with its extra `hub`, and compares each file with its SHA-256. All files, as a work folder
for vaeflow's commands:

    vaeflow pull --repo={name} --to=FOLDER

Run what follows in the folder `export`."""


def made(published: Published, repository: Repository, licence: str | None = None) -> str:
    """Makes the card of a repository.

    Args:
      published: what is published.
      repository: where to.
      licence: an identifier of the hub, e.g. `apache-2.0`; None for what the card says.

    Returns:
      Markdown text with metadata in YAML.

    Raises:
      ConfigurationError: the metadata of the card of the export is malformed.
    """
    hub = library.load()
    try:
        card: Any = hub.ModelCard(published.card)
    except Exception as error:  # Those of PyYAML have a base of their own.
        reason = " ".join(str(error).split())
        raise ConfigurationError(
            f"the metadata at the top of export/README.md is malformed ({reason}); mend it, or run `vaeflow "
            "export` again"
        ) from error
    data = card.data
    data.license = licence or data.get("license")
    data.library_name = data.get("library_name", _TAG)
    data.tags = list(dict.fromkeys([*(data.get("tags") or []), _TAG]))
    measured = published.measured
    if measured.dataset in _DATASETS:
        data.datasets = data.get("datasets", [_DATASETS[measured.dataset]])
    if not data.get("eval_results") and measured.metrics:
        data.model_name = repository.name.rpartition("/")[2]
        data.eval_results = _results(hub, measured, data.get("pipeline_tag", _TASK))
    start = _START.format(repository=repository, name=repository.name)
    card.text = card.text.replace(RUN_HERE, start)
    if data.license:
        card.text = card.text.replace(NO_LICENCE, f"Licence: {data.license}.")
    return str(card)


def _results(hub: Any, measured: Measured, task: str) -> list[Any]:
    return [
        hub.EvalResult(
            task_type=task,
            dataset_type=_DATASETS.get(measured.dataset, measured.dataset),
            dataset_name=measured.dataset,
            dataset_split=measured.split,
            metric_type=name.partition("[")[0],
            metric_name=name,
            metric_value=value,
        )
        for name, value in measured.metrics.items()
    ]
