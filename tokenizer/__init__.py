"""Text to token ids and back, and the one on-disk format for them.

The way: texts -> bpe.learn -> tokenizer.json -> bpe.load -> bpe.encode -> shards.write_shard -> shards.ShardSet
"""
