"""This room knows the machine under a run: signals, streams, memory, compiled kernels on disk."""
