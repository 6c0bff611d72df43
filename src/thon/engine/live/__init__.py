"""Live sessions: what arrives is watched, done and told about."""
