"""The run that the tests of faults disturb."""

import pytest

from tests.fixtures.commands import Runs

# A moving average, a learning rate that changes, and epochs that end between batches.
GIN = """
train.model = @HungryVAE
train.dataset = @FaultyImages()
train.optimizer = @Adam
train.num_steps = 60
train.batch_size = 12
train.steps_per_loop = 10
train.compile_mode = 'none'
train.ema_decay = 0.99
train.callbacks = [@Evaluation(), @Images(), @Summaries(), @Fault(), @Checkpoints()]
HungryVAE.num_latents = 2
HungryVAE.encoder = @DenseEncoder()
HungryVAE.decoder = @DenseDecoder()
DenseEncoder.units = (8,)
DenseDecoder.units = (8,)
Adam.learning_rate = @CosineDecay()
CosineDecay.initial_learning_rate = 1e-2
CosineDecay.decay_steps = 60
Evaluation.every_steps = 30
Images.every_steps = 30
Checkpoints.every_steps = 10
"""


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    """`Runs` of a tiny model, one of which, `undisturbed`, is done."""
    runs = Runs(tmp_path_factory.mktemp("faults"), GIN, "faults_plugin")
    finished = runs.run("undisturbed")
    assert finished.code == 0, finished
    assert runs.store("undisturbed").steps()[-3:] == [40, 50, 60]
    return runs


@pytest.fixture
def completes(runs):
    """Checks that one more clean run completes, and ends as another that nothing disturbed."""

    def completes(name, *arguments, undisturbed="undisturbed"):
        finished = runs.start(name, *arguments).finish(300)
        assert finished.code == 0, finished
        assert runs.lines(name) == runs.lines(undisturbed)
        one, other = runs.result(name), runs.result(undisturbed)
        assert (one["step"], one["weights_sha256"]) == (other["step"], other["weights_sha256"])
        # Of the optimizer and the moving average too.
        one, other = (runs.store(each).record(one["step"]) for each in (name, undisturbed))
        assert one["sha256"] == other["sha256"]
        assert not list(runs.workdir(name).rglob(".unfinished*"))
        return finished

    return completes
