"""Runs jobs: works out the steps of a command and their inputs, starts workers, follows their events."""
