"""The HPARAMS page of a study, as TensorBoard's own reader sees it."""

import pytest
from tensorboard import context
from tensorboard.backend.event_processing import data_provider, plugin_event_multiplexer
from tensorboard.plugins import base_plugin
from tensorboard.plugins.hparams import api_pb2, backend_context, get_experiment, list_session_groups

from tests.fixtures import study_outcomes
from tests.fixtures.study_outcomes import ELBO, MIG
from vaeflow.commands.studies.report import findings, hparams

BETA = "BetaVAE.beta"


class Page:
    """What TensorBoard shows of a folder: its experiment, and its sessions by name."""

    def __init__(self, folder):
        reader = plugin_event_multiplexer.EventMultiplexer().AddRunsFromDirectory(str(folder))
        reader.Reload()
        provider = data_provider.MultiplexerDataProvider(reader, str(folder))
        own = backend_context.Context(base_plugin.TBContext(data_provider=provider))
        self.experiment = get_experiment.Handler(
            context.RequestContext(), own, "", api_pb2.GetExperimentRequest()
        ).run()
        statuses = [api_pb2.STATUS_SUCCESS, api_pb2.STATUS_FAILURE]
        request = api_pb2.ListSessionGroupsRequest(allowed_statuses=statuses, slice_size=100)
        answer = list_session_groups.Handler(context.RequestContext(), own, "", request).run()
        self.sessions = {group.name: group for group in answer.session_groups}


def page(tmp_path, outcomes):
    hparams.write(tmp_path, findings.points(outcomes), [MIG])
    return Page(tmp_path / hparams.FOLDER)


def test_each_run_is_shown_with_its_settings_and_measures(tmp_path):
    sessions = page(tmp_path, study_outcomes.grid(2)).sessions
    assert len(sessions) == 6
    session = sessions["002_BetaVAE.beta=16_seed=1"]
    assert session.hparams[BETA].number_value == 16
    assert session.hparams["seed"].number_value == 1
    measured = {each.name.tag: each.value for each in session.metric_values}
    assert measured[MIG] == pytest.approx(0.4)
    assert measured[ELBO] == pytest.approx(115.0)
    assert measured["seconds"] == 60


def test_the_domains_of_the_settings_are_those_of_the_study(tmp_path):
    experiment = page(tmp_path, study_outcomes.models()).experiment
    domains = {info.name: list(info.domain_discrete) for info in experiment.hparam_infos}
    assert domains == {
        "train.model": ["BetaVAE", "FactorVAE"],
        BETA: [4, 16],
        "FactorVAE.gamma": [10],
        "seed": [0, 1],
    }
    differ = {info.name for info in experiment.hparam_infos if info.differs}
    assert differ == {"train.model", BETA, "seed"}


def test_the_chosen_measures_come_first(tmp_path):
    experiment = page(tmp_path, study_outcomes.grid(1)).experiment
    assert [info.name.tag for info in experiment.metric_infos][:2] == [MIG, "seconds"]


def test_a_run_that_failed_is_shown_as_such_and_one_that_is_missing_is_not(tmp_path):
    outcomes = [
        study_outcomes.done(0, {BETA: "1"}, 0),
        study_outcomes.failed(0, {BETA: "1"}, 1),
        study_outcomes.missing(0, {BETA: "1"}, 2),
    ]
    sessions = page(tmp_path, outcomes).sessions
    statuses = {name[-1]: group.sessions[0].status for name, group in sessions.items()}
    assert statuses == {"0": api_pb2.STATUS_SUCCESS, "1": api_pb2.STATUS_FAILURE}


def test_values_of_several_types_become_texts(tmp_path):
    outcomes = [
        study_outcomes.done(index, {"A.b": text}, 0) for index, text in enumerate(["None", "3", "@VAE"])
    ]
    (info,) = (info for info in page(tmp_path, outcomes).experiment.hparam_infos if info.name == "A.b")
    assert list(info.domain_discrete) == ["3", "None", "VAE"]


def test_a_page_takes_the_place_of_the_last_one(tmp_path):
    page(tmp_path, study_outcomes.grid(2))
    assert len(page(tmp_path, study_outcomes.grid(1)).sessions) == 3


def test_a_name_that_no_protocol_buffer_holds_is_escaped(tmp_path):
    """JSON may hold half of a surrogate pair."""
    name = "mig[\ud800,pool]"
    outcomes = [study_outcomes.done(0, {BETA: "1"}, 0, **{name: 1.0})]
    shown = page(tmp_path, outcomes).experiment.metric_infos
    assert "mig[\\ud800,pool]" in [each.name.tag for each in shown]
