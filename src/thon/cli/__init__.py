"""The command line `thon`: one subcommand per job type, and a few to look at projects."""
