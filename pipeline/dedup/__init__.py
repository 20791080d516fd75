"""Deduplication: whole documents by hash (exact), by similarity (near), and against earlier runs (bloom).

survivors.py    who goes before whom, as sortable numbers
groups.py       the exchange that brings equal keys together: best document first
exact.py        keys of texts -> groups -> ledger
near.py         the driver of near deduplication; its tasks are in
  sketches.py     signatures, and the place of every document in the order of survivors
  buckets.py      bands, buckets and the pairs they propose
  verify.py       shingle sets travel to each other and are compared
  decide.py       the walk in survivor order
bloom.py        slices of earlier runs: resolve, drop, publish
rejections.py   ledger parts
"""
