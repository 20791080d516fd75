"""The demo's own inputs: a small real web site, crawled over loopback, and what is held out of it."""
