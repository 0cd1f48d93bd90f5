"""The decoder for others: transformers' folders (any shape, or native where it is plain), GGUF, the card that goes with them."""
