"""The pictures of a study: what they draw, read from the figures before they are pixels."""

import io

import numpy as np
import pytest
from PIL import Image

from tests.fixtures import study_outcomes
from tests.fixtures.study_outcomes import ELBO, MIG
from vaeflow.commands.studies.report import axes, by_point, by_setting, findings, pictures

BETA = "BetaVAE.beta"


@pytest.fixture(autouse=True)
def in_our_style():
    with axes.style():
        yield


def drawn(panel, marker):
    """The places of all marks of a kind, and the values there."""
    lines = [line for line in panel.lines if line.get_marker() == marker and line.get_markersize() == 6]
    return [(x, y) for line in lines for x, y in zip(*line.get_data())]


def seeds(panel):
    return sorted(y for line in panel.lines if line.get_markersize() == 3.5 for y in line.get_ydata())


def interval(panel):
    """The ends of the vertical intervals, from the lowest to the highest point of each."""
    return sorted(
        tuple(segment[:, 1]) for bars in panel.collections for segment in bars.get_segments()
    )  # fmt: skip


def texts(figure):
    figure.draw_without_rendering()
    labels = [*figure.axes[0].get_xticklabels(), *figure.axes[0].get_yticklabels()]
    return [label.get_text() for label in labels]


def test_a_measure_is_drawn_at_each_value_with_its_seeds_mean_and_interval():
    found = findings.points(study_outcomes.grid())
    panel, *_ = by_setting.draw(BETA, found, [MIG]).axes
    assert [x for x, _ in drawn(panel, "o")] == pytest.approx([1, 4, 16])
    assert [y for _, y in drawn(panel, "o")] == pytest.approx([0.2, 0.3, 0.4])
    assert seeds(panel) == pytest.approx([0.1, 0.2, 0.2, 0.3, 0.3, 0.3, 0.4, 0.4, 0.5])
    half = 4.303 * 0.1 / np.sqrt(3)  # Student's t of 2 degrees of freedom.
    assert interval(panel)[0] == pytest.approx((0.2 - half, 0.2 + half), rel=1e-3)


def test_the_axis_of_far_numbers_is_logarithmic_and_names_the_values():
    found = findings.points(study_outcomes.grid(betas=(1, 4, 16)))
    figure = by_setting.draw(BETA, found, [MIG])
    assert figure.axes[0].get_xscale() == "log"
    assert texts(figure)[:3] == ["1", "4", "16"]
    assert figure.axes[0].get_xlabel() == BETA


def test_a_line_joins_the_points_that_differ_in_this_setting_alone():
    points = [{BETA: beta, "BetaVAE.num_latents": latents} for beta in "14" for latents in "57"]
    found = findings.points(
        [study_outcomes.done(index, point, 0, mig=index / 10) for index, point in enumerate(points)]
    )
    figure = by_setting.draw(BETA, found, [MIG])
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["num_latents=5", "num_latents=7"]
    joined = [list(line.get_ydata()) for line in figure.axes[0].lines if line.get_linewidth() == 1.2]
    assert joined == [pytest.approx([0.0, 0.2]), pytest.approx([0.1, 0.3])]


def test_values_that_are_no_numbers_stand_side_by_side_without_a_line():
    found = findings.points(study_outcomes.models())
    figure = by_setting.draw("train.model", found, [MIG])
    assert texts(figure)[:2] == ["BetaVAE", "FactorVAE"]
    assert [line for line in figure.axes[0].lines if line.get_linewidth() == 1.2] == []
    places = sorted(x for marker in "os^" for x, _ in drawn(figure.axes[0], marker))
    assert places == pytest.approx([-0.15, 0.15, 1.0])


