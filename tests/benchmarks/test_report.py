"""What `benchmarks.targets` and `benchmarks.report` make of given numbers."""

import pytest

from benchmarks import lines, report, targets

NUM_CORES = 2


def line(name, rates, tuned_allocator=False, others_cores=0.0, **changes):
    """A line whose windows are of 2 s and steps of 10 images."""
    windows = [
        {"images": 2 * rate, "steps": rate // 5, "seconds": 2.0, "others_cores": others_cores}
        for rate in rates
    ]
    values = {
        "failure": None,
        "start_seconds": 4.25,
        "resume_seconds": None,
        "resume_failure": None,
        "peak_mebibytes": 512.4,
        "flops_per_step": 1000,
        "compile_mode": "loop",
    }
    return {"name": name, "tuned_allocator": tuned_allocator, "windows": windows} | values | changes


def measured(*more, vaeflow=(200, 300, 100), pythae=(100, 100, 100), product=(), **changes):
    """A workload's measurements; the lines of vaeflow and pythae are changed by `changes`."""
    return {
        "parameters": 1234,
        "lines": [
            line(lines.VAEFLOW, vaeflow, **changes),
            line(lines.PYTHAE, pythae, **changes),
            line(lines.PYTHAE, [50, 150, 120], tuned_allocator=True),
            *more,
        ],
        "matrix_product": [{"flops_per_second": rate, "others_cores": 0.0} for rate in product] or None,
    }


def verdicts(results, num_cores=NUM_CORES):
    return {row["target"]: (row["measured"], row["verdict"]) for row in targets.targets(results, num_cores)}


def test_rates_are_images_over_the_seconds_that_a_window_took():
    assert targets.rates({"windows": [{"images": 30, "seconds": 1.5}, {"images": 8, "seconds": 2.0}]}) == [
        20,
        4,
    ]


def test_a_ratio_is_the_median_of_the_ratios_of_the_rounds():
    # Of the medians it would be 1: both slow down in the last two rounds.
    assert targets.times(line("a", [400, 100, 90]), line("b", [100, 50, 100])) == 2.0


@pytest.mark.parametrize("other", [None, line("b", [1], failure="it broke"), line("b", [])])
def test_there_is_no_ratio_to_a_line_without_numbers(other):
    assert targets.times(line("a", [1]), other) is None


def test_the_part_of_the_matrix_product():
    # 40, 60 and 20 steps in 2 s, of 1000 operations.
    assert targets.of_matrix_product(measured(product=[40_000, 40_000, 40_000])) == 0.5
    assert targets.of_matrix_product(measured(product=[20_000, 40_000, 100_000])) == 0.75
    assert targets.of_matrix_product(measured(product=[])) is None


def test_targets_are_reached_or_missed():
    fast = line(lines.TORCH_EAGER, [100, 200, 50])
    slow = line(lines.TORCH_COMPILE, [10, 10, 10])
    rows = verdicts({"dense_128": measured(fast, slow)})
    assert rows["at least 2.0 times pythae"] == ("2.00 times", "reached")
    assert rows["at least the best PyTorch line (eager)"] == ("2.00 times", "reached")
    rows = verdicts({"dense_128": measured(fast, slow, vaeflow=(190, 199, 100))})
    assert rows["at least 2.0 times pythae"] == ("1.90 times", "missed")


def test_convolutions_need_less_and_the_matrix_product_has_its_own_target():
    rows = verdicts({"conv64_64": measured(vaeflow=(120, 130, 140), product=[24_000, 26_000, 28_000])})
    assert rows["at least 1.3 times pythae"] == ("1.30 times", "reached")
    assert rows["at least 50% of the matrix product's rate"] == ("50%", "reached")
    rows = verdicts({"dense_512": measured(product=[100_000, 100_000, 100_000])})
    assert rows["at least 70% of the matrix product's rate"] == ("20%", "missed")


def test_two_replicas_may_cost_a_little():
    def cost(*rates):
        rows = verdicts({"conv64_64": measured(line(lines.TWO_REPLICAS, rates), vaeflow=(100, 100, 100))})
        return rows["2 CPU replicas cost at most 10% more time than 1"]

    assert cost(95, 100, 93) == ("+5%", "reached")
    assert cost(50, 50, 50) == ("+100%", "missed")


def test_what_failed_is_not_measured():
    rows = verdicts({"dense_128": measured(failure="it broke", product=[1, 1, 1])})
    assert set(rows.values()) == {("–", "not measured")}


def test_a_busy_machine_is_no_judge():
    busy = {"dense_128": measured(others_cores=0.3)}
    assert verdicts(busy, 2)["at least 2.0 times pythae"] == (
        "2.00 times",
        "not judged: others used 15% of the cores",
    )
    assert verdicts(busy, 4)["at least 2.0 times pythae"] == ("2.00 times", "reached")


def test_a_target_is_judged_by_the_lines_that_it_compares():
    disturbed = line(lines.TORCH_COMPILE, [100, 100, 100], others_cores=1.0)
    quiet = line(lines.TORCH_EAGER, [150, 150, 150])
    rows = verdicts({"conv64_64": measured(quiet, disturbed, product=[40_000, 40_000, 40_000])})
    assert rows["at least 1.3 times pythae"][1] == "reached"
    assert rows["at least 50% of the matrix product's rate"][1] == "reached"
    # Undisturbed, the slower one might have been the best.
    assert rows["at least the best PyTorch line (eager)"][1] == "not judged: others used 50% of the cores"


def test_the_table_of_a_workload():
    failed = line(lines.TORCH_COMPILE, [], failure="no C++ compiler | none")
    resumed = line(lines.KERAS, [90, 80, 110], resume_seconds=7.5)
    text = report.markdown(
        {
            "machine": {"processor": "Abacus"},
            "versions": {"keras": "9.9"},
            "settings": {"num_rounds": 3, "seconds": 2.0, "num_cores": NUM_CORES},
            "workloads": {"dense_128": measured(resumed, failed)},
        }
    )
    rows = text.splitlines()
    assert "| processor | Abacus |" in rows
    assert "| keras | 9.9 |" in rows
    assert "Rounds: 3, each with 2 s of every program." in rows
    assert "| vaeflow | 200 (100–300) | 2.00 | tunes it itself |  | 512 | 4.2 | – | 0% |" in rows
    assert (
        "| pythae | 100 (100–100) | 1.00 | 120 (50–150) | 1.20 | 512 / 512 | 4.2 | none | 0% / 0% |" in rows
    )
    assert "| Keras fit | 90 (80–110) | 0.90 | – | – | 512 | 4.2 | 7.5 | 0% |" in rows
    assert any(row.startswith("| PyTorch, compiled | failed: no C++ compiler / none | – |") for row in rows)
