"""The contract between the two wings: what a job declares, what it is given, what it tells, and the one worker entry.

A job type is one file in `thon/jobs` (or an entry point of the group ``thon.jobs``, or a file in a folder named by
``THON_JOBS``) with one function decorated by `thon.job.spec.each` or `thon.job.spec.whole`, named like the file.
"""
