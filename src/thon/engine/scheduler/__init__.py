"""What was asked for is run, each job when its turn has come."""
