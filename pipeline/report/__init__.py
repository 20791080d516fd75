"""The page that shows what a run did: figures, examples and provenance in one self-contained file."""
