"""For plugin authors: exact worlds, Hypothesis strategies and the laws as checks."""
