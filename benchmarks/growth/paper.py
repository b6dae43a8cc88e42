"""What the figures would mean for 64 GPUs and 100 million images; the text states its assumptions."""

from typing import NamedTuple

from benchmarks.growth import figures, points

_NUM_GPUS = 64
_GPUS_OF_A_PROCESS = 8
_NUM_IMAGES = 10**8
_GPU_BATCH = 64
_FLOPS = 10e12  # Of each GPU in this net; the peak of an H100 in TensorFloat-32 is 50 times that.
_LINK_BYTES = 25e9  # A second, of each GPU in a sum over all.
_GPU_BYTES = 80e9
_SAVE_STEPS = 1_000  # The default of `Checkpoints.every_steps`.

_NEEDED = {
    "base": points.BASE,
    "large": points.AXES["batch"][-1],
    "input": next(point for point in points.AXES["input"] if point.value == points.BASE.value),
    "order": points.AXES["order"][-1],
    "one_replica": points.AXES["replicas"][1],
    "replicas": points.AXES["replicas"][-1],
    "small_checkpoint": points.AXES["checkpoint"][0],
    "checkpoint": points.AXES["checkpoint"][-1],
}

# What must keep up with the GPUs, and what helps if it does not.
_INPUT, _HOST = "reading images", "starting the replicas"
_SUM, _ORDER = "summing gradients", "finding the next order"
_REMEDIES = {
    _INPUT: "more cores for each process help, or a larger net, which leaves more time for each image",
    _HOST: "more images on each GPU in a step help",
    _SUM: "more images on each GPU in a step help, or faster links",
    _ORDER: "a thread that begins earlier in the epoch would help",
}
_TEXT = """\
Computed from the figures above; nothing of it was run. Suppose that {num_gpus} GPUs in {num_processes}
processes compute {teraflops:g} TFLOP/s each in the convolutional net, with {gpu_batch} images of
{side}x{side} on each GPU in a step, and links of {link:g} GB/s. Then a GPU trains {gpu_rate:,.0f}
images/s, a step takes {step}, and an epoch of {images:,.0f} million images {epoch}. If an image takes as
much memory there as here, {activations:.2f} MB, a step takes {batch_gigabytes:.2f} GB of a GPU; all
images take {data_gigabytes:,.0f} GB, so they are {placed}. Each process has to read {process_rate:,.0f}
images/s; {num_cores} cores read {read_rate:,.0f} here, out of memory, so it needs about
{read_cores:,.0f} cores if they share the work well. Starting {num_replicas} replicas takes {host}
({host_share}), judged by what logical devices add to a step of the dense net, and summing
{gradients:.1f} MB of gradients {gradient_sum} ({sum_share}). A thread has half an epoch, {half_epoch},
to find the next order, and takes {order} and {order_gibibytes:.1f} GiB in each process: {order_verdict}.
A checkpoint every {save_steps:,} steps holds training for {held_small}, {held_share:.1%} of the time,
with {weights_small:.1f} million weights, and for {held_large} with {weights_large:,.0f} million.
{verdict}"""


class Estimate(NamedTuple):
    """The numbers of the paragraph; times in seconds.

    Attributes:
      gpu_rate: images/s of a GPU.
      step, epoch: their length, if nothing holds them up.
      process_rate: the images/s that a process must read.
      read_cores: the cores that it needs for them.
      host, gradient_sum: what they take in each step.
      gradient_bytes: the size of all gradients.
      activation_bytes: the memory that training takes for each image.
      data_bytes: the size of all images.
      needs: what must keep up -> the time that it takes relative to the time that there is.
    """

    gpu_rate: float
    step: float
    epoch: float
    process_rate: float
    read_cores: float
    host: float
    gradient_sum: float
    gradient_bytes: float
    activation_bytes: float
    data_bytes: float
    needs: dict


def paragraph(state):
    """Writes the paragraph; see `table.markdown` for `state`."""
    found = {name: figures.of_point(state, point) for name, point in _NEEDED.items()}
    missing = [_NEEDED[name].key for name, figure in found.items() if figure is None]
    if missing:
        return f"Left out, since these were not measured: {'; '.join(missing)}."
    cores = state["settings"]["num_cores"]
    return _text(found, estimate(found, cores), cores)


