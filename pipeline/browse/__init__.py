"""`tamis browse`: a finished run to search and read in a browser, on this machine only."""
