"""Counts the floating-point operations of a training step, and measures how many a device can do.

Counted are matrix products and convolutions, forward and backward, two operations for each
multiply-add. Work on single elements (activations, losses, the optimizer's update), sums and
norms are left out, as usual: they are bound by memory, and small beside the rest.
"""

import math
import time

import tensorflow as tf

from vaeflow.profiling import graphs

_CONVOLUTIONS = ("Conv2D", "DepthwiseConv2dNative")
_PRODUCTS = ("MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3")
_SIZES = (256, 512, 1024, 2048, 4096, 8192, 16384)


def training_step_flops(trainer):
    """Counts the operations of one training step on the global batch, all replicas together.

    The step is traced, not run.

    Args:
      trainer: a `Trainer`, on one worker.

    Returns:
      An int, see `function_flops`.

    Raises:
      ValueError: a shape in the step is not known before it runs.
    """
    return function_flops(graphs.training_step(trainer.strategy, trainer.replica_step))


def function_flops(concrete_function):
    """Counts the operations of a traced function, with all functions that it calls.

    What nothing reads is not counted, for TensorFlow does not run it. The body of a loop
    counts once, and of the branches of a condition the one with most.

    Args:
      concrete_function: what `tf.function(…).get_concrete_function(…)` returns.

    Returns:
      An int.

    Raises:
      ValueError: the shape that a product or convolution has is not known before it runs.
    """
    graph = concrete_function.graph
    return _count(graph, range(len(graph.outputs)))


def matrix_product_rate(seconds, side_by_side=1):
    """Measures the best rate of float32 products of square matrices on the device in use.

    On recent GPUs TensorFlow multiplies float32 in TensorFloat-32, unless it is told not
    to, here as in training.

    Args:
      seconds: how long it may take, roughly.
      side_by_side: how many products to compute at a time, where an operation has only
        so small a part of the cores; see `cores`.

    Returns:
      Operations per second, a float.
    """
    best, share = 0.0, seconds / len(_SIZES)
    for size in _SIZES:
        flops = 2 * size**3 * side_by_side
        if best and flops / best > share:
            break
        # Of norm 1 on average, so that the product of many neither grows nor vanishes.
        matrices = [tf.random.normal((size, size), stddev=size**-0.5) for _ in range(side_by_side)]
        _multiply(matrices, 1)
        times = max(1, int(share / _multiply(matrices, 1)))
        best = max(best, times * flops / _multiply(matrices, times))
    return best


@tf.function(autograph=False)
def _powers(matrices, times):
    def body(index, products):
        return index + 1, [
            tf.matmul(matrix, product) for matrix, product in zip(matrices, products, strict=True)
        ]

    powers = tf.while_loop(lambda index, _: index < times, body, (0, matrices))[1]
    return [power[0, 0] for power in powers]


def _multiply(matrices, times):
    """Multiplies each matrix by itself some times; returns the seconds it took."""
    times = tf.constant(times)
    started = time.perf_counter()
    [power.numpy() for power in _powers(matrices, times)]  # Waits for the device.
    return time.perf_counter() - started


def _count(graph, wanted):
    """Counts a graph's operations that its outputs at the indices `wanted`, or side effects, need."""
    return sum(
        _flops_of(operation) + max((_count(*each) for each in graphs.inside(operation, read)), default=0)
        for operation, read in graphs.needed(graph, wanted)
    )


def _flops_of(operation):
    kind = operation.type
    if kind in _PRODUCTS:
        return _product_flops(operation)
    if kind == "Einsum":
        return _einsum_flops(operation)
    for convolution in _CONVOLUTIONS:
        if kind == convolution:
            return _convolution_flops(operation, operation.inputs[1], operation.outputs[0])
        if kind == f"{convolution}BackpropInput":
            return _convolution_flops(operation, operation.inputs[1], operation.inputs[2])
        if kind == f"{convolution}BackpropFilter":
            return _convolution_flops(operation, operation.outputs[0], operation.inputs[2])
    return 0


def _product_flops(operation):
    transposed = operation.get_attr("transpose_a" if operation.type == "MatMul" else "adj_x")
    inner = graphs.shape_of(operation, operation.inputs[0])[-2 if transposed else -1]
    return 2 * inner * math.prod(graphs.shape_of(operation, operation.outputs[0]))


def _einsum_flops(operation):
    terms, _, result = operation.get_attr("equation").decode().partition("->")
    sizes = {}
    for term, tensor in zip(terms.split(","), operation.inputs, strict=True):
        shape = graphs.shape_of(operation, tensor)
        sizes |= zip(_axes(term, len(shape)), shape, strict=True)
    summed = sizes.keys() - set(_axes(result, operation.outputs[0].shape.rank))
    return 2 * math.prod(sizes.values()) if summed and len(operation.inputs) == 2 else 0


def _axes(term, rank):
    """Names the axes of an operand of an einsum; those that `...` stands for are counted from the right."""
    before, _, after = term.partition("...")
    count = rank - len(before) - len(after)
    return [*before, *(f"...{index}" for index in range(count, 0, -1)), *after]


def _convolution_flops(operation, kernel, output):
    """Of a convolution, or of the gradients of one with this kernel and output, which take as many."""
    height, width, channels, _ = graphs.shape_of(operation, kernel)
    # A depthwise convolution's output reads one channel each; a grouped one's kernel has the group's.
    per_output = height * width * (1 if operation.type.startswith("Depthwise") else channels)
    return 2 * per_output * math.prod(graphs.shape_of(operation, output))
