"""Shards and a model to checkpoints: one loop, objectives, optimizers, schedules, checkpoints, evaluation."""
