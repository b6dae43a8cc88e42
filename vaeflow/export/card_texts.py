"""The text of a model card, with the sections of Hugging Face's template."""

TEMPLATE = """\
---
library_name: vaeflow
pipeline_tag: {task}
tags:
- {tag}
- vaeflow
- keras
---

# {title}: {class_name}

A {class_name} for {kind} of {size}, trained for {step:,} steps.{latents}
The sections of this card are those of Mitchell et al. 2019 (arXiv:1810.03993).

## Model details

{details}

{no_licence}

## Uses

**Direct use.** {uses}

**Out of scope.** {out_of_scope} Decisions about people.

## Bias, risks and limitations

{risks} The numbers below hold for the data named below.

## How to get started

{run_here}

{code}

## Training details

### Training data

{data}

### Training procedure

{training}

The whole configuration, in gin, is at the end of this card; absolute paths in it are shortened to
their last part.

## Evaluation

{evaluation}

## Technical specifications

{versions}

## Configuration

{configuration}
"""

# What a card says of a model with latents: places of `TEMPLATE`.
OF_LATENTS = {
    "kind": "images",
    "task": "unconditional-image-generation",
    "tag": "variational-autoencoder",
    "uses": "To encode images like those it was trained on, to reconstruct such images, and\n"
    "to draw new ones.",
    "out_of_scope": "Images of other sizes, which it refuses, and of other kinds, on which\n"
    "nothing was measured.",
    "risks": "A variational autoencoder reproduces what is frequent in its data, and whatever is one-sided\n"
    "in it; its images are smoother than the data.",
}

# The same of a model of codes.
OF_CODES = {
    "kind": "maps of codes",
    "task": "other",
    "tag": "autoregressive-model",
    "uses": "To draw maps of codes, and to compute how likely some are. Images of them are made\n"
    "by the tokenizer that encoded its data.",
    "out_of_scope": "Codes of another tokenizer, or of the same one trained again, which mean\n"
    "something else.",
    "risks": "It reproduces what is frequent in its data, and whatever is one-sided in it.",
}
