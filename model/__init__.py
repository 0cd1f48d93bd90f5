"""Tokens to probabilities: configuration, decoder and its parts, the n-gram model."""
