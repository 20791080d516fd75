"""Reading crawl dumps so that every input byte is accounted for.

listing.py   which files there are, of what kind, cut into splits
member.py    one gzip member: inflated by us, its checksum checked, its output capped
framing.py   where a WARC or ARC record begins and ends within a stream of bytes
archive.py   one split of an archive: the chain of records, resynchronising after damage
http.py      an HTTP response's body, transfer and content encodings undone
single.py    a file that is one document, or a tar of documents
reader.py    one split of any kind, as documents, skips, damages and extents
"""