def estimate(found, num_cores):
    """Computes the `Estimate`.

    Args:
      found: what it is based on, name -> figures, as in `paragraph`.
      num_cores: how many cores they were measured on.
    """
    base, large, one, several = (found[name] for name in ("base", "large", "one_replica", "replicas"))
    gpu_rate = _FLOPS / (base["step_flops"] / base["batch_size"])
    step, epoch = _GPU_BATCH / gpu_rate, _NUM_IMAGES / (_NUM_GPUS * gpu_rate)
    process_rate = _GPUS_OF_A_PROCESS * gpu_rate
    each_replica = (several["step_seconds"] - one["step_seconds"]) / (several["num_replicas"] - 1)
    host = max(0.0, each_replica) * _GPUS_OF_A_PROCESS
    gradient_bytes = 4 * base["num_weights"]
    # In a ring each GPU sends almost two copies of its gradients.
    gradient_sum = 2 * (_NUM_GPUS - 1) / _NUM_GPUS * gradient_bytes / _LINK_BYTES
    more_images = large["batch_size"] - base["batch_size"]
    return Estimate(
        gpu_rate=gpu_rate,
        step=step,
        epoch=epoch,
        process_rate=process_rate,
        read_cores=num_cores * process_rate / found["input"]["images_per_second"],
        host=host,
        gradient_sum=gradient_sum,
        gradient_bytes=gradient_bytes,
        activation_bytes=max(0, large["peak_memory_bytes"] - base["peak_memory_bytes"]) / more_images,
        data_bytes=_NUM_IMAGES * points.BASE.value**2,
        needs={
            _INPUT: process_rate / found["input"]["images_per_second"],
            _HOST: host / step,
            _SUM: gradient_sum / step,
            _ORDER: found["order"]["permutation_seconds"] / (epoch / 2),
        },
    )


def _text(found, numbers, num_cores):
    order, small, large = found["order"], found["small_checkpoint"], found["checkpoint"]
    needs, first = numbers.needs, max(numbers.needs, key=numbers.needs.get)
    text = _TEXT.format(
        num_gpus=_NUM_GPUS,
        num_processes=_NUM_GPUS // _GPUS_OF_A_PROCESS,
        num_replicas=_GPUS_OF_A_PROCESS,
        num_cores=num_cores,
        teraflops=_FLOPS / 1e12,
        gpu_batch=_GPU_BATCH,
        side=points.BASE.value,
        link=_LINK_BYTES / 1e9,
        gpu_rate=numbers.gpu_rate,
        step=_time(numbers.step),
        images=_NUM_IMAGES / 1e6,
        epoch=_time(numbers.epoch),
        half_epoch=_time(numbers.epoch / 2),
        activations=numbers.activation_bytes / 1e6,
        batch_gigabytes=_GPU_BATCH * numbers.activation_bytes / 1e9,
        data_gigabytes=numbers.data_bytes / 1e9,
        placed="held on each" if numbers.data_bytes < _GPU_BYTES else "streamed",
        process_rate=numbers.process_rate,
        read_rate=found["input"]["images_per_second"],
        read_cores=numbers.read_cores,
        host=_time(numbers.host),
        host_share=_share(needs[_HOST]),
        gradients=numbers.gradient_bytes / 1e6,
        gradient_sum=_time(numbers.gradient_sum),
        sum_share=_share(needs[_SUM]),
        order=_time(order["permutation_seconds"]),
        order_gibibytes=order["peak_order_bytes"] / 2**30,
        order_verdict="no step waits for it" if needs[_ORDER] <= 1 else "the steps wait for the rest",
        save_steps=_SAVE_STEPS,
        held_small=_time(small["held_seconds"]),
        held_share=small["held_seconds"] / (small["held_seconds"] + _SAVE_STEPS * numbers.step),
        weights_small=small["num_weights"] / 1e6,
        held_large=_time(large["held_seconds"]),
        weights_large=large["num_weights"] / 1e6,
        verdict=_verdict(first, needs[first]),
    )
    return text.replace("\n", " ")


def _verdict(first, need):
    if need <= 1:
        return (
            f"So all of it keeps up; the tightest is {first}, which takes {need:.0%} of the time that it has."
        )
    return f"So {first} is the first limit, {need:,.1f} times as slow as it has to be; {_REMEDIES[first]}."


def _share(of_step):
    return f"{of_step:.0%} of the step" if of_step < 1 else f"{of_step:,.1f} times the step"


def _time(seconds):
    return f"{1000 * seconds:.3g} ms" if seconds < 0.9995 else f"{seconds:,.1f} s"
