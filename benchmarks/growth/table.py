"""From measurements to Markdown: pure functions of what `benchmarks.growth` measured."""

from benchmarks import load
from benchmarks.growth import figures, paper, points

_EXPLANATION = f"""\
Written by `python -m benchmarks.growth`; [docs/benchmark.md](../docs/benchmark.md) says how to repeat it.

Each measurement is made in a fresh process, on the CPU, in float32. Times are medians over the rounds,
memory is the largest. Unless a table says otherwise, the convolutional net of
[conv64_64.gin](workloads/conv64_64.gin) trains on images of 64x64 in batches of 64, and each table
changes one thing. The images are random pixels, since time does not depend on what they show.

- **step**: the time of a training step.
- **images/s**: with the smallest and the largest.
- **time of an image, ×**: relative to the row above.
- **start**: making model and data and the first training step, without imports.
- **memory**: peak resident memory of the process.
- **others**: the share of the cores that other processes used meanwhile. Where it is above
  {load.MOST_BY_OTHERS:.0%}, times mean little."""

_TITLES = {
    "batch": ("Batch", "images in a step"),
    "image_size": ("Image size", "side, pixels"),
    "width": ("Width", "filters"),
    "latents": ("Latents", "latents"),
    "examples": ("Examples", "examples"),
    "input": ("Input alone", "side, pixels"),
    "order": ("The order of examples", "examples"),
    "replicas": ("Replicas", "logical devices"),
    "checkpoint": ("Checkpoints", "weights"),
}
_NOTES = {
    "width": "Each convolution has so many filters, and each dense layer eight times as many units.",
    "examples": "The dense net of [dense_128.gin](workloads/dense_128.gin) trains on images of 8x8, of which "
    "10 million take 640 MB: held in memory, and read from a mapped `.npy` file at each step.",
    "input": f"Batches of 64 images are read from a mapped file of {points.FEW_IMAGES:,} images, which the "
    "system keeps in memory; nothing is computed with them.",
    "order": "These examples need not exist. A thread finds the order of the next epoch from the middle of "
    "an epoch on, if there are at least a million examples. The longest wait is that for a batch from there "
    f"until the next epoch has begun, at {points.ORDER_RATE:,} images/s. The memory is that of the order.",
    "replicas": "Logical devices share one CPU, and the global batch stays the same: more of them cost time "
    "here and gain none. A step of the dense net on images of 8x8 computes little: it shows what "
    "replicas cost the host.",
    "checkpoint": "The state is that of Adam, three numbers for each weight. Training waits while it is "
    "copied, the first time into new memory; a thread writes the copy. The time to write is from the start "
    "of a save until all is flushed to the disk.",
}
_OF_TRAINING = ("step, ms", "images/s", "time of an image, ×", "start, s", "memory, GiB", "others")
_HEADS = {
    "input": ("images/s", "time of an image, ×", "memory, GiB", "others"),
    "order": ("found at once, s", "longest wait, ms", "memory, MiB", "others"),
    "checkpoint": (
        "size, MiB", "first save holds, s", "later ones hold, s", "written after, s", "restored in, s",
        "memory, GiB", "others",
    ),
}  # fmt: skip
_HOW = {"examples": "data", "replicas": "net"}
_MIB, _GIB = 2**20, 2**30


def markdown(state):
    """Writes the whole report.

    Args:
      state: a dict: `machine` and `versions`, dicts of texts; `settings`, with `axes`, `rounds`, `seconds`
        and `num_cores`; `measured`, the key of a point -> a list of measurements; `failed`, key -> why.
    """
    settings = state["settings"]
    parts = [
        "# How time and memory grow",
        _EXPLANATION,
        _table(("machine", ""), state["machine"].items()),
        _table(("version", ""), state["versions"].items()),
        f"Rounds: {settings['rounds']}, with {settings['seconds']:g} s of training or reading in each.",
    ]
    for axis in settings["axes"]:
        title, column = _TITLES[axis]
        notes = [_NOTES[axis]] if axis in _NOTES else []
        parts += [f"## {title}", *notes, _axis_table(axis, column, state), *_failures(axis, state)]
    parts += ["## On paper: 64 GPUs and 100 million images", paper.paragraph(state)]
    return "\n\n".join(parts) + "\n"


def _axis_table(axis, column, state):
    axis_points = points.AXES[axis]
    kind = axis_points[0].kind
    above, rows = {}, []
    for point in axis_points:
        found = figures.of_point(state, point)
        if found is None:
            continue
        value = found["num_weights"] if kind == "checkpoint" else point.value
        cells = [f"{value:,}", *([point.how] if axis in _HOW else [])]
        rows.append((*cells, *_cells(kind, found, above.get(point.how)), f"{found['others']:.0%}"))
        above[point.how] = found
    head = (column, *([_HOW[axis]] if axis in _HOW else []), *_HEADS.get(kind, _OF_TRAINING))
    return _table(head, rows)


def _cells(kind, found, above):
    """Writes the cells between the value and the load of a row."""
    if kind == "order":
        seconds, wait = found["permutation_seconds"], found["wait_seconds"]
        return _number(seconds), _number(1000 * wait), _number(found["peak_order_bytes"] / _MIB)
    memory = f"{found['peak_memory_bytes'] / _GIB:.2f}"
    if kind == "checkpoint":
        times = ("first_held_seconds", "held_seconds", "write_seconds", "restore_seconds")
        return _number(found["checkpoint_bytes"] / _MIB), *(_number(found[name]) for name in times), memory
    rates = f"{found['images_per_second']:,.0f} ({found['lowest']:,.0f}–{found['highest']:,.0f})"
    times = "" if above is None else f"{above['images_per_second'] / found['images_per_second']:.2f}"
    if kind == "input":
        return rates, times, memory
    return _number(1000 * found["step_seconds"]), rates, times, f"{found['start_seconds']:.1f}", memory


def _failures(axis, state):
    """Writes a line for each point of an axis that could not be measured."""
    failed = {
        point.key: state["failed"][point.key] for point in points.AXES[axis] if point.key in state["failed"]
    }
    return [f"Not measured: {key}: {why}" for key, why in failed.items()]


def _number(value):
    """Writes a number with three figures, or all before the point."""
    digits = next((digits for limit, digits in ((0.1, 4), (1, 3), (10, 2), (100, 1)) if value < limit), 0)
    return f"{value:,.{digits}f}"


def _table(header, rows):
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows))
