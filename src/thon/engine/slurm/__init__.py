"""Jobs of Slurm: submitted, watched, accounted for, and found again after a kill."""
