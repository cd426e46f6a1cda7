"""Carrying a plan out: observing, scheduling, workers, GPUs, the supervisor that owns a run."""
