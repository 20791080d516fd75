"""Reading crawl dumps so that every input byte is accounted for.

listing.py   which files there are, of what kind, cut into splits
member.py    one gzip member: inflated by us, its checksum checked, its output capped
framing.py   where a WARC or ARC record begins and ends within a stream of bytes
archive.py   one split of an archive: the chain of records, resynchronising after damage
http.py      an HTTP response's body, transfer and content encodings undone
digest.py    a record's own digest, checked and noted
jsonl.py     JSON lines of ready texts
table.py     Parquet files of ready texts
bundle.py    zip, WACZ and tar, entry by entry
single.py    a file that is one document
streams.py   gz, bz2, xz and zst streams, with caps
kinds.py     which of all these a file is
places.py    local files, object stores, web servers
reader.py    one split of any kind, as documents, skips, damages and extents
"""
