"""What can be learned from a trained model, and shown of it."""
