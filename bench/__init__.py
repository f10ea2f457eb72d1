"""What claude-bottle costs, as ratios: ours and the peers beside it, interleaved in one run. `python -m bench`."""
