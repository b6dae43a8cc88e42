"""What `benchmarks.report` makes of given numbers."""

from benchmarks import lines, report
from benchmarks.workloads import WORKLOADS
from tests.fixtures.compared_lines import NUM_CORES, line, measured


def whole(*more, **workloads):
    return {
        "machine": {"processor": "Abacus"},
        "versions": {"keras": "9.9"},
        "settings": {"num_rounds": 3, "seconds": 2.0, "num_cores": NUM_CORES},
        "workloads": {"dense_128": measured(*more), **workloads},
    }


def rows(*more):
    return report.markdown(whole(*more)).splitlines()


def test_the_table_of_a_workload():
    written = rows(
        line(lines.TORCH_COMPILE, [], beside=[], failure="no C++ compiler | none", peak_mebibytes=None),
        line(lines.KERAS, [90, 80, 110], resume_seconds=7.5),
        line(lines.PYTHAE, [50, 150, 120], tuned_allocator=True, others_cores=0.5),
        line(lines.TORCH_EAGER, [100, 100, 100], resume_failure="it began anew"),
    )
    assert "| processor | Abacus |" in written
    assert "| keras | 9.9 |" in written
    assert "Rounds: 3, 2 s of vaeflow and of the program in each." in written
    assert "Batch 128, 1,234 trainable parameters." in written
    # In the order of the programs, not of the results.
    assert written[-6:] == [
        "| --- | --- | --- | --- | --- | --- | --- |",
        "| vaeflow | 200 (100–300) | – | 512 | 4.2 | – | 0% |",
        "| pythae, tuned allocator | 120 (50–150) | 2.00 | 512 | 4.2 | – | 25% |",
        "| Keras fit | 90 (80–110) | 2.22 | 512 | 4.2 | 7.5 | 0% |",
        "| PyTorch, eager | 100 (100–100) | 2.00 | 512 | 4.2 | failed: it began anew | 0% |",
        "| PyTorch, compiled | failed: no C++ compiler / none | – | – | 4.2 | – | – |",
    ]


def test_the_matrix_product_is_a_remark():
    product = line(lines.MATRIX_PRODUCT, [], parameters=None)
    product["windows"] = [{"flops_per_second": 4e9, "others_cores": 0.0}] * 3
    product["beside"] = [window | {"steps": 4_000_000} for window in product["beside"]]
    (remark,) = (row for row in rows(product) if row.startswith("Batch"))
    assert remark.endswith("vaeflow's 0.00 GFLOP a step ran at 50% of the best matrix product, 4 GFLOP/s.")
    assert not any(lines.MATRIX_PRODUCT + " |" in row for row in rows(product))


def test_the_command_is_that_of_the_results():
    assert "Written by `python -m benchmarks.run --rounds=3 --seconds=2`;" in rows()[2]
    assert "--all`" not in rows(line(lines.PYTHAE, [1, 1, 1], tuned_allocator=True))[2]
    assert "--seconds=2 --all`;" in rows(line(lines.PYTHAE, [1, 1, 1]))[2]


def test_a_run_that_was_cut_has_its_tables():
    text = report.markdown(whole(resnet64_64={"lines": []}))
    assert "## resnet64_64\n\nBatch 64.\n" in text
    assert "| resnet64_64 | at least 1.2 times the best peer | – | not measured |" in text


def test_the_short_table_has_the_best_of_each_library():
    peers = [
        line(lines.KERAS, [90, 80, 110]),
        line(lines.KERAS, [95, 85, 115], tuned_allocator=True),
        line(lines.TORCH_DDP, [50, 50, 50], tuned_allocator=True),
        line(lines.JAX_SCAN, [120, 120, 120]),
        line(lines.JAX_STEP, [130, 130, 130], failure="it broke"),
    ]
    table = report.speed_table({"dense_128": measured(*peers)}).splitlines()
    assert table[0] == "| net | pythae | Keras | PyTorch | JAX | vaeflow | vs. the best |"
    assert table[2:] == ["| dense 784-400-20, batch 128 | – | 95 | 50 | 120 | 200 | 1.67 × |"]


def test_every_workload_has_a_title():
    empty = report.speed_table({name: {"lines": []} for name in WORKLOADS}).splitlines()[2:]
    assert len(empty) == len(WORKLOADS)
    assert all(row.endswith("| – | – | – | – | – | – |") for row in empty)
