"""The Wasserstein autoencoder."""

import tensorflow as tf

from vaeflow import random, registry, schedules, validation
from vaeflow.devices import cores
from vaeflow.errors import ConfigurationError
from vaeflow.models import minibatch_divergences
from vaeflow.models.terms import Term
from vaeflow.models.vae import VAE

# So small that z is the mean up to 1e-17, and so large that no density overflows: exp(80)
# is a float32.
_DETERMINISTIC_LOG_VARIANCE = -80.0


@registry.model
class WAE(VAE):
    """The WAE-MMD (Tolstikhin et al. 2018, arXiv:1711.01558, Alg. 2).

    Minimizes E[c(x, x̂)] + λ MMD(q(z), p(z)), where x̂ is the mean of p(x|z) and c the sum
    of (x − x̂)² over pixels and channels: the term `reconstruction_loss`, no nats. Of the
    likelihood nothing but the mean matters.

    The mean of the term `mmd` is the estimate of `minibatch_divergences.mmd`: of the
    squared MMD, unbiased, at times negative. Its `"imq"` kernel sums seven scales, as the
    authors' code does; the paper's one scale has an MMD about seven times smaller.

    There is no KL: `kl_weight` and `free_bits` are refused. With a Gaussian encoder the
    term `kl` is logged and weighs nothing. A deterministic one gives z = mean; q(z|x) has
    then a variance of exp(−80) that nobody learns, and what is computed from its density
    (the KL, the ELBO, the likelihood by importance sampling) means nothing.

    Args:
      mmd_weight: λ, a float or a schedule.
      kernel: `"imq"`, inverse multiquadratics, or `"rbf"`.
      deterministic: whether z is the mean of q(z|x) instead of a sample.
      **kwargs: as for `VAE`.
    """

    couples_examples = True

    def __init__(self, mmd_weight=10.0, kernel="imq", deterministic=False, **kwargs):
        super().__init__(**kwargs)
        self.deterministic = validation.one_of("WAE.deterministic", deterministic, (True, False))
        if deterministic:
            self.head.constant_log_variance = _DETERMINISTIC_LOG_VARIANCE
        if not callable(mmd_weight):
            mmd_weight = validation.non_negative_number("WAE.mmd_weight", mmd_weight)
        self.mmd_weight = mmd_weight
        self.kernel = validation.one_of("WAE.kernel", kernel, minibatch_divergences.KERNELS)
        for name, neutral in (("kl_weight", 1.0), ("free_bits", 0.0)):
            if getattr(self, name) != neutral:
                raise ConfigurationError(
                    f"`WAE.{name}` must be left at {neutral}, got {getattr(self, name)!r}: a WAE has no KL; "
                    "the MMD has the weight WAE.mmd_weight"
                )

    def decode(self, latents, training=False):
        # The mean of a Bernoulli would be rounded to 1 early in half precision, with no gradient left.
        outputs = cores.in_parts(self.decoder, latents, training=training)
        return self.likelihood.distribution(tf.cast(outputs, self.variable_dtype))

    def objective(self, forward, step):
        images, reconstruction = forward.images, forward.reconstruction.mean
        cost = tf.reduce_sum(tf.math.squared_difference(images, reconstruction), axis=[1, 2, 3])
        mmd = minibatch_divergences.mmd(
            self.gather(forward.latents),
            self.prior_samples(forward),
            self.positions(forward.num_examples),
            self.kernel,
        )
        terms = {
            "reconstruction_loss": Term(cost),
            "mmd": Term(mmd, schedules.value_at(self.mmd_weight, step)),
        }
        if not self.deterministic:
            terms["kl"] = Term(self.prior.kl(forward.posterior, forward.latents), 0.0)
        return terms

    def prior_samples(self, forward):
        """Draws as many latents from p(z) as the batch in scope has, the same wherever it is the same."""
        shape = (self.batch_size_in_scope(forward.num_examples), self.num_latents)
        return self.prior.sample(random.normal(shape, forward.latents.dtype, self.scope == "global"))