def test_every_point_has_a_row_with_its_settings():
    found = findings.points(study_outcomes.models())
    figure = by_point.draw(found, [MIG, ELBO])
    assert texts(figure)[-3:] == ["BetaVAE, beta=4", "BetaVAE, beta=16", "FactorVAE, gamma=10"]
    assert [axis.get_title(loc="left") for axis in figure.axes] == [
        "MIG\npool, n=2000",
        "negative ELBO (nats)",
    ]
    assert figure.axes[0].get_ylim()[0] > figure.axes[0].get_ylim()[1]  # The first is on top.


def test_a_long_title_has_more_lines():
    """In one line it would be cut at the edge of the picture."""
    title = axes.title("gaussian_wasserstein_correlation_norm[none,pool,n=2000]")
    assert title == "Gaussian Wasserstein\ncorrelation norm\npool, n=2000"


def test_the_axis_shows_all_seeds_and_cuts_what_is_far_beyond_them():
    wide = [study_outcomes.done(0, {BETA: "1"}, seed, mig=0.1 * seed) for seed in (0, 1)]
    found = findings.points(wide)
    low, high = axes.limits(found, MIG)
    assert low < 0.0 < 0.1 < high
    assert high - low < 0.3  # The interval of two seeds is 1.27 wide.
    assert "cut where it leaves the axis" in by_point.draw(found, [MIG]).get_supxlabel()


def test_one_seed_is_drawn_without_an_interval():
    found = findings.points(study_outcomes.grid(seeds=1))
    figure = by_point.draw(found, [MIG])
    assert figure.get_supxlabel() == "One seed each."
    assert list(figure.axes[0].collections) == []


@pytest.mark.slow
def test_no_labels_overlap():
    """Points and measures with long names: the texts of a picture cover none of each other."""
    names = [f"a_rather_long_measure_{number}[none,pool,n=2000]" for number in range(4)]
    measures = dict.fromkeys(names, 0.5)
    found = findings.points(
        [
            study_outcomes.done(
                index, {"train.model": f"@QuiteALongModel{index}", "A.beta": "12"}, 0, **measures
            )
            for index in range(6)
        ]
    )
    for figure in (by_point.draw(found, names), by_setting.draw("train.model", found, names)):
        figure.draw_without_rendering()
        panels = [axis for axis in figure.axes if axis.get_visible()]
        boxes = [text.get_window_extent() for axis in panels for text in _shown_texts(axis)]
        boxes += [text.get_window_extent() for text in figure.texts]
        for index, box in enumerate(boxes):
            assert not any(box.overlaps(other) and _area(box, other) > 4 for other in boxes[:index])


def _shown_texts(axis):
    texts = [*axis.get_yticklabels(), axis.title, axis._left_title, axis.xaxis.label]
    if not any(label.get_rotation() for label in axis.get_xticklabels()):
        texts += axis.get_xticklabels()  # The boxes of turned labels overlap, their letters do not.
    return [text for text in texts if text.get_visible() and text.get_text()]


def _area(box, other):
    """Square pixels that two boxes share."""
    width = min(box.x1, other.x1) - max(box.x0, other.x0)
    height = min(box.y1, other.y1) - max(box.y0, other.y0)
    return max(width, 0) * max(height, 0)


@pytest.mark.slow
def test_there_is_a_picture_of_all_points_and_of_each_setting_that_varies():
    found = findings.points(study_outcomes.models())
    files = pictures.draw(found, [MIG])
    assert list(files) == ["points.png", "train.model.png", "BetaVAE.beta.png"]
    with Image.open(io.BytesIO(files["points.png"])) as picture:
        assert picture.width == 1350


def test_names_are_no_formulas():
    found = findings.points([study_outcomes.done(0, {"A.b": "'$x^{2$'"}, 0)])
    figure = by_point.draw(found, [MIG])
    assert texts(figure)[-1] == "b=$x^{2$"


def test_a_study_that_has_measured_nothing_has_no_pictures():
    found = findings.points([study_outcomes.failed(0, {BETA: "1"}, 0)])
    assert pictures.draw(found, []) == {}
