"""The judgement of one push: in a quarantine of ours, against what the remote really has, whole or not at all."""
