"""The version of the program stands here, for whoever needs nothing else."""

__version__ = "0.1.0"
