"""Projects on disk: folders of jobs, each with its record, and what can be learnt from them."""
