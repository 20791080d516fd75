"""Token shards to a trained and measured model. Needs torch, numpy, pyarrow, tokenizers and safetensors only.

The way: ShardSet -> loader -> loop (model, loss, schedule, checkpoint) -> export -> evaluate, generate
"""
