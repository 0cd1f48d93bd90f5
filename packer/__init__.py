"""Documents to tokens, once: the tokenizer, byte accounting, shards, the training-time reader."""
