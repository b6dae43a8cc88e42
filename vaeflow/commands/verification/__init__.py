"""What `vaeflow verify` compares, part by part, and the report of it."""
