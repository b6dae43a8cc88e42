"""The uses of a trained model: figures, latents and pictures."""
