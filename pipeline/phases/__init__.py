"""What a run does, phase by phase. Each module has a task (runs in a worker) and, where needed, the driver's part.

extract.py   records in, documents out: the base of the view
measure.py   one measuring function over all documents: a layer of columns
judge.py     thresholds over stored columns: a ledger
publish.py   the documents that are left and the ledger of those that are not, one file each a split
tokens.py    a vocabulary, the documents encoded, the shuffle into shards
"""
