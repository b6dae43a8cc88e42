"""Runs on the Hugging Face Hub: what is published of a work folder, and how it is fetched and verified."""
