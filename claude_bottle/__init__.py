"""claude-bottle: let go of a coding agent without letting go of anything else."""

__version__ = "0.1.0"
