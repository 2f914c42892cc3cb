"""Reports about trained models."""
